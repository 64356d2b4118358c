"""Which promises of issue 4 the figures of `ladder.py` keep."""

from __future__ import annotations

from typing import Any

from ladder_entries import PEERS, has_vnni
from ladder_measure import DIMS
from verdicts import SHOWN, Verdict, held


def shortfalls(rows: list[dict[str, Any]], peers: list[dict[str, Any]], fidelity: list[dict[str, Any]]) -> list[str]:
    """Return the promises of issue 4 that are not kept or undecided; that of speed is made for processors with VNNI.

    Times are judged by their whole interval. Ours is worse than a peer in fidelity where all of the interval says so.
    """
    of = {row["name"]: row for row in (*rows, *peers)}
    int8, int4, fp32 = of["int8"], of["int4"], of["fp32"]
    checks: list[tuple[str, bool | Verdict]] = [
        ("int8 takes at most 24 MB of weights and graph", int8["disk_mb"] <= 24),
        ("int4 takes at most 15 MB of weights and graph", int4["disk_mb"] <= 15),
    ]
    if has_vnni():
        checks.append(("int8 is 2.8 × as fast as fp32", held(int8["faster_ci95"], least=2.8)))
    for row, points in ((int8, 0.01), (int4, 0.02)):
        for dim in DIMS:
            key = f"recall_at_10_d{dim}"
            checks.append((f"{row['name']} loses at most {points} of {key}", fp32[key] - row[key] <= points))
    checks += [(f"our int8 is no slower than {name}", held(of[name]["faster_ci95"], most=1)) for name in PEERS]
    checks += [(f"our int8 is no worse than {row['peer']} in {row['what']}", row["ci95"][1] >= 0) for row in fidelity]
    verdicts = ((text, found if isinstance(found, str) else _counted(found)) for text, found in checks)
    return [f"{verdict}: {text}" for text, verdict in verdicts if verdict not in SHOWN]


def kept() -> str:
    """Say that all are kept, and which was not asked for."""
    asked = "" if has_vnni() else "; int8 2.8 × as fast as fp32 is asked on a processor with VNNI, which this is not"
    return f"every promise of issue 4 is kept, of the differences none was seen broken{asked}"


def _counted(kept: bool) -> Verdict:
    return "kept" if kept else "NOT KEPT"
