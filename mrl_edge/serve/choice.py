"""Which configuration of a bundle is served: the one that options name, or the one that was picked."""

from __future__ import annotations

from dataclasses import dataclass

from mrl_edge.bundle import Bundle, Variant
from mrl_edge.choice import Configuration, picked_variant
from mrl_edge.levers import MAPPED_PREPACK
from mrl_edge.nesting import select_dims
from mrl_edge.providers import CPU


@dataclass(frozen=True)
class Wanted:
    """What is loaded and with what; `picked` is the choice whose search is opened, None: the bundle's own index."""

    variant: Variant
    dim: int
    threads: int = 1
    levers: tuple[str, ...] = ()
    picked: Configuration | None = None
    notes: tuple[str, ...] = ()  # what of the choice is not done here
    provider: str = CPU


def configure(
    bundle: Bundle,
    dim: int | None,
    precision: str | None,
    depth: int | None,
    threads: int | None,
    provider: str | None = None,
) -> Wanted:
    """Return what options name: by default the full dimension, in the index's precision and depth.

    Without an index it is the precision with the smallest weights, at full depth. Raises `UsageError` for what the
    bundle does not hold.
    """
    manifest = bundle.manifest
    chosen = manifest.dims[-1] if dim is None else dim
    select_dims((chosen,), manifest.dims, str(bundle.folder))
    index = manifest.index
    if precision is None and index is not None and depth in (None, index.depth):
        precision, depth = index.precision, index.depth
    on = provider or CPU
    variant = bundle.variant(precision, depth, on) if precision else bundle.leanest(depth, on)
    return Wanted(variant, chosen, threads or 1, provider=on)


def configure_picked(bundle: Bundle, picked: Configuration, threads: int | None, provider: str | None = None) -> Wanted:
    """Return a choice that was read from its file; `threads` and `provider` stand in for those that were picked.

    On another provider than the picked one the variant is the one that suits it, not the one that was made for the
    picked target, and a setting of the processor's kernels is left out.
    """
    on, levers, notes = provider or picked.provider, picked.levers, picked.notes
    variant = picked_variant(picked, bundle)
    if on != picked.provider:
        variant = bundle.variant(picked.precision, picked.depth, on)
        if on != CPU and MAPPED_PREPACK in levers:
            levers = tuple(name for name in levers if name != MAPPED_PREPACK)
            notes = (*notes, f"{MAPPED_PREPACK} was picked, which is of the processor's kernels: not on {on}")
    search = picked if picked.index is not None else None
    return Wanted(variant, picked.dim, threads or picked.threads, levers, search, notes, on)
