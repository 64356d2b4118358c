"""What `mrl-edge bench` prints of a results file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mrl_edge.cli import bench_rooflines, console
from mrl_edge.errors import ResultsError
from mrl_edge.providers import ON_GPU, short_name

if TYPE_CHECKING:
    from mrl_edge.bench.results import Encode, Measurement, Results

_UNBOUNDED = " ?"


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
    levers = any(_way(row) for row in results.measurements)
    for row in results.measurements:
        if row.status != "ok" or row.encode is None:
            shape = f" on {short_name(row.provider)}" if row.provider in ON_GPU else ""
            shape += f" with {row.tokens} tokens" if row.tokens else ""
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
                    *([_way(row) or "default"] if levers else []),
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
    _print_tails(results)
    _print_throughput(results, calls)
    bench_rooflines.print_rooflines(results, _single_texts(results.measurements))
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
    for line in [*_nodes(results.measurements), *(f"not measured: {line}" for line in failed)]:
        console.note(line)


def _way(row: Measurement) -> str:
    """Say with which provider and settings of the runtime a row was measured, where they are not the usual."""
    return "+".join([*([short_name(row.provider)] if row.provider in ON_GPU else []), *row.runtime])


def _nodes(rows: Sequence[Measurement]) -> list[str]:
    """Say of each variant on a GPU how much of its graph is computed where: what goes to and fro costs time."""
    found = {}
    for row in rows:
        if row.nodes:
            parts = ", ".join(f"{count} by {short_name(name)}" for name, count in row.nodes.items())
            found[row.precision, row.depth, row.provider] = parts
    return [
        f"{precision} of {depth} layers on {short_name(provider)}: nodes computed {parts}"
        for (precision, depth, provider), parts in found.items()
    ]


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


def _print_tails(results: Results) -> None:
    """Print the upper percentiles of whole queries where the 99.9th is known too."""
    from mrl_edge.bench.configuration import configuration_of

    rows: list[list[object]] = []
    for row in results.measurements:
        whole = row.query or row.encode
        if row.tokens is None and whole and whole.p999_ms is not None:
            tails = (whole.p99_ms, whole.p99_ci95_ms), (whole.p999_ms, whole.p999_ci95_ms)
            rows.append([str(configuration_of(row)), whole.p50_ms, whole.p90_ms, *(_tail(*one) for one in tails)])
            rows[-1].append(f"{whole.samples:,}")
    if rows:
        heads = ["", "p50", "p90", "p99 (95%)", "p99.9 (95%)", "samples"]
        console.print_table("\nupper percentiles of a query, ms", heads, rows)


def _p99(encode: Encode) -> str | None:
    """Write a p99, marked where its samples are too few."""
    if encode.p99_ms is None:
        return None
    bounded = encode.p99_ci95_ms is not None and encode.p99_ci95_ms[1] is not None
    return f"{encode.p99_ms:.2f}{'' if bounded else _UNBOUNDED}"


def _tail(value: float | None, interval: tuple[float, float | None] | None) -> str | None:
    if value is None or interval is None:
        return None
    low, high = interval
    return f"{value:.2f} ({low:.2f} to {'?' if high is None else f'{high:.2f}'})"


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
            figures = [f"{encode.p50_ms:.2f}{mark}", encode.p90_ms, _p99(encode), f"{rate:,.1f}{mark}"]
            kept = [] if limit is None else [within(encode, limit) if row.callers > 1 else None]
        rows.append([name, row.scenario, *figures, *kept])
    if rows:
        heads = ["", "MLPerf's", "p50 ms", "p90", "p99", "texts/s", *([] if limit is None else [f"p99 ≤ {limit:g} ms"])]
        console.print_table("\nbatches and callers, ms a call", heads, rows)
    if any(str(figure).endswith(_UNBOUNDED) for row in rows for figure in row):
        console.note("? its samples do not bound this percentile from above: --tail 99 measures on")


def _single_texts(rows: Sequence[Measurement]) -> list[Measurement]:
    """Return one text a call of each variant, thread count and runtime, at its largest dimension."""
    found: dict[tuple[object, ...], Measurement] = {}
    for row in rows:
        if row.encode and row.batch == row.callers == 1 and row.tokens is None and row.server is None:
            key = row.precision, row.depth, row.provider, row.threads, row.runtime
            found[key] = max(found.get(key, row), row, key=lambda one: one.dim)
    return list(found.values())


def within(encode: Encode, p99_limit_ms: float) -> str:
    """Say whether a p99 keeps a limit, by all of its 95% interval; one without an upper end keeps none."""
    if encode.p99_ci95_ms is None:
        return "undecided"
    low, high = encode.p99_ci95_ms
    if high is not None and high <= p99_limit_ms:
        return "yes"
    return "no" if low > p99_limit_ms else "undecided"
