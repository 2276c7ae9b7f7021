#!/usr/bin/env python3
"""Reads trials.parquet and prints accuracy, escalation and median latency of every router and memory.

    routergym-local report RUN --format parquet
    pip install pyarrow
    scripts/read_parquet.py RUN/trials.parquet

A null is what was not measured or does not apply; it is left out, never taken as zero.
"""

import statistics
import sys
from collections import defaultdict

import pyarrow.parquet as parquet


def mean(values: list) -> str:
    known = [float(value) for value in values if value is not None]
    return f"{sum(known) / len(known):.3f}" if known else "n/a"


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    columns = ["router", "memory", "outcome", "label_correct", "escalated", "latency_s"]
    policies = defaultdict(list)
    for row in parquet.read_table(sys.argv[1], columns=columns).to_pylist():
        # A failure outside the models is never scored.
        if row["outcome"] != "failed":
            policies[row["router"], row["memory"]].append(row)
    print(f"{'router':<20} {'memory':<10} {'n':>6} {'accuracy':>9} {'escalated':>9} {'latency p50 (s)':>16}")
    for (router, memory), rows in sorted(policies.items()):
        latencies = [row["latency_s"] for row in rows if row["latency_s"] is not None]
        p50 = f"{statistics.median(latencies):.3f}" if latencies else "n/a"
        accuracy = mean([row["label_correct"] for row in rows])
        escalated = mean([row["escalated"] for row in rows])
        print(f"{router:<20} {memory:<10} {len(rows):>6} {accuracy:>9} {escalated:>9} {p50:>16}")


if __name__ == "__main__":
    main()
