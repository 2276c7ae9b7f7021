"""Compares the engine with llama.cpp: run it through scripts/parity.

For each model: whether the token ids of the prompts are the same, the least cosine between the logits of the last
positions, how many greedy continuations agree in all their tokens, and the perplexity of the help desk's articles.
"""

import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from llama_cpp import Llama

STEPS = 32
CONTEXT = 512
PROMPTS = [
    "The capital of France is",
    "To reset a forgotten password, first open the login page and",
    "def fibonacci(n):\n    ",
    "Once upon a time, in a village by the sea, there lived",
    "Dear support team,\n\nmy invoice for March shows the wrong amount.",
    "Water boils at one hundred degrees. At high altitude it boils",
    "SELECT name, COUNT(*) FROM tickets WHERE status =",
    "The printer on the third floor has been offline since Monday because",
    "1, 2, 3, 4, 5, 6, 7,",
    "Die Datenbank antwortet nicht. Bitte prüfen Sie zuerst, ob",
]


def path_of(model: str) -> str:
    listing = json.loads(subprocess.check_output(["target/release/routergym-local", "models", "list", "--json"]))
    rows = listing["models"] if isinstance(listing, dict) else listing
    return next(row["path"] for row in rows if row["name"] == model)


def ours(path: str, request: dict, folder: Path) -> dict:
    (folder / "request.json").write_text(json.dumps(request))
    subprocess.run(["target/release/examples/logits", path, folder / "request.json", folder / "out"], check=True)
    result = json.loads((folder / "out.json").read_text())
    flat = np.fromfile(folder / "out.logits", dtype="<f4")
    result["logits"] = flat.reshape(len(request["prompts"]), -1)
    return result


def theirs(path: str, request: dict) -> dict:
    llama = Llama(path, n_ctx=CONTEXT, n_threads=2, n_threads_batch=2, logits_all=True, verbose=False)
    end = llama.token_eos()
    prompts, logits = [], []
    for prompt in request["prompts"]:
        tokens = llama.tokenize(prompt.encode(), add_bos=True, special=True)
        llama.reset()
        llama.eval(tokens)
        logits.append(np.array(llama.scores[len(tokens) - 1]))
        continuation = []
        while len(continuation) < STEPS:
            continuation.append(int(np.argmax(llama.scores[llama.n_tokens - 1])))
            if continuation[-1] == end:
                break
            llama.eval(continuation[-1:])
        prompts.append({"tokens": tokens, "continuation": continuation})
    text = llama.tokenize(request["text"].encode(), add_bos=True, special=True)
    logprobs = []
    for start in range(0, len(text), CONTEXT):
        window = text[start : start + CONTEXT]
        if len(window) < 2:
            continue
        llama.reset()
        llama.eval(window)
        rows = llama.scores[: len(window) - 1].astype(np.float64)
        highest = rows.max(axis=1)
        sums = highest + np.log(np.exp(rows - highest[:, None]).sum(axis=1))
        logprobs += [float(rows[i, token] - sums[i]) for i, token in enumerate(window[1:])]
    llama.close()
    return {"prompts": prompts, "text": text, "logprobs": logprobs, "logits": np.array(logits)}


def agreement(a: list, b: list) -> int:
    """How many tokens two continuations share from the first on; all, where both end alike."""
    shared = next((i for i, pair in enumerate(zip(a, b)) if pair[0] != pair[1]), min(len(a), len(b)))
    return STEPS if shared == len(a) == len(b) else shared


def main() -> None:
    text = "\n\n".join(path.read_text() for path in sorted(Path("datasets/helpdesk/kb").glob("*")) if path.is_file())
    request = {"prompts": PROMPTS, "steps": STEPS, "text": text, "context": CONTEXT}
    print("| model | same token ids | least cosine of logits | same 32 greedy tokens | perplexity ours | llama.cpp | difference |")
    print("|---|---|---|---|---|---|---|")
    failed = False
    for model in sys.argv[1:]:
        path = path_of(model)
        with tempfile.TemporaryDirectory() as folder:
            mine = ours(path, request, Path(folder))
        peer = theirs(path, request)
        pairs = list(zip(mine["prompts"], peer["prompts"]))
        same = sum(a["tokens"] == b["tokens"] for a, b in pairs) + (mine["text"] == peer["text"])
        width = min(mine["logits"].shape[1], peer["logits"].shape[1])
        cosines = []
        for a, b in zip(mine["logits"][:, :width].astype(np.float64), peer["logits"][:, :width].astype(np.float64)):
            cosines.append(float(a @ b / math.sqrt((a @ a) * (b @ b))))
        shared = [agreement(a["continuation"], b["continuation"]) for a, b in pairs]
        greedy = sum(count == STEPS for count in shared)
        perplexity = [math.exp(-sum(side["logprobs"]) / len(side["logprobs"])) for side in (mine, peer)]
        difference = perplexity[0] / perplexity[1] - 1
        good = same == len(pairs) + 1 and min(cosines) >= 0.999 and greedy >= 9 and abs(difference) <= 0.01
        failed |= not good
        print(
            f"| {model} | {same} of {len(pairs) + 1} | {min(cosines):.5f} | {greedy} of {len(pairs)} "
            f"| {perplexity[0]:.3f} | {perplexity[1]:.3f} | {difference:+.2%} |",
            flush=True,
        )
        if greedy < len(pairs):
            print(f"{model}: continuations part after {sorted(shared)[: len(pairs) - greedy]} tokens", file=sys.stderr)
    if failed:
        sys.exit("a model falls short: 0.999 of cosine, 9 of 10 continuations, 1 % of perplexity, the same token ids")


main()
