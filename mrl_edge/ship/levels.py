"""The levels of what is shipped: the one that was chosen, and lesser ones to step down to."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mrl_edge.bundle import Bundle, Variant
from mrl_edge.choice import Configuration, picked_variant
from mrl_edge.description import Step
from mrl_edge.errors import UsageError

_LEVEL = re.compile(r"d(\d+)(?:-L(\d+))?")


@dataclass(frozen=True)
class Wanted:
    """One level: a variant at a dimension, its shortlist ranked again by some steps."""

    variant: Variant
    dim: int
    steps: tuple[Step, ...]

    @property
    def name(self) -> str:
        """Name it as `--also` takes it."""
        return f"d{self.dim}-L{self.variant.depth}"

    @property
    def place(self) -> tuple[int, int]:
        """What it costs: first of all layers, then columns."""
        return self.variant.depth, self.dim


def chosen_level(configuration: Configuration, bundle: Bundle, funnel: str | None = None) -> Wanted:
    """Return the level of a choice; `funnel`, as in `200@64,50@128`, stands in the place of its rerank.

    Raises `UsageError` for what the bundle does not hold.
    """
    steps = configuration.steps if funnel is None else _funnel(funnel, configuration, bundle)
    return Wanted(picked_variant(configuration, bundle), configuration.dim, steps)


def further_levels(text: str, best: Wanted, bundle: Bundle) -> list[Wanted]:
    """Read `--also`, as in `d32,d16-L3`: ever lesser levels that share the best one's weights.

    A lesser one runs fewer layers, or as many at a smaller dimension. One at another depth ranks nothing again: what
    its documents are at other dimensions is not shipped. Raises `UsageError` for what is not lesser, or not there.
    """
    levels = [best]
    for part in text.split(","):
        found = _LEVEL.fullmatch(part.strip())
        if found is None:
            raise UsageError(f"--also {text}: expected dimensions and perhaps depths, as in d32,d16-L3")
        depth = int(found[2]) if found[2] else best.variant.depth
        level = _beside(best, int(found[1]), depth, bundle)
        if level.place >= levels[-1].place:
            raise UsageError(f"--also {text}: {level.name} is not less than {levels[-1].name}, which comes before it")
        levels.append(level)
    return levels[1:]


def _beside(best: Wanted, dim: int, depth: int, bundle: Bundle) -> Wanted:
    for variant in bundle.manifest.variants:
        if variant.depth == depth and variant.weights == best.variant.weights:
            bundle.graph(variant, dim)
            steps = tuple(step for step in best.steps if step.dim >= dim) if depth == best.variant.depth else ()
            return Wanted(variant, dim, steps)
    depths = sorted({v.depth for v in bundle.manifest.variants if v.weights == best.variant.weights})
    raise UsageError(f"--also d{dim}-L{depth}: {best.variant.weights} has depths {', '.join(map(str, depths))}")


def _funnel(text: str, configuration: Configuration, bundle: Bundle) -> tuple[Step, ...]:
    try:
        numbers = [tuple(int(number) for number in part.split("@")) for part in text.split(",")]
        steps = tuple(Step(shortlist, dim) for shortlist, dim in numbers)
    except ValueError:
        raise UsageError(f"--funnel {text}: expected shortlists and dimensions, as in 200@64,50@128") from None
    if configuration.index is None:
        raise UsageError("--funnel needs an index: the choice has none")
    dims = [configuration.dim, *(step.dim for step in steps)]
    if dims != sorted(set(dims)) or not set(dims) <= set(bundle.manifest.dims):
        of = ", ".join(map(str, bundle.manifest.dims))
        raise UsageError(f"--funnel {text}: dimensions must ascend from {configuration.dim}, and be of {of}")
    if any(step.shortlist < 1 for step in steps):
        raise UsageError(f"--funnel {text}: a shortlist has one item at least")
    return steps
