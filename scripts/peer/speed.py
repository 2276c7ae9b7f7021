"""Times the engine against llama.cpp: run it through scripts/speed_vs_llamacpp.

Each round runs both programs one after the other, each in a process of its own with a warm-up, so that a machine that slows
down does so for both. The figures are medians over the rounds; the raw ones go to a file.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile

MODELS = ["smollm2-135m-instruct", "gemma-3-270m", "qwen2.5-coder-0.5b-instruct", "qwen2.5-coder-1.5b-instruct"]
PROMPTS = [128, 512, 1500]
DEPTHS = [128, 512, 1500]
STEPS = 64
BATCH_MODEL = "qwen2.5-coder-1.5b-instruct"
BATCH, BATCH_DEPTH, BATCH_STEPS = 8, 128, 32
OURS = "target/release/routergym-local"


def run(command: list) -> tuple:
    """Standard output of a command, and the most memory that it held, in bytes."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(command, stdout=out, stderr=err)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        if process.returncode != 0:
            sys.exit(f"{' '.join(command)} ended with {process.returncode}:\n{err.read().decode(errors='replace')[-2000:]}")
        return out.read().decode(), usage.ru_maxrss * 1024


def joined(numbers: list) -> str:
    return ",".join(map(str, numbers))


class Bench:
    def __init__(self, peer: str, threads: int) -> None:
        self.bin, self.threads = os.path.join(peer, "build", "bin"), str(threads)

    def ours(self, model: str, *flags: str) -> tuple:
        out, memory = run([OURS, "speed", "--model", model, "--threads", self.threads, "-r", "1", "--json", "-q", *flags])
        return json.loads(out), memory

    def theirs(self, path: str, *flags: str) -> tuple:
        out, memory = run([f"{self.bin}/llama-bench", "-m", path, "-t", self.threads, "-r", "1", "-o", "jsonl", *flags])
        return [json.loads(line) for line in out.splitlines() if line.strip()], memory

    def round(self, model: str, path: str) -> dict:
        figures = {}
        report, _ = self.ours(model, "-p", joined(PROMPTS), "-d", joined(DEPTHS), "-n", str(STEPS))
        for row in report["prefill"]:
            figures[f"ours prefill {row['tokens']}"] = row["tokens_per_s"]
        for row in report["decode"]:
            figures[f"ours decode {row['depth']}"] = row["tokens_per_s"]
            figures[f"ours memory share {row['depth']}"] = row["memory_share"]
        figures["load"] = report["load_s"]
        figures["reuse"] = report["prefix_reuse"]["ratio"]
        figures["ttft without"] = report["prefix_reuse"]["ttft_s_without"]
        figures["ttft with"] = report["prefix_reuse"]["ttft_s_with"]
        figures["memory read"] = report["memory_bytes_per_s"]
        rows, figures["theirs peak"] = self.theirs(path, "-p", joined(PROMPTS), "-n", "0")
        for row in rows:
            figures[f"theirs prefill {row['n_prompt']}"] = row["avg_ts"]
        rows, _ = self.theirs(path, "-p", "0", "-n", str(STEPS), "-d", joined(DEPTHS))
        for row in rows:
            figures[f"theirs decode {row['n_depth']}"] = row["avg_ts"]
        longest = str(max(PROMPTS))
        # Of this program what it reports itself: after that it fills memory to measure how fast that is read.
        report, _ = self.ours(model, "-p", longest, "-d", "0", "-n", "1", "--shared", "none")
        figures["ours peak"] = report["peak_rss_bytes"]
        if model == BATCH_MODEL:
            flags = ["-p", "128", "-d", str(BATCH_DEPTH), "-n", str(BATCH_STEPS), "--batch", f"1,{BATCH}", "--shared", "none"]
            for row in self.ours(model, *flags)[0]["decode"]:
                figures[f"ours batch {row['batch']}"] = row["tokens_per_s"]
            out, _ = run([
                f"{self.bin}/llama-batched-bench", "-m", path, "-t", self.threads, "-c", "4096", "-npp", str(BATCH_DEPTH),
                "-ntg", str(BATCH_STEPS), "-npl", f"1,{BATCH}", "--output-format", "jsonl",
            ])
            for line in out.splitlines():
                if line.startswith("{"):
                    row = json.loads(line)
                    figures[f"theirs batch {row['pl']}"] = row["speed_tg"]
        return figures


def path_of(model: str) -> str:
    subprocess.run([OURS, "models", "pull", "-q", model], check=True, stdout=subprocess.DEVNULL)
    listing = json.loads(subprocess.check_output([OURS, "models", "list", "--json"]))
    folder = next(row["path"] for row in listing["models"] if row["name"] == model)
    return folder


def median(rounds: list, key: str) -> float:
    return statistics.median(one[key] for one in rounds)


