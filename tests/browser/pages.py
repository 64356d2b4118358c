"""What the report is opened with in Chromium: budgets, options and rows; and what `mrl-edge pick` answers."""

import itertools
import json
import random
import re
import shlex

import msgspec
from conftest import run_here
from mrl_edge.bench.results import ClassThird, IndexPlan
from rows import measurement, results

TYPED = [
    {},
    {"max-p50_ms": "3"},
    {"max-p50_ms": "2.5", "max-peak_rss_mb": "130", "max-disk_mb": "61"},
    {"max-p99_ms": "5", "max-cold_start_ms": "320", "min-recall_at_10": "0.35"},
    {"max-disk_mb": "1"},  # nothing fits
    {"min-ndcg_at_10": "0.55", "min-accuracy": "0.6"},
    {"keep-ndcg_at_10": "0.9", "max-energy_mj": "12"},
    {"max-p50_ms": "1.3", "max-disk_mb": "30", "keep-ndcg_at_10": "1"},  # nothing fits
]
SLID = [
    {"max-p50_ms": 0.4},
    {"max-peak_rss_mb": 0.25, "max-disk_mb": 0.7},
    {"max-cold_start_ms": 0.5, "min-recall_at_10": 0.6},
    {"max-p50_ms": 0.3, "max-p99_ms": 0.5, "max-peak_rss_mb": 0.5, "max-disk_mb": 0.5, "min-ndcg_at_10": 0.2},
    {"max-p50_ms": 0},  # nothing fits
]
BUDGETS = [
    *({"typed": typed} for typed in TYPED),
    *({"slid": slid} for slid in SLID),
    {"typed": {"max-peak_rss_mb": "120"}, "objective": "recall_at_10"},
    {"slid": {"max-disk_mb": 0.5, "max-p50_ms": 0.5}, "objective": "accuracy"},
    {"typed": {"max-p50_ms": "3", "min-recall_at_10": "0.35"}, "confidence": "0.95"},
    {"typed": {"max-p50_ms": "2.2", "min-ndcg_at_10": "0.5", "keep-ndcg_at_10": "0.9"}, "confidence": "0.95"},
    {"typed": {"max-p50_ms": "1.5", "max-peak_rss_mb": "105", "min-ndcg_at_10": "0.6"}, "confidence": "0.95"},
    {"typed": {"max-disk_mb": "50", "min-mrr_at_10": "0.3", "keep-mrr_at_10": "0.7"}, "objective": "mrr_at_10"},
]
OPENING = ("--max-p50-ms", "3", "--keep-quality", "ndcg_at_10=0.8", "--confidence", "0.95")
GROWN = ("--corpus-now", "2000", "--corpus", "20000", "--max-p50-ms", "5")
EVIL = "</script><!--<script>alert(1)</script><img src=x onerror=alert(1)>"


def swept(seed, **options):
    """200 rows, as of a sweep over precisions, depths, dimensions and kinds of search; few values, so that some tie.

    Intervals differ in width, some latencies are in doubt, some p99 and energies are not known.
    """
    rng = random.Random(seed)
    grid = itertools.product(
        ("fp32", "fp16", "int8", "int4"), (3, 6), (8, 16, 32, 64, 128, 256, 384), ("scan", "annoy", "ivf", "binary")
    )
    rows = []
    for precision, depth, dim, kind in list(grid)[:200]:
        row = measurement(
            precision, dim, encode_ms=rng.randint(2, 9) / 2, search_ms=rng.randint(1, 4) / 4,
            disk_mb=rng.randint(20, 90), rss_mb=rng.randint(50, 90) * 2,
            ndcg=rng.randint(4, 12) / 20, recall=rng.randint(4, 12) / 18, accuracy=rng.randint(8, 16) / 20,
        )  # fmt: skip
        mrr = 0.9 * row.quality.ndcg_at_10
        search = msgspec.structs.replace(row.search, index=kind)
        thirds = [ClassThird(name, 3, n, rng.random()) for name, n in (("head", 150), ("medium", 40), ("tail", 10))]
        row = msgspec.structs.replace(
            row,
            depth=depth,
            plan=IndexPlan(kind),
            search=search,
            query=_timed(row.query, rng),
            energy_mj=rng.choice((None, 5.0, 10.0, 20.0)),
            quality=msgspec.structs.replace(row.quality, mrr_at_10=mrr, by_class=tuple(thirds)),
        )
        rows.append(msgspec.structs.replace(row, cold_start_ms=rng.randint(200, 500)))
    content = results(*rows, **options)
    return msgspec.structs.replace(content, settings={**content.settings, "queries": 300, "texts": 200})


def _timed(query, rng):
    low, high = (1 - rng.choice((0.01, 0.05, 0.1)), 1 + rng.choice((0.01, 0.06, 0.12)))
    known = rng.random() < 0.8
    return msgspec.structs.replace(
        query,
        ci95_ms=(query.p50_ms * low, query.p50_ms * high),
        p99_ms=1.5 * query.p50_ms if known else None,
        loops=1 if known else 4,
        stable=high < 1.05,
        doubts=() if high < 1.05 else ("interval",),
    )


def answered(folder, command):
    """Run the command that the page shows, and return its answer with the page's short titles."""
    words = shlex.split(command.splitlines()[0].removesuffix(" --json > choice.json"))
    assert words[:2] == ["mrl-edge", "pick"]
    assert words[2] == str(folder / "results.json")
    done = run_here(*words[1:], "--json")
    assert done.returncode in (0, 3), done.stderr
    return json.loads(re.sub("(p50|p99) of a query", r"query \1", done.stdout))
