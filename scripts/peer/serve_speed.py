"""Loads this server and llama.cpp's: run it through scripts/serve_vs_llamacpp.

Each round starts one server, warms it, loads it, and ends it, then the same with the other, so that a machine that slows down does
so for both. The figures are medians over the rounds; the raw ones go to a file.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile

from servers import OURS, Server, ours, path_of, theirs

LOAD = "target/release/examples/load"


def load(server: Server, clients: int, seconds: float, *flags: str) -> dict:
    command = [LOAD, server.url, "--clients", str(clients), "--seconds", str(seconds), *flags]
    found = json.loads(subprocess.check_output(command))
    print(f"  {clients} clients: {found['tokens_per_s']:.1f} tokens/s, errors {found['errors']}", file=sys.stderr, flush=True)
    return found


def spread(values: list) -> str:
    return f"{statistics.median(values):.1f} [{min(values):.1f}, {max(values):.1f}]"


def first_line(*command: str) -> str:
    return subprocess.check_output(command).decode().splitlines()[0].strip()


def about(arguments: argparse.Namespace) -> dict:
    with open("/proc/cpuinfo") as file:
        processor = next((line.split(":")[1].strip() for line in file if line.startswith("model name")), platform.machine())
    return {
        "machine": f"{processor}, {os.cpu_count()} cores, {platform.platform()}",
        "ours": f"{first_line(OURS, '--version')}, commit {first_line('git', 'rev-parse', '--short', 'HEAD')}",
        "theirs": os.path.basename(arguments.peer.rstrip("/")) + ", llama-server, native build",
        "model": arguments.model,
        "threads": arguments.threads,
        "rounds": arguments.rounds,
        "seconds": arguments.seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--peer", required=True, help="the folder that scripts/peer/llamacpp_server.sh prints")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--sustained", type=float, default=0, help="seconds of 32 clients on this server alone")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--out", help="where the raw figures go, as JSON")
    parser.add_argument("model", nargs="?", default="qwen2.5-coder-0.5b-instruct")
    arguments = parser.parse_args()
    path = path_of(arguments.model)
    log = os.path.join(tempfile.mkdtemp(), "servers.log")
    print(f"messages of the servers: {log}", file=sys.stderr)
    flags = ["--max-tokens", str(arguments.max_tokens)]
    found = {"ours": [], "theirs": [], "one": [], "many": []}
    if arguments.sustained:
        for _ in range(arguments.rounds):
            with ours(path, log, threads=arguments.threads) as server:
                load(server, 1, 5, *flags)
                found["one"].append(load(server, 1, arguments.seconds, *flags))
        with ours(path, log, threads=arguments.threads) as server:
            found["many"].append(load(server, 32, arguments.sustained, *flags))
    for number in range(arguments.rounds):
        print(f"round {number + 1} of {arguments.rounds}", file=sys.stderr)
        for side in ("ours", "theirs"):
            start = ours if side == "ours" else lambda *a, **k: theirs(arguments.peer, *a, arguments.clients, **k)
            with start(path, log, threads=arguments.threads) as server:
                load(server, arguments.clients, 10, *flags)
                found[side].append(load(server, arguments.clients, arguments.seconds, *flags))
    header = about(arguments)
    for key, value in header.items():
        print(f"- {key}: {value}")
    rate = {side: [one["tokens_per_s"] for one in rounds] for side, rounds in found.items() if rounds}
    print("\n| what | tokens/s | p50, p95 of an answer, s | requests | errors |\n|---|---|---|---|---|")
    names = {"one": "ours, 1 client", "many": "ours, 32 clients", "ours": f"ours, {arguments.clients} clients"}
    names["theirs"] = f"llama-server, {arguments.clients} clients"
    for side, rounds in found.items():
        if rounds:
            p50, p95 = (statistics.median(one["whole_s"][key] for one in rounds) for key in ("p50", "p95"))
            requests = sum(one["requests"] for one in rounds)
            errors = sum(sum(one["errors"].values()) for one in rounds)
            print(f"| {names[side]} | {spread(rate[side])} | {p50:.2f}, {p95:.2f} | {requests} | {errors} |")
    print(f"\n{arguments.clients} clients: {statistics.median(rate['ours']) / statistics.median(rate['theirs']):.2f} x llama-server.")
    if arguments.sustained:
        ratio = statistics.median(rate["many"]) / statistics.median(rate["one"])
        print(f"32 clients for {arguments.sustained:.0f} s: {ratio:.2f} x one client.")
    if arguments.out:
        with open(arguments.out, "w") as file:
            json.dump({**header, "figures": found}, file, indent=1)


main()