def spread(rounds: list, key: str) -> str:
    values = [one[key] for one in rounds]
    return f"{statistics.median(values):.1f} [{min(values):.1f}, {max(values):.1f}]"


def tables(all_rounds: dict) -> None:
    print("\n| model | what | ours, tokens/s | llama.cpp | ratio |\n|---|---|---|---|---|")
    for model, rounds in all_rounds.items():
        for what, sizes in (("prefill", PROMPTS), ("decode", DEPTHS)):
            for size in sizes:
                mine, peer = f"ours {what} {size}", f"theirs {what} {size}"
                ratio = median(rounds, mine) / median(rounds, peer)
                place = f"prefill of {size}" if what == "prefill" else f"decode at {size}"
                print(f"| {model} | {place} | {spread(rounds, mine)} | {spread(rounds, peer)} | {ratio:.2f} |")
        if "ours batch 1" in rounds[0]:
            for batch in (1, BATCH):
                mine, peer = f"ours batch {batch}", f"theirs batch {batch}"
                ratio = median(rounds, mine) / median(rounds, peer)
                print(
                    f"| {model} | decode at {BATCH_DEPTH}, batch of {batch} | {spread(rounds, mine)} "
                    f"| {spread(rounds, peer)} | {ratio:.2f} |"
                )
    for model, rounds in all_rounds.items():
        if "ours batch 1" in rounds[0]:
            own = median(rounds, f"ours batch {BATCH}") / median(rounds, "ours batch 1")
            peer = median(rounds, f"ours batch {BATCH}") / median(rounds, f"theirs batch {BATCH}")
            print(f"\n{model}: a batch of {BATCH} is {own:.2f} x our own single stream and {peer:.2f} x llama.cpp's batch.")
    print(
        "\n| model | load, s | first token of 1,464 tokens, s | where 1,400 are kept | sooner by | decode at 128, 512, 1,500: "
        "share of memory bandwidth | peak memory ours | llama.cpp | ratio |\n|---|---|---|---|---|---|---|---|---|"
    )
    for model, rounds in all_rounds.items():
        shares = ", ".join(f"{median(rounds, f'ours memory share {depth}'):.0%}" for depth in DEPTHS)
        mine, peer = median(rounds, "ours peak"), median(rounds, "theirs peak")
        print(
            f"| {model} | {median(rounds, 'load'):.2f} | {median(rounds, 'ttft without'):.3f} "
            f"| {median(rounds, 'ttft with'):.3f} | {median(rounds, 'reuse'):.1f} x | {shares} | {mine / 1e6:.0f} MB "
            f"| {peer / 1e6:.0f} MB | {mine / peer:.2f} |"
        )


def first_line(*command: str) -> str:
    return subprocess.check_output(command).decode().splitlines()[0].strip()


def describe(arguments: argparse.Namespace) -> dict:
    with open("/proc/cpuinfo") as file:
        processor = next((line.split(":")[1].strip() for line in file if line.startswith("model name")), platform.machine())
    with open("/proc/cpuinfo") as file:
        amx = "amx_tile" in file.read()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "machine": f"{processor}, {os.cpu_count()} cores, {memory:.0f} GiB, {platform.platform()}",
        "threads": arguments.threads,
        "ours": f"{first_line(OURS, '--version')}, commit {first_line('git', 'rev-parse', '--short', 'HEAD')}, "
        f"{first_line('rustc', '--version')}, default release build",
        "theirs": f"{os.path.basename(arguments.peer.rstrip('/'))}, {first_line('c++', '--version')}, GGML_NATIVE=ON"
        + (", its AMX code left out, which crashes on such a virtual machine" if amx else ""),
        "rounds": arguments.rounds,
    }


def print_about(about: dict) -> None:
    for key, value in about.items():
        print(f"- {key}: {value}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--peer", required=True, help="the folder that scripts/peer/llamacpp.sh prints")
    parser.add_argument("--tables", metavar="RAW.json", help="print the tables of an earlier run again and measure nothing")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--out", help="where the raw figures go, as JSON")
    parser.add_argument("models", nargs="*", default=MODELS)
    arguments = parser.parse_args()
    if arguments.tables:
        with open(arguments.tables) as file:
            about = json.load(file)
        figures = about.pop("figures")
        print_about(about)
        tables(figures)
        return
    bench = Bench(arguments.peer, arguments.threads)
    about = describe(arguments)
    all_rounds = {model: [] for model in arguments.models}
    paths = {model: path_of(model) for model in arguments.models}
    for number in range(arguments.rounds):
        for model in arguments.models:
            print(f"round {number + 1} of {arguments.rounds}: {model}", file=sys.stderr, flush=True)
            all_rounds[model].append(bench.round(model, paths[model]))
    print_about(about)
    tables(all_rounds)
    if arguments.out:
        with open(arguments.out, "w") as file:
            json.dump({**about, "figures": all_rounds}, file, indent=1)


main()
