"""Parameters of indexes that are held: taken from what was tuned elsewhere, as over a corpus of another size.

Tuned anew at each size they jump, and with them recall and time, so that no curve goes through sizes. What holds
whatever the size is: Annoy's trees and how many of their nodes are visited, the links of a graph, how long a shortlist
is, at which dimension inverted lists are found. Of these there are as many as a corpus of that size gets, and the same
share of them is probed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from mrl_edge.bench.results import IndexPlan, Results

from mrl_edge.description import Parameters, Step
from mrl_edge.errors import ResultsError

if TYPE_CHECKING:
    from mrl_edge.bench.jobs import Prepared

    from mrl_edge.bundle import Variant


class Held(msgspec.Struct, frozen=True):
    """What an index at a dimension was tuned to; its shortlist too, where it ranks one again by itself."""

    precision: str
    depth: int
    dim: int
    plan: IndexPlan  # without what it ranks again
    parameters: Parameters
    shortlist: int | None
    rerank_dim: int | None
    tuned_on: str | None  # the precision whose vectors it was tuned on
    funnel: tuple[Step, ...] = ()
    p50_ms: float = 0.0  # of the search, where it was tuned; 0: not known


class Like(msgspec.Struct, frozen=True):
    """The parameters of a results file, by its name."""

    source: str
    held: tuple[Held, ...]

    def as_setting(self) -> dict[str, str]:
        """Return what tells them from others in a results file's settings."""
        said = sorted(msgspec.json.encode(msgspec.structs.replace(one, p50_ms=0.0)) for one in self.held)
        return {"source": self.source, "sha256": hashlib.sha256(b"".join(said)).hexdigest()}


def plain(plan: IndexPlan) -> IndexPlan:
    """Return the plan of the same file: what it ranks again, where that is not tuned, is no matter of it."""
    return msgspec.structs.replace(plan, shortlist=None, rerank_dim=None)


def held_in(results: Results) -> tuple[Held, ...]:
    """Return the parameters that the rows of a results file have, each of a row of its own plan.

    One that ranks again what is asked for does not say which shortlist the index needs by itself.
    """
    found: dict[tuple[object, ...], Held] = {}
    for row in results.measurements:
        if row.plan is not None and row.search is not None and row.plan == plain(row.plan):
            key, search = (row.precision, row.depth, row.dim, row.plan), row.search
            ranked = search.shortlist, search.rerank_dim
            found[key] = Held(*key, search.parameters, *ranked, search.tuned_on, search.funnel)
    return tuple(found.values())


def held_of(made: Iterable[Prepared], variant: Variant) -> tuple[Held, ...]:
    """Return the parameters of what was made of a variant."""
    found: dict[tuple[object, ...], Held] = {}
    for one in made:
        if one.plan is not None and one.index is not None and one.search is not None and one.plan == plain(one.plan):
            key, sized = (variant.precision, variant.depth, one.dim, one.plan), one.index.sized
            ranked = sized.shortlist, sized.rerank_dim
            found[key] = Held(*key, sized.parameters, *ranked, one.search.tuned_on, sized.funnel, sized.p50_ms)
    return tuple(found.values())


def for_variant(held: Sequence[Held], variant: Variant | Held) -> tuple[Held, ...]:
    """Return one of each dimension and plan: the variant's own, else another's, whose vectors are nearly the same."""
    own = (variant.precision, variant.depth)
    ordered = sorted(held, key=lambda one: ((one.precision, one.depth) != own, one.depth != variant.depth))
    found: dict[tuple[int, IndexPlan], Held] = {}
    for one in ordered:
        found.setdefault((one.dim, one.plan), one)
    return tuple(found.values())


def refuse_others(results: Results, like: Like, out: Path) -> None:
    """Raise `ResultsError` where rows of a results file have other parameters than those that are held."""
    for row in held_in(results):
        for one in for_variant(like.held, row):
            if (one.dim, one.plan) != (row.dim, row.plan):
                continue
            ranked = (one.shortlist, one.rerank_dim, one.funnel) == (row.shortlist, row.rerank_dim, row.funnel)
            if not (ranked and alike(row.plan.kind, one.parameters, row.parameters)):
                raise ResultsError(
                    f"{out}: its {row.plan} index at dimension {row.dim} has other parameters than {like.source}: "
                    "choose another --out, or use --overwrite"
                )


def cluster_dim_of(held: Iterable[Held]) -> int | None:
    """Return the dimension at which held inverted lists are found; None where none are held."""
    return next((int(one.parameters["cluster_dim"]) for one in held if "cluster_dim" in one.parameters), None)


def resized(kind: str | None, parameters: Parameters, lists: int) -> Parameters:
    """Return parameters as they are held where there are so many inverted lists."""
    if kind != "ivf" or not parameters:
        return parameters
    probes = int(parameters["probes"]) * lists / int(parameters["lists"])
    return {**parameters, "lists": lists, "probes": min(lists, max(1, round(probes)))}


def alike(kind: str | None, one: Parameters, other: Parameters) -> bool:
    """Whether two sizes have the same parameters, held as they are."""
    if kind != "ivf" or not one or not other:
        return one == other
    fewer, more = sorted((one, other), key=lambda each: int(each["lists"]))
    return resized(kind, more, int(fewer["lists"])) == fewer or resized(kind, fewer, int(more["lists"])) == more
