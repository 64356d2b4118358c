"""Results of one task at several corpus sizes, on a machine of our own making whose curves are known."""

import math

import msgspec
import numpy as np
from mrl_edge.bench.results import IndexPlan, OneProcess
from rows import measurement, results

SIZES = (1000, 2000, 4000)
ENCODE_MS = 2.0


def truth(n, kind="scan"):
    """Search time, RSS, disk and nDCG of n documents, as a machine of our own making has them."""
    search_ms = 0.05 + n * 1e-4 if kind == "scan" else 0.1 * math.log(n)
    odds = math.exp(1.5 - 0.3 * math.log(n / 1000))
    return search_ms, 100 + n * 2e-3, 20 + n * 1.5e-3, odds / (1 + odds)


def at(n, kind="scan", noise=1.0):
    search_ms, rss, disk, ndcg = truth(n, kind)
    row = measurement("int8", 64, encode_ms=ENCODE_MS, search_ms=search_ms * noise, rss_mb=rss, disk_mb=disk, ndcg=ndcg)
    search = msgspec.structs.replace(row.search, n_items=n, index=kind)
    content = results(msgspec.structs.replace(row, search=search, plan=IndexPlan(kind)))
    return msgspec.structs.replace(content, settings={**content.settings, "data_sha256": str(n), "queries": 1000})


def changed(content, **fields):
    (row,) = content.measurements
    return msgspec.structs.replace(content, measurements=(msgspec.structs.replace(row, **fields),))


def disturbed(n, random, kind="scan", noise=0.05):
    """A size as a noisy machine has it: its times each off by so much and saying so, its memory by 1.5 MB."""
    factor = np.exp(noise * random.standard_normal(4))
    search_ms, rss, disk, ndcg = truth(n, kind)
    row = measurement(
        "int8", 64, encode_ms=ENCODE_MS * factor[0], search_ms=search_ms * factor[1],
        rss_mb=rss + 1.5 * random.standard_normal(), disk_mb=disk, ndcg=ndcg,
    )  # fmt: skip
    whole = row.query.p50_ms
    query = msgspec.structs.replace(
        row.query,
        p99_ms=(ENCODE_MS + 3 * search_ms) * factor[2],
        ci95_ms=(whole * math.exp(-1.96 * noise), whole * math.exp(1.96 * noise)),
    )
    search = msgspec.structs.replace(row.search, n_items=n, index=kind)
    each = [OneProcess(query.p99_ms * one, search.p50_ms * one, None, None, None) for one in (1 - noise, 1, 1 + noise)]
    row = msgspec.structs.replace(
        row, query=query, search=search, plan=IndexPlan(kind), cold_start_ms=300 * factor[3], by_process=tuple(each)
    )
    content = at(n, kind)
    return msgspec.structs.replace(content, measurements=(row,))
