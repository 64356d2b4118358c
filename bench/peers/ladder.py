"""Every precision of one model, and our int8 beside its peers': size, start, memory, speed, fidelity and recall.

    python bench/peers/ladder.py [--folder quickstart] [--rounds 30] [--json]

Each entry lives in a process of its own with one thread. A round asks each for one pass over the same 64 glosses,
one at a time, so that a ratio is of times when the machine was the same for both. Fidelity is of 2,000 glosses,
one at a time, to our fp32; recall@10 is of the first 1,000 glosses among the 3,979 entries of the dev set. The
peers' graphs end at the last layer: what pools and projects their output for the fidelity is not in their time.
Whether ours is worse than a peer is asked text by text: the mean of the differences, and its 95% bootstrap interval.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from ladder_entries import PEERS, PRECISIONS, export
from ladder_measure import differences, measure
from ladder_promises import kept, shortfalls
from mrl_edge.bench.measure.intervals import in_words


def print_rows(title: str, rows: list[dict[str, Any]]) -> None:
    """Print one line an entry; `faster` is how many times as fast as the first line."""
    print(f"\n{title}\n")
    print(
        f"{'':28}{'disk MB':>8}{'load ms':>9}{'cold ms':>9}{'RSS MB':>8}{'p50 ms':>8}{'faster':>8}{'95% interval':>16}"
        f"{'cos mean':>10}{'min':>8}{'R@10 d64':>10}{'kept':>7}{'d384':>8}{'kept':>7}"
    )
    for row in rows:
        print(
            f"{row['name']:28}{row['disk_mb']:8.1f}{row['load_ms']:9.0f}{row['cold_start_ms']:9.0f}{row['rss_mb']:8.0f}"
            f"{row['p50_ms']:8.2f}{row['faster']:8.2f}{in_words(row['faster_ci95']):>16}"
            f"{row['cosine_mean']:10.4f}{row['cosine_min']:8.4f}{row['recall_at_10_d64']:10.3f}{row['kept_d64']:7.3f}"
            f"{row['recall_at_10_d384']:8.3f}{row['kept_d384']:7.3f}"
        )


def print_differences(fidelity: list[dict[str, Any]]) -> None:
    """Print one line a peer and measure; above 0, ours is the nearer to fp32."""
    print("\nOur int8 graph less its peers', text by text\n")
    print(f"{'':28}{'':16}{'texts':>7}{'better':>8}{'worse':>7}{'difference':>12}{'95% interval':>22}")
    for row in fidelity:
        low, high = row["ci95"]
        print(
            f"{row['peer']:28}{row['what']:16}{row['texts']:7}{row['better']:8}{row['worse']:7}{row['difference']:12.5f}"
            f"{f'{low:.5f} to {high:.5f}':>22}"
        )


def main() -> None:
    """Print the tables, or JSON; exit code 1 when a promise is not kept, or undecided."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("quickstart"), help="where mrl-edge quickstart ran")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if not (options.folder / "model" / "mrl.json").is_file():
        sys.exit(f"{options.folder} holds no trained model: run `make quickstart` first")
    export(options.folder)
    vectors: dict[str, dict[str, np.ndarray]] = {}
    rows = measure(options.folder, PRECISIONS, options.rounds, vectors)
    peers = measure(options.folder, ("int8 graph", *PEERS), options.rounds, vectors)
    fidelity = differences(vectors)
    broken = shortfalls(rows, peers, fidelity)
    if options.json:
        print(json.dumps({"precisions": rows, "peers": peers, "fidelity": fidelity, "shortfalls": broken}, indent=2))
        sys.exit(bool(broken))
    print_rows("Precisions: mrl_edge.load, texts in, vectors out, one thread, in turn", rows)
    print_rows("Our int8 graph and its peers', on the same token ids, one thread, in turn", peers)
    print_differences(fidelity)
    print("\n" + ("\n".join(broken) or kept()))
    sys.exit(bool(broken))


if __name__ == "__main__":
    main()
