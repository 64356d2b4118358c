"""Rows with chosen figures and intervals at random, and budgets that some of them fit."""

import itertools
import random

import msgspec
from mrl_edge.bench.budget import Budget
from mrl_edge.bench.candidates import candidates
from rows import measurement, results


def rows_with_intervals(seed, count=36):
    rng = random.Random(seed)
    made = []
    for precision, dim in itertools.product(("fp32", "int8"), range(8, 8 * (count // 2 + 1), 8)):
        ms = rng.uniform(1, 8)
        row = measurement(
            precision, dim, encode_ms=ms, rss_mb=rng.uniform(80, 200), disk_mb=rng.uniform(20, 100),
            ndcg=rng.uniform(0.2, 0.7), recall=rng.uniform(0.2, 0.8),
        )  # fmt: skip
        width = rng.uniform(1.01, 1.4)
        made.append(
            msgspec.structs.replace(row, encode=msgspec.structs.replace(row.encode, ci95_ms=(ms / width, ms * width)))
        )
    content = results(*made)
    return candidates(msgspec.structs.replace(content, settings={**content.settings, "queries": 400, "texts": 0}))


def random_budget(seed, **more):
    rng = random.Random(1000 + seed)
    return Budget(max={"p50_ms": rng.uniform(2, 8), "peak_rss_mb": rng.uniform(90, 200)}, **more)
