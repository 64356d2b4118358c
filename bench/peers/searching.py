"""Our tuned indexes beside exact search and beside other libraries, on real embeddings, in turn in one run.

    python bench/peers/searching.py [--folder quickstart] [--items 100000] [--vectors int8-int4] [--json FILE]

The documents are the built-in corpus (WordNet's lemmas), embedded by the trained bundle in `--folder`, and beyond
their number copies of them with noise of the corpus' own covariance. Queries are its glosses, never seen in
training; an index is tuned on some and scored on others. Each index answers in a process of its own, whose memory
is counted over that of its imports; a round asks each for one pass over the same queries, and a ratio is taken
within a round. On a busy machine a long search is interrupted more often than a short one, so that the ratio of
wall times flatters the short: CPU time, the same where the machine is quiet, stands beside it, and a promise is
kept only by both, each with its whole 95% interval. The promise is about our own exact scan; another library's may be
faster, so that a column has the ratio to the fastest exact search of the run. Each peer lives in a virtual environment
of its own, which `make search-peers` installs.
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
from numpy.typing import NDArray
from search_contenders import DIMS, EFFORTS, EXACT, Contender, ours, peers
from search_corpus import SCORED, TUNED, WORK, prepare
from verdicts import Verdict, held

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
                    "exact": contender.kind in EXACT,
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
    return with_times(rows, medians)


def with_times(rows: Sequence[dict[str, Any]], medians: NDArray[np.float64]) -> list[dict[str, Any]]:
    """Return the rows with wall and CPU medians [2, rounds, rows], their ratios to the first row, and its memory's.

    `fastest_exact_ratio` is the wall time as a multiple of that of the fastest of the rows that are exact search.
    """
    p50 = np.median(medians, axis=1)  # [2, rows]
    fastest = min((number for number, row in enumerate(rows) if row["exact"]), key=lambda number: p50[0, number])
    found = []
    for number, row in enumerate(rows):
        times = {"p50_ms": float(p50[0, number]), "p50_cpu_ms": float(p50[1, number])}
        for name, seen, base in (
            ("time", medians[0], 0), ("cpu", medians[1], 0), ("fastest_exact", medians[0], fastest)
        ):  # fmt: skip
            ratios = seen[:, number] / seen[:, base]
            times |= {f"{name}_ratio": float(np.median(ratios)), f"{name}_ratio_ci95": median_interval(ratios)}
        memory_ratio = row["resident_mb"] / rows[0]["resident_mb"]
        found.append({**row, **times, "memory_ratio": memory_ratio, "fastest_exact": rows[fastest]["index"]})
    return found


def judge(rows: Sequence[dict[str, Any]], items: int) -> tuple[Verdict, dict[str, Any] | None]:
    """Return whether a configuration of ours keeps what is promised for so many items, and which does, or may.

    Recall and memory are counted; a configuration whose times are undecided leaves the promise so, unless one keeps it.
    """
    recall, time, memory = _PROMISES.get(items, _PROMISES[100_000])
    may = None
    for row in rows:
        if not row["index"].startswith("ours") or row["recall_at_10"] < recall or row["memory_ratio"] > memory:
            continue
        seen = {held(row[f"{name}_ratio_ci95"], most=time) for name in ("time", "cpu")}
        if seen == {"kept"}:
            return "kept", row
        if "NOT KEPT" not in seen:
            may = may or row
    return ("UNDECIDED", may) if may else ("NOT KEPT", None)


def run(options: argparse.Namespace) -> bool:
    """Prepare, tune, build, compare, print; return whether a configuration of ours is shown to keep the promise."""
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
    verdict, row = judge(rows, options.items)
    promise = f"recall {recall} at {time:.3f} of our exact scan's time and {memory:.2f} of its memory"
    print(f"{verdict} by {row['index'] if row else 'any of ours'}: {promise}")
    if row:
        seen = f"{row['fastest_exact_ratio']:.3f} ({in_words(row['fastest_exact_ratio_ci95'], 3)})"
        print(f"beside the fastest exact search of this run, {row['fastest_exact']}, it takes {seen} of the time")
    return verdict == "kept"


def print_rows(rows: Sequence[dict[str, Any]], what: str) -> None:
    """Print one line an index."""
    times = ["p50 ms", "× time", "95%", "× CPU", "95%", "× fastest exact", "95%"]
    heads = ["", "recall@10", *times, "MB", "× memory", "disk MB", "build s"]
    lines = [
        [
            row["index"],
            row["recall_at_10"],
            row["p50_ms"],
            row["time_ratio"],
            in_words(row["time_ratio_ci95"], 3),
            row["cpu_ratio"],
            in_words(row["cpu_ratio_ci95"], 3),
            row["fastest_exact_ratio"],
            in_words(row["fastest_exact_ratio_ci95"], 3),
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
    """Exit 1 where the promise is not kept, or undecided, 2 where what was given makes no sense."""
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
