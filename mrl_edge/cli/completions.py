"""What a shell offers for a value: names of devices, precisions, targets, kinds of index, storages, dimensions.

`mrl-edge --install-completion` asks for them at every Tab, so nothing here imports what takes a while.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, get_args, get_type_hints

import typer

if TYPE_CHECKING:
    from mrl_edge.bundle import Bundle

# Of `index.candidates`, which imports numpy.
KINDS = ("scan", "binary", "annoy", "annoy-dot", "annoy-euclidean", "hnsw", "ivf")
STORAGES = ("fp32", "fp16", "int8", "int8-int6", "int8-int4")  # of `index.vectors`, which does too
Complete = Callable[[typer.Context, str], list[str]]


def devices(ctx: typer.Context, incomplete: str) -> list[str]:
    """Offer the devices that `mrl-edge devices list` shows."""
    from mrl_edge.devices.profiles import names

    return [name for name in names() if name.startswith(incomplete)]


def precision(ctx: typer.Context, incomplete: str) -> list[str]:
    """Offer one precision: of the bundle on the command line, or of all that there are."""
    return [name for name in _precisions(ctx) if name.startswith(incomplete)]


def precisions(ctx: typer.Context, incomplete: str) -> list[str]:
    """Offer the next of a list of precisions."""
    return _next_of_list(_precisions(ctx), incomplete)


def dims(ctx: typer.Context, incomplete: str) -> list[str]:
    """Offer the next of a list of the bundle's dimensions."""
    bundle = _bundle(ctx)
    return _next_of_list(map(str, bundle.manifest.dims), incomplete) if bundle else []


def dim(ctx: typer.Context, incomplete: str) -> list[str]:
    """Offer one of the bundle's dimensions, or `all`."""
    bundle = _bundle(ctx)
    names = [*map(str, bundle.manifest.dims), "all"] if bundle else []
    return [name for name in names if name.startswith(incomplete)]


def one_of(*names: str) -> Complete:
    """Offer one of some names."""
    return lambda ctx, incomplete: [name for name in names if name.startswith(incomplete)]


def list_of(*names: str) -> Complete:
    """Offer the next of a list of some names."""
    return lambda ctx, incomplete: _next_of_list(names, incomplete)


def _next_of_list(names: Iterable[str], incomplete: str) -> list[str]:
    before, comma, last = incomplete.rpartition(",")
    given = before.split(",")
    return [f"{before}{comma}{name}" for name in names if name.startswith(last) and name not in given]


def _precisions(ctx: typer.Context) -> Iterator[str]:
    bundle = _bundle(ctx)
    if bundle is not None:
        yield from bundle.precisions()
        return
    from mrl_edge.devices.profiles import Profile

    yield from get_args(get_type_hints(Profile)["precision"])


def _bundle(ctx: typer.Context) -> Bundle | None:
    from mrl_edge.bundle import open_bundle
    from mrl_edge.errors import MrlEdgeError

    # Where the option to complete has no value yet, typer leaves what stands before it unread.
    folder = ctx.params.get("bundle") or ctx.params.get("model") or next(iter(ctx.args), None)
    try:
        return open_bundle(Path(str(folder))) if folder else None
    except (MrlEdgeError, OSError):
        return None
