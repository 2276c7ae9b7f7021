"""Compares the greedy answers of this server and llama.cpp's to the same conversations: run it through scripts/test-peers.

Both read the same file and apply its own template. Both round the inputs of a quantised multiplication to eight bits, each in its
own blocks, so that two tokens of nearly the same probability can change places, and an answer goes another way from there on. So
for each answer the first token at which the two differ is told, with this server's margin there: the difference of the two tokens'
log-probabilities. A difference with a margin above LARGEST_MARGIN is a fault; and most answers must be the same to the end.
"""

import os
import sys
import tempfile

from servers import ours, path_of, post, theirs

MODELS = ["smollm2-135m-instruct", "qwen2.5-coder-0.5b-instruct"]
LARGEST_MARGIN = 0.5
LEAST_SHARE = 0.5
TOKENS = 24
PROMPTS = [
    "What is the capital of France?",
    "Name three colours.",
    "How do I reset a forgotten password?",
    "Write a Python function that adds two numbers.",
    "The printer on the third floor is offline. What should I check first?",
    "Translate to German: good morning.",
    "What is 17 plus 25?",
    "List the days of the week.",
    "Write a short apology for a late delivery.",
    "What does SELECT COUNT(*) FROM tickets do?",
    "Explain what a VPN is in one sentence.",
    "Is water heavier than oil?",
]


def ask(url: str, prompt: str) -> tuple:
    body = {
        "model": "any", "messages": [{"role": "user", "content": prompt}], "max_tokens": TOKENS, "temperature": 0,
        "logprobs": True, "top_logprobs": 5, "cache_prompt": False,
    }
    choice = post(f"{url}/v1/chat/completions", body)["choices"][0]
    return choice["message"]["content"], choice["logprobs"]["content"]


def margin(mine: list, peer: list) -> tuple:
    """Where two answers part, and how much more probable this server's token was to it than the other's."""
    for at, (own, other) in enumerate(zip(mine, peer)):
        if own["token"] != other["token"]:
            rated = {top["token"]: top["logprob"] for top in own["top_logprobs"]}
            return at, own["logprob"] - rated.get(other["token"], float("-inf"))
    return min(len(mine), len(peer)), 0.0


def main() -> None:
    peer, models = sys.argv[1], sys.argv[2:] or MODELS
    log = os.path.join(tempfile.mkdtemp(), "servers.log")
    failed = False
    print("| model | answers the same | of | largest margin where they part |\n|---|---|---|---|")
    for model in models:
        path = path_of(model)
        with ours(path, log) as here, theirs(peer, path, log, 1) as there:
            same, largest = 0, 0.0
            for prompt in PROMPTS:
                (own, mine), (other, others) = ask(here.url, prompt), ask(there.url, prompt)
                if own == other:
                    same += 1
                    continue
                at, gap = margin(mine, others)
                largest = max(largest, gap)
                print(f"{model}: {prompt!r} parts at token {at}, margin {gap:.3f}:\n  {own!r}\n  {other!r}", file=sys.stderr)
        print(f"| {model} | {same} | {len(PROMPTS)} | {largest:.3f} |", flush=True)
        failed |= largest > LARGEST_MARGIN or same < LEAST_SHARE * len(PROMPTS)
    if failed:
        sys.exit("the answers differ by more than rounding explains")


main()
