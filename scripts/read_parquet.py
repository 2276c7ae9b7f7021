#!/usr/bin/env python3
"""Accuracy, latency and cost by policy from trials.parquet: scripts/read_parquet.py DIR/trials.parquet

The file is written by `routergym-local report RUN --format parquet -o DIR`. Needs pandas and pyarrow.
"""

import sys

import pandas

trials = pandas.read_parquet(sys.argv[1])
scored = trials[trials["outcome"] != "failed"]
table = scored.groupby("cell", sort=False).agg(
    n=("sample", "size"),
    accuracy=("label_correct", "mean"),
    latency_p50_s=("latency_s", "median"),
    latency_p95_s=("latency_s", lambda seconds: seconds.quantile(0.95)),
    escalated=("escalated", "mean"),
    api_usd_per_1000=("api_usd", lambda usd: usd.mean() * 1000),
)
print(table.to_string())
