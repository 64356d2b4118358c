"""What is shipped: the configuration that `mrl-edge pick --json` chose, and further levels of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import msgspec

from mrl_edge.bundle import Bundle, Variant
from mrl_edge.errors import BundleError, ResultsError, UsageError
from mrl_edge.index.adaptive import Step
from mrl_edge.index.kinds import OPENERS, Parameters
from mrl_edge.index.vectors import check_storage
from mrl_edge.levers import NAMES, check

_LEVEL = re.compile(r"d(\d+)(?:-L(\d+))?")


class BundleName(msgspec.Struct, frozen=True):
    """Which bundle was measured: its name, and `Bundle.identity()`."""

    name: str
    sha256: str


class Configuration(msgspec.Struct, frozen=True):
    """What was chosen, as `mrl-edge pick` writes it."""

    precision: str
    dim: int
    depth: int
    target: str
    threads: int = 1
    runtime: tuple[str, ...] = ()
    index: str | None = None  # a kind; none: it encodes, or classifies
    parameters: Parameters = {}
    vectors: str | None = None  # how the vectors are stored; none: as the bundle's index has them
    shortlist: int | None = None
    rerank_dim: int | None = None
    n_items: int | None = None  # documents that it was measured among


class _File(msgspec.Struct, frozen=True):
    fits: bool
    n_items: int | None = None
    bundle: BundleName | None = None
    configuration: Configuration | None = None


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


def read_choice(path: Path, bundle: Bundle) -> Configuration:
    """Read what `mrl-edge pick --json` wrote about this bundle.

    Raises `ResultsError` for another file, where nothing fitted, and for a choice among another bundle's results.
    """
    try:
        said = msgspec.json.decode(path.read_bytes(), type=_File)
    except FileNotFoundError:
        raise UsageError(f"--pick {path}: no such file; write one with mrl-edge pick results.json --json") from None
    except msgspec.DecodeError as error:
        raise ResultsError(f"{path} is no choice of mrl-edge pick --json ({error})") from None
    if not said.fits:
        raise ResultsError(f"{path} says that nothing fits: pick again within a larger budget")
    if said.bundle is None or said.configuration is None:
        raise ResultsError(f"{path} names no bundle and configuration: pick again with this mrl-edge and --json")
    if said.bundle.sha256 != bundle.identity():
        raise ResultsError(f"{path} is a choice for the bundle {said.bundle.name}, which {bundle.folder} is not")
    _check(path, said.configuration, bundle)
    return msgspec.structs.replace(said.configuration, n_items=said.n_items)


def chosen_level(configuration: Configuration, bundle: Bundle, funnel: str | None = None) -> Wanted:
    """Return the level of a choice; `funnel`, as in `200@64,50@128`, stands in the place of its rerank.

    Raises `UsageError` for what the bundle does not hold.
    """
    variant = _variant(configuration, bundle)
    bundle.graph(variant, configuration.dim)
    steps: tuple[Step, ...] = ()
    if configuration.shortlist is not None and configuration.rerank_dim is not None:
        steps = (Step(configuration.shortlist, configuration.rerank_dim),)
    if funnel is not None:
        steps = _funnel(funnel, configuration, bundle)
    return Wanted(variant, configuration.dim, steps)


def further_levels(text: str, best: Wanted, bundle: Bundle) -> list[Wanted]:
    """Read `--also`, as in `d32,d16-L3`: levels below the best one that share its weights.

    One at another depth ranks nothing again: what its documents are at other dimensions is not shipped.
    """
    levels = [best]
    for part in text.split(","):
        found = _LEVEL.fullmatch(part.strip())
        if found is None:
            raise UsageError(f"--also {text}: expected dimensions and perhaps depths, as in d32,d16-L3")
        depth = int(found[2]) if found[2] else best.variant.depth
        level = _beside(best, int(found[1]), depth, bundle)
        if level.name in [other.name for other in levels]:
            raise UsageError(f"--also {part}: {level.name} is shipped already")
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


def _variant(configuration: Configuration, bundle: Bundle) -> Variant:
    wanted = configuration.precision, configuration.depth, configuration.target
    for variant in bundle.manifest.variants:
        if (variant.precision, variant.depth, variant.target) == wanted:
            return variant
    precision, depth, target = wanted
    raise BundleError(f"{bundle.folder} has no {precision} at depth {depth} for {target}, which was picked")


def _check(path: Path, configuration: Configuration, bundle: Bundle) -> None:
    if configuration.index is not None and configuration.index not in OPENERS:
        raise ResultsError(f"{path}: unknown kind of index {configuration.index}: there is {', '.join(OPENERS)}")
    if configuration.vectors is not None:
        check_storage(configuration.vectors, bundle.manifest.dims)
    check([name for name in configuration.runtime if name in NAMES])
    if configuration.threads < 1:
        raise ResultsError(f"{path}: {configuration.threads} threads cannot be")
