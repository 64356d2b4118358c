"""Our tuned indexes beside exact search and beside other libraries, on real embeddings, in turn in one run.

    python bench/peers/searching.py [--folder quickstart] [--items 100000] [--vectors int8-int4] [--json FILE]

The documents are the built-in corpus (WordNet's lemmas), embedded by the trained bundle in `--folder`, and beyond
their number copies of them with noise of the corpus' own covariance. Queries are its glosses, never seen in
training; an index is tuned on some and scored on others. Each index answers in a process of its own, whose memory
is counted over that of its imports; a round asks each for one pass over the same queries, and a ratio is taken
within a round. On a busy machine a long search is interrupted more often than a short one, so that the ratio of
wall times flatters the short: CPU time, the same where the machine is quiet, stands beside it, and a promise is
kept only by both. Each peer lives in a virtual environment of its own, which
`make search-peers` installs.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from mrl_edge.bench.measure.intervals import in_words, median_interval
from search_contenders import DIMS, EFFORTS, Contender, ours, peers
from search_corpus import SCORED, TUNED, WORK, prepare

from mrl_edge.bundle import open_bundle
from mrl_edge.cli import console
from mrl_edge.errors import MrlEdgeError, UsageError
from mrl_edge.index.vectors import STORAGES
from mrl_edge.metrics import Ids, overlap_at_k

_PASS = 50  # of the scored queries in a round

# What is promised of some tuned configuration of ours: recall, and shares of the exact scan's time and memory.
_PROMISES = {100_000: (0.98, 1 / 5, 1 / 4), 1_000_000: (0.98, 1 / 14, 1 / 4)}


def compare(contenders: Sequence[Contender], queries: Path, reference: Ids, rounds: int) -> list[dict[str, Any]]:
    """Score every contender on all queries, then time them in turn; ratios are to the first, within a round."""
    with ExitStack() as stack:
        processes = [stack.enter_context(contender.serve(queries)) for contender in contenders]
        rows = []
        for contender, process in zip(contenders, processes, strict=True):
            answer = process.ask(json.dumps(list(range(SCORED))))
            rows.append(
                {
                    "index": contender.name,
                    "recall_at_10": overlap_at_k(np.array(answer["ids"]), reference),
                    "resident_mb": answer["rss_bytes"] / 1e6,
                    "disk_mb": contender.disk_bytes / 1e6,
                    "build_s": contender.build_s,
                }
            )
        medians = np.empty((2, rounds, len(processes)))  # of wall and of CPU times
        for number in range(rounds):
            at = number * _PASS % SCORED
            for place, process in enumerate(processes):
                answer = process.ask(json.dumps(list(range(at, at + _PASS))))
                medians[:, number, place] = np.median([answer["ms"], answer["cpu_ms"]], axis=1)
    for number, row in enumerate(rows):
        row["p50_ms"], row["p50_cpu_ms"] = np.median(medians[:, :, number], axis=1).tolist()
        for name, seen in zip(("time", "cpu"), medians, strict=True):
            ratios = seen[:, number] / seen[:, 0]
            row[f"{name}_ratio"], row[f"{name}_ratio_ci95"] = float(np.median(ratios)), median_interval(ratios)
        row["memory_ratio"] = row["resident_mb"] / rows[0]["resident_mb"]
    return rows


def kept_promise(rows: Sequence[dict[str, Any]], items: int) -> str | None:
    """Return which configuration of ours keeps what is promised for so many items, or None."""
    recall, time, memory = _PROMISES.get(items, _PROMISES[100_000])
    for row in rows:
        ours = row["index"].startswith("ours") and row["recall_at_10"] >= recall
        known = row["time_ratio_ci95"], row["cpu_ratio_ci95"]  # None of fewer than 6 rounds, which decide nothing
        fast = all(interval is not None and interval[1] <= time for interval in known)
        if ours and fast and row["memory_ratio"] <= memory:
            return str(row["index"])
    return None


def run(options: argparse.Namespace) -> bool:
    """Prepare, tune, build, compare, print; return whether a configuration of ours keeps the promise."""
    kinds, names = _named("--kinds", options.kinds, DIMS), _named("--peers", options.peers, EFFORTS)
    recall, time, memory = _PROMISES.get(options.items, _PROMISES[100_000])
    bundle = open_bundle(options.folder / "bundle")
    work = WORK / f"{options.items}-{bundle.identity()[:16]}"
    shutil.rmtree(work, ignore_errors=True)  # what a run that was broken off left is half of something
    work.mkdir(parents=True)
    ground, exact_ids = prepare(bundle, options.items, options.vectors, "ivf" in kinds, work)
    size = (work / "vectors.f32").stat().st_size
    contenders = [Contender("exact scan at full dimension, fp32", "exact", work / "exact", 0, 0.0, size)]
    contenders += ours(ground, work, kinds, memory * size)
    failed: dict[str, str] = {}
    contenders += peers(work, exact_ids[:TUNED], names, failed)
    rows = compare(contenders, work / "scored.npy", exact_ids[TUNED:], options.rounds)
    if options.json:
        left_out = [{"index": name, "failed": why} for name, why in failed.items()]
        options.json.write_text(json.dumps([*rows, *left_out], indent=1) + "\n")
    print_rows(rows, f"{options.items:,} items, ours in {options.vectors}")
    for name, why in failed.items():
        print(f"left out: {name}: {why}")
    keeper = kept_promise(rows, options.items)
    promise = f"recall {recall} at {time:.3f} of the exact scan's time and {memory:.2f} of its memory"
    print(f"kept by {keeper}: {promise}" if keeper else f"NOT kept by any of ours: {promise}")
    return keeper is not None


def print_rows(rows: Sequence[dict[str, Any]], what: str) -> None:
    """Print one line an index."""
    heads = ["", "recall@10", "p50 ms", "× time", "95%", "× CPU", "95%", "MB", "× memory", "disk MB", "build s"]
    lines = [
        [
            row["index"],
            row["recall_at_10"],
            row["p50_ms"],
            row["time_ratio"],
            in_words(row["time_ratio_ci95"], 3),
            row["cpu_ratio"],
            in_words(row["cpu_ratio_ci95"], 3),
            row["resident_mb"],
            row["memory_ratio"],
            row["disk_mb"],
            row["build_s"],
        ]
        for row in rows
    ]
    console.print_table(f"{what}, one thread, {SCORED} queries that nothing was tuned on", heads, lines)


def _named(option: str, names: str, known: Collection[str]) -> list[str]:
    """Return what an option lists, separated by commas; `UsageError` for what is not known."""
    found = [name for name in names.split(",") if name]
    for name in found:
        if name not in known:
            raise UsageError(f"{option} {name}: unknown; there is {', '.join(known)}")
    return list(dict.fromkeys(found))


def main() -> None:
    """Exit 1 where a promise is not kept, 2 where what was given makes no sense."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("quickstart"), help="where mrl-edge quickstart wrote")
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--vectors", default="int8-int4", choices=STORAGES, help="how ours stores them")
    parser.add_argument("--kinds", default=",".join(DIMS), help="kinds of ours to tune, separated by commas")
    parser.add_argument(
        "--peers", default=",".join(EFFORTS), help="peers to build, separated by commas; empty for none"
    )
    parser.add_argument("--json", type=Path, help="file for the rows")
    try:
        kept = run(parser.parse_args())
    except (MrlEdgeError, subprocess.CalledProcessError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
