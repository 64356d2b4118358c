"""What `mrl-edge bench` and `mrl-edge tune` measure: the task in a table, and the variants of a bundle."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mrl_edge.cli import options
from mrl_edge.cli.plans import index_plans
from mrl_edge.errors import UsageError

if TYPE_CHECKING:
    from mrl_edge.bench.jobs import Task
    from mrl_edge.bench.preparing import Grid
    from mrl_edge.bundle import Bundle
    from mrl_edge.datasets import Columns


def read_roles(bundle: Bundle, data: str, columns: Columns) -> dict[str, list[str]]:
    """Read the table's columns by role; they must hold what the bundle embeds."""
    from mrl_edge.datasets import read_table

    table = read_table(data, columns)
    modality = "image" if "image" in table.roles else "text"
    embeds = bundle.manifest.encoder.modality
    if modality != embeds:
        raise UsageError(f"{bundle.folder} embeds {embeds}s, and these columns hold {modality}s")
    return table.roles


def read_grid(bundle: Bundle, given: Mapping[str, Any], pin: bool) -> Grid:
    """Return what the options that `bench` and `tune` share say, by their names, without fixed lengths and batches."""
    from mrl_edge.bench.preparing import Grid
    from mrl_edge.bench.reproduce import asked
    from mrl_edge.index.vectors import check_storage

    dims = bundle.manifest.dims
    check_storage(given["vectors"], dims)
    chosen, precisions, layers = read_variants(bundle, given["dims"], given["precision"], given["depths"])
    return Grid(
        precisions=precisions,
        depths=layers,
        dims=chosen,
        threads=options.numbers("--threads", given["threads"], least=1),
        plans=index_plans(given["index"], given["rerank_dim"], given["shortlist"], dims),
        tokens=(),
        max_seconds=given["max_seconds"],
        target_recall=given["recall"],
        storage=given["vectors"],
        repeats=given["repeats"],
        runtimes=read_runtimes(given["runtime"], pin),
        asked=asked(given["data"], columns_of(given)),
    )


def columns_of(given: Mapping[str, Any]) -> Columns:
    """Return the columns that options name."""
    from mrl_edge.datasets import Columns

    return Columns(**{role: given[role] for role in ("text", "image", "label", "query", "positive")})


def read_variants(
    bundle: Bundle, dims: str | None, precision: str | None, depths: str | None
) -> tuple[tuple[int, ...], tuple[str, ...], tuple[int, ...]]:
    """Return the dimensions, precisions and depths to measure, after checking their files."""
    from mrl_edge.nesting import parse_dims, select_dims

    chosen = select_dims(parse_dims(dims) if dims else None, bundle.manifest.dims, str(bundle.folder))
    precisions = options.names(precision) or bundle.precisions()
    layers = _depths(depths, bundle.manifest.depths, str(bundle.folder))
    for name in precisions:
        for depth in layers:
            bundle.check_variant(bundle.variant(name, depth))
    if (bundle.folder / "fp32").is_dir() and "fp32" in bundle.precisions():  # the fidelity of all others is to fp32
        bundle.check_variant(bundle.variant("fp32", None))
    return chosen, precisions, layers


def _depths(text: str | None, there: tuple[int, ...], where: str) -> tuple[int, ...]:
    from mrl_edge.nesting import parse_ascending

    chosen = parse_ascending("--depths", text) if text else there
    for depth in chosen:
        if depth not in there:
            raise UsageError(f"--depths {text}: {where} has depth {', '.join(map(str, there))}")
    return chosen


def read_runtimes(text: str | None, pin: bool) -> tuple[tuple[str, ...], ...]:
    """Read `default,no-arena+no-prepack` as one tuple of names each."""
    from mrl_edge.bench.jobs import PINNED
    from mrl_edge.levers import NAMES, check

    if pin and not hasattr(os, "sched_setaffinity"):
        raise UsageError("--pin: this system cannot hold a process to cores")
    found = []
    for one in options.names(text) or ("default",):
        names = () if one == "default" else tuple(one.split("+"))
        for name in names:
            if name not in NAMES:
                raise UsageError(f"--runtime {one}: unknown; there is default, {', '.join(NAMES)}, joined by +")
        check(names)
        found.append((*((PINNED,) if pin else ()), *sorted(names)))
    if len(set(found)) < len(found):
        raise UsageError(f"--runtime {text}: name each setting once")
    return tuple(found)


def read_task(roles: dict[str, list[str]], limit: int, documents: int | None) -> Task:
    """Make the task of the columns: at most `limit` queries or texts, and so many documents (None: all)."""
    from mrl_edge.bench.jobs import Task
    from mrl_edge.datasets import spread
    from mrl_edge.metrics import retrieval_task

    items = roles.get("text") or roles.get("image") or []  # paths of images stand where texts do
    if ("query" in roles) != ("positive" in roles) or ("label" in roles and not items):
        raise UsageError(
            "a task needs --query with --positive (retrieval), or --text (or --image) with --label (classes), or both"
        )
    places = spread(len(items), limit) if "image" in roles else range(len(items))[:limit]  # a class after the other
    texts = [items[i] for i in places]
    labels = [roles["label"][i] for i in places] if "label" in roles else []
    if "query" not in roles:
        return Task([], [], [], texts, labels)
    task = retrieval_task(roles["query"], roles["positive"])
    relevant = [sorted(answers) for answers in task.relevant[:limit]]
    kept, relevant = _cut(task.documents, relevant, documents) if documents else (task.documents, relevant)
    return Task(task.queries[:limit], kept, relevant, texts, labels)


def _cut(documents: list[str], relevant: list[list[int]], count: int) -> tuple[list[str], list[list[int]]]:
    """Keep every answer, and so many of the other documents, taken by chance, that there are `count` in all.

    The chance is in a document's own hash: a smaller corpus is a part of a larger one, so that what a size costs is not
    mixed up with which documents it has.
    """
    answers = {document for each in relevant for document in each}
    if not len(answers) <= count <= len(documents):
        raise UsageError(
            f"--max-documents {count}: expected from {len(answers)}, the answers of these queries, to the "
            f"{len(documents)} documents that there are"
        )
    others = sorted({*range(len(documents))} - answers, key=lambda number: _by_chance(documents[number]))
    kept = sorted(answers | {*others[: count - len(answers)]})
    place = {number: new for new, number in enumerate(kept)}
    return [documents[number] for number in kept], [[place[answer] for answer in each] for each in relevant]


def _by_chance(document: str) -> bytes:
    return hashlib.sha256(document.encode("utf-8", "surrogatepass")).digest()
