"""What `mrl-edge bench` prints of rooflines: how near encoding and searching come to what the machine could do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from mrl_edge.cli import console

if TYPE_CHECKING:
    from mrl_edge.bench.results import Measurement, Results


def print_rooflines(results: Results, alone: Sequence[Measurement]) -> None:
    """Print the encodings in `alone`, of fixed lengths and of batches, then the searches, and what they are held to."""
    shown = [row for row in results.measurements if row in alone or row.tokens or row.batch > 1]
    encoded = [line for row in shown if (line := _encoding(row))]
    searched = [line for row in results.measurements if (line := _searching(row))]
    if encoded:
        heads = ["", "10⁹ op.", "MB", "least ms", "p50 ms", "bound by", "reached"]
        console.print_table("\nhow much of what this machine could do is reached", heads, encoded)
    if searched:
        heads = ["", "index", "MB read", "least ms", "p50 ms", "reached"]
        console.print_table("\nand of what it could read, by searching", heads, searched, keys=2)
    if not encoded and not searched:
        return
    for one in results.ceilings:
        rates = [part.gb_per_s for part in one.bandwidths]
        console.note(
            f"ceilings with {one.threads} thread{'s' if one.threads > 1 else ''}: {one.fp32_gops:.0f} × 10⁹ op./s in "
            f"fp32, {one.int8_gops:.0f} in int8; {max(rates):.0f} GB/s from a cache, {rates[-1]:.0f} from memory; "
            f"measured {one.measured}"
        )
    found = [roofline for row in results.measurements for roofline in (row.roofline, row.search_roofline) if roofline]
    if any(roofline.fraction > 1 for roofline in found):
        console.note(
            "above 100%: this machine was slower when its ceilings were measured (use --new-ceilings), "
            "or computes fp16, of which none is measured, faster"
        )


def _encoding(row: Measurement) -> list[object]:
    from mrl_edge.bench.configuration import configuration_of

    found, encode = row.roofline, row.encode
    if found is None or encode is None:
        return []
    mark = "" if encode.stable else " ~"
    work = [f"{found.work.operations / 1e9:.2f}", f"{found.work.bytes / 1e6:.1f}"]
    times = [f"{found.least_ms:.2f}", f"{encode.p50_ms:.2f}{mark}"]
    return [str(replace(configuration_of(row), plan=None)), *work, *times, found.bound, f"{found.fraction:.0%}"]


def _searching(row: Measurement) -> list[object]:
    from mrl_edge.bench.configuration import configuration_of

    found = row.search_roofline
    if found is None or row.search is None or row.search.p50_ms is None:
        return []
    times = [f"{found.bytes / 1e6:.2f}", f"{found.least_ms:.3f}", f"{row.search.p50_ms:.3f}"]
    return [str(replace(configuration_of(row), plan=None)), str(row.plan), *times, f"{found.fraction:.0%}"]
