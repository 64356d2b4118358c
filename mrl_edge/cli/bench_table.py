"""What `mrl-edge bench` prints of a results file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mrl_edge.cli import console
from mrl_edge.errors import ResultsError

if TYPE_CHECKING:
    from mrl_edge.bench.results import Encode, Measurement, Results

_LEAST_SAMPLES = 1000


@dataclass(frozen=True)
class Calls:
    """What was asked of batches and callers: whether one text of one caller is to stand beside them, and a limit."""

    alone: bool = False
    p99_limit_ms: float | None = None


def print_answer(results: Results, out: Path, calls: Calls) -> None:
    """Print the results, where they are, and what to do with them; raises as `refuse_unmeasured`."""
    print_results(results, calls)
    refuse_unmeasured(results)
    console.say(f"\nresults: {out}\nnext:    mrl-edge pick {out} --max-p50-ms 5 --max-rss-mb 120")


def refuse_unmeasured(results: Results) -> None:
    """Raise `ResultsError` when no configuration could be measured."""
    if all(row.status != "ok" for row in results.measurements):
        reason = next((row.reason for row in results.measurements), "there are no rows")
        raise ResultsError(f"nothing could be measured: {reason}")


def print_results(results: Results, calls: Calls = Calls()) -> None:
    """Print one line a configuration on real texts, and what could not be measured."""
    from mrl_edge.bench.results import BUSY_PERCENT
    from mrl_edge.bench.slower import slower_than_fp32

    rows: list[list[object]] = []
    failed = []
    nested = len({row.depth for row in results.measurements}) > 1
    levers = any(row.runtime for row in results.measurements)
    for row in results.measurements:
        if row.status != "ok" or row.encode is None:
            shape = f" with {row.tokens} tokens" if row.tokens else ""
            arrivals = row.p99_limit_ms is not None
            shape += f" {row.callers} at once" if arrivals else f" by {row.callers} callers" if row.callers > 1 else ""
            shape += f" at arrivals with p99 ≤ {row.p99_limit_ms:g} ms" if arrivals else ""
            shape += f" in batches of {row.batch}" if row.batch > 1 else ""
            failed.append(f"{row.precision} d{row.dim} of {row.depth} layers{shape}: {row.status}, {row.reason}")
        elif row.tokens is None and row.memory and row.disk and row.quality:
            search, quality = row.search, row.quality
            mark = "" if row.encode.stable else " ~"
            rows.append(
                [
                    f"{row.precision}{f'×{row.threads}' if row.threads > 1 else ''}",
                    *(["+".join(row.runtime) or "default"] if levers else []),
                    *([row.depth] if nested else []),
                    row.dim,
                    str(row.plan) if row.plan else None,
                    f"{row.encode.p50_ms:.2f}{mark}",
                    search.p50_ms if search else None,
                    round(row.cold_start_ms or 0),
                    round(row.memory.peak_rss_bytes / 1e6),
                    (row.disk.model_bytes + row.disk.index_bytes + row.disk.vectors_bytes) / 1e6,
                    search.recall_at_10 if search else None,
                    quality.recall_at_10,
                    quality.ndcg_at_10,
                    quality.accuracy,
                ]
            )
    figures = ["dim", "index", "encode", "search", "cold", "RSS", "disk", "exact", "recall", "nDCG", "acc."]
    heads = ["", *(["runtime"] if levers else []), *(["depth"] if nested else []), *figures]
    title = "p50 in ms, memory and disk in MB, hits shared with exact search, scores@10"
    console.print_table(f"\n{results.device.cpu}: {title}", heads, rows, keys=3 + levers + nested)
    _print_parts(results)
    _print_throughput(results, calls)
    _print_rooflines(results)
    for line in shared(results):
        console.say(line)
    if any(row.encode and not row.encode.stable for row in results.measurements):
        doubts = Counter(doubt for row in results.measurements if row.encode for doubt in row.encode.doubts)
        why = ", ".join(f"{name} of {count}" for name, count in doubts.most_common())
        console.note(
            f"~ the median is not stable ({why}): the machine is busy, or give it more --max-seconds and --repeats"
        )
    busy = max((row.system.busy_before_percent for row in results.measurements if row.system), default=0.0)
    if busy > BUSY_PERCENT:
        console.note(f"warning: other work took up to {busy:.0f}% of this machine: its latencies are too high")
    if missed := below_target(results):
        wanted = results.settings["target_recall"]
        console.note(f"recall {wanted:g} was not reached on all these queries by {', '.join(missed)}")
    for slower in slower_than_fp32(results.measurements, results.device):
        console.note(str(slower))
    for line in failed:
        console.note(f"not measured: {line}")


def shared(results: Results) -> list[str]:
    """Say what configurations have in common and was made once, and where the time went; nothing of encoding alone."""
    rows = [row for row in results.measurements if row.search]
    if not rows:
        return []
    variants = dict.fromkeys(f"{row.precision} of {row.depth} layers" for row in rows)
    texts = f"{results.settings['queries']:,} queries and {results.settings['documents']:,} documents"
    tuned = dict.fromkeys(row.search.tuned_on for row in rows if row.search and row.search.tuned_on)
    others = [row.precision for row in rows if row.search and row.search.tuned_on not in (None, row.precision)]
    reused = f"; those of {', '.join(dict.fromkeys(others))} take the same parameters" if others else ""
    like = results.settings.get("like")
    held = f", as {like['source']} has it" if isinstance(like, dict) else ""
    spent = ", ".join(f"{what} {seconds:.0f} s" for what, seconds in results.spent_s.items())
    return [
        f"\nshared: {texts} embedded once for each of {', '.join(variants)}; every dimension is a prefix of those "
        f"vectors; every index searches one store of them and is tuned on {', '.join(tuned)}{held}{reused}; a row's "
        "index and hits serve all threads and runtimes",
        f"spent: {spent}; {sum(results.spent_s.values()):.0f} s in all",
    ]


def _print_parts(results: Results) -> None:
    """Print what a query that is ranked again spends on each of its steps."""
    from mrl_edge.bench.configuration import configuration_of

    rows: list[list[object]] = []
    for row in results.measurements:
        if row.search and row.encode and row.query and row.search.rerank_p50_ms is not None:
            steps = [row.encode.tokenise_p50_ms, row.encode.p50_ms, row.search.shortlist_p50_ms]
            name = str(replace(configuration_of(row), plan=None))
            rows.append([name, str(row.plan), *steps, row.search.rerank_p50_ms, row.query.p50_ms])
    if rows:
        heads = ["", "index", "tokens", "tokens and vector", "shortlist", "rerank", "whole query"]
        console.print_table("\nqueries that are ranked again, p50 in ms", heads, rows, keys=2)


def below_target(results: Results) -> list[str]:
    """Name the indexes that find less of what exact search finds than they were tuned to."""
    found: list[str] = []
    for row in results.measurements:
        if row.search is None or row.plan is None or (row.plan.rerank_dim and not row.plan.tuned):
            continue
        recall = row.search.recall_at_10 if row.plan.tuned else row.search.recall_at_10_of_dim
        if recall is not None and recall < results.settings["target_recall"]:
            found.append(f"{row.precision} {row.plan} at {row.dim} ({recall:.3f})")
    return list(dict.fromkeys(found))


def _print_throughput(results: Results, calls: Calls) -> None:
    from mrl_edge.bench.configuration import configuration_of

    shown = [row for row in results.measurements if row.throughput and row.encode]
    if calls.alone:
        shown = [*_single_texts(results.measurements), *shown]
    limit = calls.p99_limit_ms
    rows: list[list[object]] = []
    for row in shown:
        encode = row.encode
        if encode is None:
            continue
        name = str(replace(configuration_of(row), plan=None))
        rate = row.throughput.texts_per_s if row.throughput else 1e3 / encode.mean_ms
        if row.server:
            found, beyond = row.server, row.server.exceeded_texts_per_s
            beyond_words = "?" if beyond is None else f"{beyond:,.1f}"
            figures = [f"{found.p50_ms:.2f}", found.p90_ms, found.p99_ms, f"{rate:,.1f} to {beyond_words}"]
            kept = [] if limit is None else ["yes" if row.p99_limit_ms == limit else None]
        else:
            mark = "" if encode.stable else " ~"
            figures = [f"{encode.p50_ms:.2f}{mark}", encode.p90_ms, encode.p99_ms, f"{rate:,.1f}{mark}"]
            kept = [] if limit is None else [within(encode, limit) if row.callers > 1 else None]
        rows.append([name, row.scenario, *figures, *kept])
    if rows:
        heads = ["", "MLPerf's", "p50 ms", "p90", "p99", "texts/s", *([] if limit is None else [f"p99 ≤ {limit:g} ms"])]
        console.print_table("\nbatches and callers, ms a call", heads, rows)


def _print_rooflines(results: Results) -> None:
    from mrl_edge.bench.configuration import configuration_of

    alone = _single_texts(results.measurements)
    shown = [row for row in results.measurements if row.roofline and (row in alone or row.tokens or row.batch > 1)]
    rows: list[list[object]] = []
    for row in shown:
        found, encode = row.roofline, row.encode
        if found is None or encode is None:
            continue
        mark = "" if encode.stable else " ~"
        work = [f"{found.work.operations / 1e9:.2f}", f"{found.work.bytes / 1e6:.1f}"]
        times = [f"{found.least_ms:.2f}", f"{encode.p50_ms:.2f}{mark}"]
        name = str(replace(configuration_of(row), plan=None))
        rows.append([name, *work, *times, found.bound, f"{found.fraction:.0%}"])
    if not rows:
        return
    heads = ["", "10⁹ op.", "MB", "least ms", "p50 ms", "bound by", "reached"]
    console.print_table("\nhow much of what this machine could do is reached", heads, rows)
    for one in results.ceilings:
        rates = [part.gb_per_s for part in one.bandwidths]
        console.note(
            f"ceilings with {one.threads} thread{'s' if one.threads > 1 else ''}: {one.fp32_gops:.0f} × 10⁹ op./s in "
            f"fp32, {one.int8_gops:.0f} in int8; {max(rates):.0f} GB/s from a cache, {rates[-1]:.0f} from memory; "
            f"measured {one.measured}"
        )
    if any(row.roofline and row.roofline.fraction > 1 for row in results.measurements):
        console.note(
            "above 100%: this machine was slower when its ceilings were measured (use --new-ceilings), "
            "or computes fp16, of which none is measured, faster"
        )


def _single_texts(rows: Sequence[Measurement]) -> list[Measurement]:
    """Return one text a call of each variant, thread count and runtime, at its largest dimension."""
    found: dict[tuple[object, ...], Measurement] = {}
    for row in rows:
        if row.encode and row.batch == row.callers == 1 and row.tokens is None and row.server is None:
            key = row.precision, row.depth, row.threads, row.runtime
            found[key] = max(found.get(key, row), row, key=lambda one: one.dim)
    return list(found.values())


def within(encode: Encode, p99_limit_ms: float) -> str:
    """Say whether a p99 keeps a limit; fewer than 1,000 samples, of which 10 are slower than it, decide nothing."""
    if encode.p99_ms is None or encode.samples < _LEAST_SAMPLES:
        return "undecided"
    return "yes" if encode.p99_ms <= p99_limit_ms else "no"
