"""The command that measures a results file again, from what the file says of itself."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

from mrl_edge.bench.budget import option
from mrl_edge.bench.results import HeldLimits, Measurement, Results, Unmeasured

from mrl_edge.datasets import Columns
from mrl_edge.providers import CPU, short_name

_AMONG = ("precision", "dims", "depths", "threads", "provider", "index", "rerank-dim", "shortlist", "runtime")
_LEAST_ASKED = 10  # queries or documents that mrl-edge bench takes as a number


def command_of(results: Results, out: str) -> str:
    """Return `mrl-edge bench …`, or `tune …` of a tuning, as one line for a shell, for what it was to choose among.

    What the file does not record stands in capitals: of the data, as files of earlier versions, how a board is
    reached, a budget that options cannot say, and what an interrupted tuning chose among, of which only what it came to
    is there. What a tuning could not run is not among its configurations.
    """
    measured, narrowing = results.measurements, results.narrowing
    rows: list[Measurement | Unmeasured] = [*measured, *(narrowing.unmeasured if narrowing else ())]
    command, own = ("tune", _budget(narrowing.held)) if narrowing else ("bench", _bench(measured))
    if narrowing is not None and not narrowing.finished:
        among = [word for name in _AMONG for word in (f"--{name}", name.replace("-", "_").upper())]
    else:
        among = _variants(rows, narrowing.threads if narrowing else ())
    words = ["mrl-edge", command, results.bundle.name, *_data(results), *among, *own, *_settings(results)]
    return shlex.join([*words, "--out", out])


def asked(data: str, columns: Columns) -> dict[str, str]:
    """Return the options that name the data and its columns, without its folder."""
    name = data if data.startswith("builtin:") else Path(data).name
    return {"--data": name, **{f"--{role}": column for role, column in columns.named().items()}}


def _data(results: Results) -> list[str]:
    settings = results.settings
    known = settings.get("asked")
    if isinstance(known, dict):
        words = [f"{word}" for pair in known.items() for word in pair]
    else:
        words = ["--data", f"{settings.get('data', 'DATA')}"]
        words += ["--query", "QUERY", "--positive", "POSITIVE"] if settings.get("queries") else []
        words += ["--text", "TEXT", "--label", "LABEL"] if settings.get("texts") else []
    counts = [count for name in ("queries", "texts") if isinstance(count := settings.get(name), int)]
    words += ["--max-queries", str(max(_LEAST_ASKED, *counts))] if any(counts) else []
    documents = settings.get("documents")
    if isinstance(documents, int) and documents >= _LEAST_ASKED:
        words += ["--max-documents", str(documents)]
    return words


def _variants(rows: Sequence[Measurement | Unmeasured], threads: Sequence[int]) -> list[str]:
    """Return what rows are of. Threads stand as they were asked for: indexes are tuned with the first of them."""
    words = _listed("--precision", (row.precision for row in rows))
    words += _listed("--dims", sorted({row.dim for row in rows if isinstance(row, Unmeasured) or row.tokens is None}))
    words += _listed("--depths", sorted({row.depth for row in rows}))
    words += _listed("--threads", threads or (row.threads for row in rows))  # a sweep's rows are in that order
    providers = [short_name(row.provider) for row in rows]
    words += _listed("--provider", providers) if {*providers} - {CPU} else []
    return words + _search(rows) + _runtime(rows)


def _bench(rows: Sequence[Measurement]) -> list[str]:
    words = ["--tokens", ",".join(map(str, sorted({row.tokens for row in rows if row.tokens}))) or "0"]
    return words + _calls(rows)


def _budget(held: HeldLimits | None) -> list[str]:
    if held is None:  # interrupted, or of an earlier version
        return ["--budget", "BUDGET"]
    words = ["--budget", "BUDGET"] if held.utility else []
    words += [word for name, limit in held.max.items() for word in (option(name), _shortest(limit))]
    for table, floors in (("min", held.min), ("keep", held.keep)):
        words += [word for name, at in floors.items() for word in (f"--{table}-quality", f"{name}={_shortest(at)}")]
    for name in ("confidence", "objective", "corpus", "corpus_now"):
        if (value := getattr(held, name)) is not None:
            words += [f"--{name.replace('_', '-')}", f"{value}"]
    return words


def _settings(results: Results) -> list[str]:
    words = []
    for asked_by, name in (
        ("--vectors", "vectors"),
        ("--recall", "target_recall"),
        ("--max-seconds", "max_seconds"),
        ("--repeats", "repeats"),
        ("--tail", "tail"),
    ):
        if name in results.settings:
            words += [asked_by, f"{results.settings[name]}"]
    if isinstance(like := results.settings.get("like"), dict):
        words += ["--like", f"{like['source']}"]
    if results.device.capped_to:
        words += ["--device", results.device.capped_to, "--capped"]
    elif results.device.name != "local":  # over SSH; the file says which board, not how it is reached
        words += ["--device", "USER@HOST"]
    return words


def _search(rows: Iterable[Measurement | Unmeasured]) -> list[str]:
    plans = [row.plan for row in rows if row.plan is not None]
    words = _listed("--index", (plan.kind for plan in plans))
    if any(plan.tuned for plan in plans):
        return [*words, "--rerank-dim", "tuned"]
    reranked = next((plan for plan in plans if plan.rerank_dim is not None), None)
    if reranked is None:
        return words
    return [*words, "--rerank-dim", str(reranked.rerank_dim), "--shortlist", str(reranked.shortlist)]


def _calls(rows: Iterable[Measurement]) -> list[str]:
    limits = [row.p99_limit_ms for row in rows if row.p99_limit_ms is not None]
    alone = [row for row in rows if row.p99_limit_ms is None]
    words = []
    for asked_by, numbers in (("--batches", {r.batch for r in alone}), ("--concurrency", {r.callers for r in alone})):
        words += _listed(asked_by, sorted(numbers)) if max(numbers, default=1) > 1 else []
    return [*words, *(["--server", "--p99-limit-ms", _shortest(limits[0])] if limits else [])]


def _runtime(rows: Iterable[Measurement | Unmeasured]) -> list[str]:
    sets = list(dict.fromkeys(row.runtime for row in rows))
    levers = ["+".join(name for name in names if name != "pinned") or "default" for names in sets]
    words = ["--pin"] if any("pinned" in names for names in sets) else []
    return words if set(levers) <= {"default"} else [*_listed("--runtime", levers), *words]


def _listed(asked_by: str, values: Iterable[object]) -> list[str]:
    found = ",".join(map(str, dict.fromkeys(values)))
    return [asked_by, found] if found else []


def _shortest(number: float) -> str:
    """Return a number that reads back as the same."""
    return f"{number!r}".removesuffix(".0")
