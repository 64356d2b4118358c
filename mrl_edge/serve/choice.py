"""Which configuration of a bundle is served: the options' own, or the one that `mrl-edge pick --json` chose."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from mrl_edge.bundle import Bundle
from mrl_edge.errors import UsageError
from mrl_edge.levers import NAMES
from mrl_edge.nesting import select_dims

_PINNED = "pinned"  # what `mrl-edge bench --pin` does to its own process


@dataclass(frozen=True)
class SearchPlan:
    """The search that was picked: a kind of index at the configuration's dimension, and what is ranked again."""

    kind: str
    storage: str | None
    shortlist: int | None
    rerank_dim: int | None


@dataclass(frozen=True)
class Configuration:
    """What is loaded and with what; `plan` is None unless a search was picked."""

    dim: int
    precision: str
    depth: int
    threads: int = 1
    levers: tuple[str, ...] = ()
    plan: SearchPlan | None = None
    notes: tuple[str, ...] = ()  # what of the choice is not done here


class _Bundle(msgspec.Struct):
    name: str
    sha256: str


class _Configuration(msgspec.Struct):
    precision: str
    depth: int
    dim: int
    threads: int = 1
    runtime: tuple[str, ...] = ()
    index: str | None = None
    vectors: str | None = None
    shortlist: int | None = None
    rerank_dim: int | None = None


class _Choice(msgspec.Struct):
    fits: bool
    bundle: _Bundle | None = None
    configuration: _Configuration | None = None


def configure(
    bundle: Bundle, dim: int | None, precision: str | None, depth: int | None, threads: int | None
) -> Configuration:
    """Return the configuration that options name: by default the full dimension, in the index's precision and depth.

    Without an index it is the precision with the smallest weights, at full depth. Raises `UsageError` for what the
    bundle does not hold.
    """
    manifest = bundle.manifest
    chosen = manifest.dims[-1] if dim is None else dim
    select_dims((chosen,), manifest.dims, str(bundle.folder))
    index = manifest.index
    if precision is None and index is not None and depth in (None, index.depth):
        precision, depth = index.precision, index.depth
    variant = bundle.variant(precision, depth) if precision else bundle.leanest(depth)
    return Configuration(chosen, variant.precision, variant.depth, threads or 1)


def read_choice(path: Path, bundle: Bundle, threads: int | None) -> Configuration:
    """Read what `mrl-edge pick RESULTS --json` printed; `threads` stand in for those that were picked.

    Raises `UsageError` for a file that is none, a choice in which nothing fits, or one that is of another bundle.
    """
    try:
        choice = msgspec.json.decode(path.read_bytes(), type=_Choice)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{path} is not what mrl-edge pick --json prints: {error}") from None
    if not choice.fits:
        raise UsageError(f"{path}: nothing fitted the budget, so that there is nothing to serve")
    if choice.bundle is None or choice.configuration is None:
        raise UsageError(f"{path} was written by an earlier version: run mrl-edge pick --json again")
    if choice.bundle.sha256 != bundle.identity():
        raise UsageError(f"{path} was picked for another bundle, {choice.bundle.name}: not for {bundle.folder}")
    return _configuration(choice.configuration, bundle, threads)


def _configuration(picked: _Configuration, bundle: Bundle, threads: int | None) -> Configuration:
    select_dims((picked.dim,), bundle.manifest.dims, str(bundle.folder))
    variant = bundle.variant(picked.precision, picked.depth)
    levers = tuple(name for name in picked.runtime if name != _PINNED)
    if unknown := [name for name in levers if name not in NAMES]:
        raise UsageError(f"the choice has an unknown runtime setting, {unknown[0]}: there is {', '.join(NAMES)}")
    notes = ("the choice was measured on pinned cores: nothing is pinned here",) if _PINNED in picked.runtime else ()
    plan = None
    if picked.index is not None:
        plan = SearchPlan(picked.index, picked.vectors, picked.shortlist, picked.rerank_dim)
    return Configuration(
        picked.dim, variant.precision, variant.depth, threads or max(1, picked.threads), levers, plan, notes
    )
