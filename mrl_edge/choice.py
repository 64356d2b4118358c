"""The configuration that `mrl-edge pick` chose, as `ship` and `serve` read it, checked against its bundle."""

from __future__ import annotations

from pathlib import Path

import msgspec

from mrl_edge.bundle import Bundle, Variant
from mrl_edge.description import Parameters, Step, agree, steps_of
from mrl_edge.errors import BundleError, MrlEdgeError, ResultsError
from mrl_edge.index.kinds import OPENERS, kind_of
from mrl_edge.index.vectors import check_storage
from mrl_edge.levers import check
from mrl_edge.nesting import select_dims
from mrl_edge.providers import CPU, PROVIDERS

PINNED = "pinned"  # a runtime setting that `mrl-edge bench --pin` does to its own process


class BundleName(msgspec.Struct, frozen=True):
    """Which bundle was measured: its name, and `Bundle.identity()`."""

    name: str
    sha256: str


class Configuration(msgspec.Struct, frozen=True):
    """What was chosen: a variant at a dimension, its threads and runtime settings, and how it searches."""

    precision: str
    target: str
    depth: int
    dim: int
    threads: int = 1
    runtime: tuple[str, ...] = ()
    provider: str = CPU
    index: str | None = None  # a kind; none: it encodes, or classifies
    parameters: Parameters = {}
    vectors: str | None = None  # how the vectors are stored; none: as the bundle's index has them
    shortlist: int | None = None
    rerank_dim: int | None = None
    funnel: tuple[Step, ...] = ()  # as of a `SizedIndex`
    n_items: int | None = None  # documents that it was measured among

    @property
    def steps(self) -> tuple[Step, ...]:
        """What is ranked again."""
        return steps_of(self.shortlist, self.rerank_dim, self.funnel)

    @property
    def levers(self) -> tuple[str, ...]:
        """The runtime settings that are onnxruntime's."""
        return tuple(name for name in self.runtime if name != PINNED)

    @property
    def notes(self) -> tuple[str, ...]:
        """What of the choice is not done where it is shipped or served."""
        return ("the choice was measured on pinned cores: nothing is pinned here",) if PINNED in self.runtime else ()


class Choice(msgspec.Struct, frozen=True):
    """The parts of a choice's file that say what to run."""

    fits: bool | None = None
    bundle: BundleName | None = None
    configuration: Configuration | None = None
    n_items: int | None = None
    boards: dict[str, msgspec.Raw] | None = None  # a choice for each of several boards, instead of all this


def read_choice(path: Path, bundle: Bundle) -> Configuration:
    """Read what `mrl-edge pick` wrote about this bundle.

    Raises `ResultsError` for any other file, where nothing fitted, for a choice of several boards or about another
    bundle, and for one that contradicts itself or the bundle.
    """
    found = _decoded(path)
    if found.boards is not None:
        boards = ", ".join(found.boards)
        raise ResultsError(f"{path} has a choice for each of {boards}: pick for one of them, or with --one-for-all")
    if found.fits is None:
        raise ResultsError(f"{path} is not what mrl-edge pick --out writes: it does not say whether anything fits")
    if not found.fits:
        raise ResultsError(f"{path} says that nothing fits: pick again within a larger budget")
    if found.bundle is None or found.configuration is None:
        raise ResultsError(f"{path} names no bundle and configuration: run mrl-edge pick --out again")
    if found.bundle.sha256 != bundle.identity():
        raise ResultsError(f"{path} is a choice for another bundle, {found.bundle.name}: not for {bundle.folder}")
    asked = found.configuration.index
    index = None if asked is None else kind_of(asked)  # its parameters say the metric
    configuration = msgspec.structs.replace(found.configuration, index=index, n_items=found.n_items)
    try:
        _check(configuration, bundle)
    except MrlEdgeError as error:
        raise ResultsError(f"{path}: {error}") from None
    return configuration


def picked_variant(configuration: Configuration, bundle: Bundle) -> Variant:
    """Return the variant of a choice, made for the target that was picked; `BundleError` where there is none."""
    wanted = configuration.precision, configuration.depth, configuration.target
    for variant in bundle.manifest.variants:
        if (variant.precision, variant.depth, variant.target) == wanted:
            return variant
    precision, depth, target = wanted
    raise BundleError(f"{bundle.folder} has no {precision} at depth {depth} for {target}, which was picked")


def _decoded(path: Path) -> Choice:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Choice)
    except FileNotFoundError:
        raise ResultsError(f"{path}: no such file; write one with mrl-edge pick results.json --out {path}") from None
    except OSError as error:
        raise ResultsError(f"{path}: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ResultsError(f"{path} is not what mrl-edge pick --out writes: {error}") from None


def _check(configuration: Configuration, bundle: Bundle) -> None:
    """Raise where a choice says what cannot be."""
    dims, folder = bundle.manifest.dims, str(bundle.folder)
    variant = picked_variant(configuration, bundle)
    bundle.graph(variant, select_dims((configuration.dim,), dims, folder)[0])
    if configuration.threads < 1:
        raise ResultsError(f"{configuration.threads} threads cannot be")
    check(configuration.levers)
    if configuration.provider not in PROVIDERS:
        raise ResultsError(f"unknown provider {configuration.provider!r}: there is {', '.join(PROVIDERS)}")
    if configuration.index is not None and configuration.index not in OPENERS:
        raise ResultsError(f"unknown kind of index {configuration.index}: there is {', '.join(OPENERS)}")
    if configuration.vectors is not None:
        check_storage(configuration.vectors, dims)
    _check_rerank(configuration, bundle)


def _check_rerank(configuration: Configuration, bundle: Bundle) -> None:
    shortlist, rerank_dim = configuration.shortlist, configuration.rerank_dim
    if shortlist is None and rerank_dim is None and not configuration.funnel:
        if configuration.index == "binary":
            raise ResultsError("binary alone estimates its scores: pick one whose shortlist is ranked again")
        return
    if shortlist is None or rerank_dim is None or configuration.index is None:
        raise ResultsError("half of a rerank: it needs an index, shortlist and rerank_dim")
    least = configuration.dim
    for step in configuration.steps:
        select_dims((step.dim,), bundle.manifest.dims, str(bundle.folder))
        if step.shortlist < 1 or step.dim < least:
            raise ResultsError(f"{step.shortlist} hits of dimension {least} cannot be ranked again at {step.dim}")
        least = step.dim
    if not agree(shortlist, rerank_dim, configuration.funnel):
        raise ResultsError(f"a funnel that does not rank the shortlist of {shortlist} at {rerank_dim} in the end")
