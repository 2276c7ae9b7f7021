"""Compares what two devices compute of one model: python3 devices.py LOGITS_PROGRAM MODEL.gguf DEVICE [EXACT.gguf]

Runs the example program `logits` on the CPU and on the device, and prints a line of Markdown: the lowest cosine of the last
position's logits over ten prompts, how many prompts have the same greedy continuation of 32 tokens, and the perplexity of a
text on both. The CPU takes EXACT.gguf, where one is given (`single.py` writes it), so that the device is compared with arithmetic that
rounds no inputs. Ends with 1 where a cosine is under 0.999 or the perplexities differ by more than 1 %.
"""

import array
import json
import math
import pathlib
import subprocess
import sys
import tempfile

STEPS = 32
PROMPTS = [
    "The capital of France is",
    "To reset a forgotten password, the user should",
    "def fibonacci(n):",
    "The database connection timed out because",
    "Once upon a time there was a small robot who",
    "In 1969 the first people",
    "SELECT name, price FROM products WHERE",
    "The three primary colours are",
    "Dear support team, my printer",
    "A triangle with sides of length 3, 4 and 5",
]


def text() -> str:
    """Of this repository, so that it is at hand and the same for everybody."""
    readme = pathlib.Path(__file__).resolve().parents[2] / "ARCHITECTURE.md"
    return readme.read_text(encoding="utf-8")[:4000]


def run(program: str, model: str, device: str, folder: pathlib.Path, name: str) -> tuple[dict, list[list[float]]]:
    request = folder / "request.json"
    request.write_text(json.dumps({"prompts": PROMPTS, "steps": STEPS, "text": text(), "context": 512}))
    out = folder / name
    subprocess.run([program, model, str(request), str(out), device], check=True)
    told = json.loads(out.with_suffix(".json").read_text())
    numbers = array.array("f", out.with_suffix(".logits").read_bytes())
    width = len(numbers) // len(PROMPTS)
    return told, [numbers[i * width : (i + 1) * width].tolist() for i in range(len(PROMPTS))]


def cosine(a: list[float], b: list[float]) -> float:
    product = sum(x * y for x, y in zip(a, b))
    return product / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def main() -> int:
    program, model, device, *exact = sys.argv[1:]
    sides = [("reference", exact[0] if exact else model, "cpu"), ("device", model, device)]
    with tempfile.TemporaryDirectory() as folder:
        (ours, ours_logits), (theirs, theirs_logits) = (
            run(program, path, on, pathlib.Path(folder), name) for name, path, on in sides
        )
    cosines = [cosine(a, b) for a, b in zip(ours_logits, theirs_logits)]
    lowest = min(cosines)
    for prompt, found in zip(ours["prompts"], cosines):
        print(f"{len(prompt['tokens'])} tokens: {found:.6f}", file=sys.stderr)
    pairs = list(zip(ours["prompts"], theirs["prompts"]))
    same = sum(a["continuation"] == b["continuation"] for a, b in pairs)
    perplexities = [math.exp(-sum(told["logprobs"]) / len(told["logprobs"])) for told in (ours, theirs)]
    change = perplexities[1] / perplexities[0] - 1
    name = pathlib.Path(model).name
    print(
        f"| {name} | {lowest:.5f} | {same} of {len(pairs)} | {perplexities[0]:.3f} | {perplexities[1]:.3f} | {change:+.2%} |"
    )
    return 0 if lowest >= 0.999 and abs(change) <= 0.01 else 1


if __name__ == "__main__":
    sys.exit(main())
