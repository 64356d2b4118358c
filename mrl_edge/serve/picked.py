"""The search that was picked, over the bundle's own index: its kind, effort and rerank, or why that cannot be."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mrl_edge.bundle import Bundle, IndexInfo
from mrl_edge.choice import Configuration
from mrl_edge.description import Parameters, SizedIndex
from mrl_edge.errors import UsageError
from mrl_edge.index import Index
from mrl_edge.index.annoy import METRIC
from mrl_edge.index.corpus import open_order, open_store, require_index
from mrl_edge.index.kinds import open_steps

_OF_A_SEARCH = ("search_k", "probes", "expansion")  # the other parameters are of what was built
_OF_A_BUILD = (
    "cluster_dim",
)  # tuning chooses it by the queries and dimensions that it has: no index is refused for it


@dataclass(frozen=True)
class _Spec:
    """What is opened, as `IndexSpec` says it."""

    dim: int
    kind: str
    file: str | None
    parameters: Parameters


def open_picked(bundle: Bundle, picked: Configuration) -> Index:
    """Open the search of a choice; `UsageError` where the bundle's index is another than the one that was measured."""
    info = require_index(bundle)
    remake = f"run mrl-edge index {bundle.folder} CORPUS --precision {picked.precision} --depth {picked.depth}"
    _check_vectors(info, picked, remake)
    kind = picked.index or ""
    if kind == "scan":
        spec, path = _Spec(picked.dim, kind, None, {}), Path()
    else:
        sized = _built(info, picked, kind, remake)
        parameters = {**sized.parameters, **_searching(picked.parameters)}
        spec = _Spec(picked.dim, kind, sized.file, parameters)
        path = bundle.checked(sized.file) if sized.file else Path()
    return open_steps(spec, open_store(bundle), path, picked.steps, open_order(bundle))


def _check_vectors(info: IndexInfo, picked: Configuration, remake: str) -> None:
    if (info.precision, info.depth) != (picked.precision, picked.depth):
        raise UsageError(
            f"{picked.precision} at depth {picked.depth} was picked, and the index was made with {info.precision} at "
            f"depth {info.depth}: {remake}"
        )
    if picked.vectors is not None and picked.vectors != info.vectors.storage:
        raise UsageError(
            f"vectors in {picked.vectors} were picked, and the index has {info.vectors.storage}: {remake} "
            f"--vectors {picked.vectors}"
        )


def _built(info: IndexInfo, picked: Configuration, kind: str, remake: str) -> SizedIndex:
    """Return the bundle's index of the picked kind and dimension, built as the picked one was."""
    sized = next((sized for sized in info.sizes if sized.dim == picked.dim), None)
    if sized is None or sized.kind != kind:
        there = "none" if sized is None else sized.kind
        raise UsageError(
            f"{kind} at dimension {picked.dim} was picked, and the bundle's index of it is {there}: {remake}"
        )
    default = {"metric": METRIC} if kind == "annoy" else {}
    ours = {**default, **sized.parameters}
    for name, value in picked.parameters.items():
        if name not in (*_OF_A_SEARCH, *_OF_A_BUILD) and ours.get(name) != value:
            raise UsageError(
                f"{kind} with {name} {value} was picked, and the bundle's index has {ours.get(name, 'none')}: {remake}"
            )
    return sized


def _searching(parameters: Parameters) -> Parameters:
    return {name: value for name, value in parameters.items() if name in _OF_A_SEARCH}
