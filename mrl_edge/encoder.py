"""A bundle's encoders: texts or images in, embeddings of one nesting dimension (or class probabilities) out.

encoder = load("bundle", dim=64, precision="int8", threads=1)
encoder.encode(["a small musical phrase"])  # float32 [1, 64], rows L2-normalised
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mrl_edge.bundle import Bundle, Variant, open_bundle
from mrl_edge.feeds import open_feeder
from mrl_edge.providers import CPU
from mrl_edge.runtime import Encoder, Model, NestedEncoder, open_session, softmax

__all__ = ("Encoder", "NestedEncoder", "load", "load_nested", "open_encoder", "open_nested", "open_session", "softmax")


def load(
    bundle: str | Path,
    dim: int | None = None,
    precision: str | None = None,
    depth: int | None = None,
    threads: int | None = None,
    levers: Sequence[str] = (),
    provider: str = CPU,
) -> Encoder:
    """Load one configuration of a bundle, after checking the sha256 of every file of it that is used.

    `dim` is a nesting dimension (None: the full one), `precision` one of the bundle's (None: the one with the
    smallest weights), `depth` the number of layers (None: all), `threads` the intra-op threads (None: one per
    physical core), `levers` names settings of onnxruntime that save memory for time (`mrl_edge.levers`), `provider`
    where it is computed: `cpu`, `cuda` or `tensorrt` (`mrl_edge.providers`). Raises `BundleError` for a damaged bundle,
    `UsageError` for what it does not hold, and `UnsupportedError` where a provider is not there or does not start.
    """
    opened = open_bundle(bundle)
    variant = opened.variant(precision, depth, provider) if precision else opened.leanest(depth, provider)
    return open_encoder(opened, variant, opened.manifest.dims[-1] if dim is None else dim, threads, levers, provider)


def load_nested(
    bundle: str | Path,
    precision: str | None = None,
    depth: int | None = None,
    threads: int | None = None,
    provider: str = CPU,
) -> NestedEncoder:
    """Load the graph that computes every dimension in one pass; arguments and errors as for `load`."""
    opened = open_bundle(bundle)
    variant = opened.variant(precision, depth, provider) if precision else opened.leanest(depth, provider)
    return open_nested(opened, variant, threads, provider=provider)


def open_encoder(
    bundle: Bundle,
    variant: Variant,
    dim: int,
    threads: int | None,
    levers: Sequence[str] = (),
    provider: str = CPU,
) -> Encoder:
    """Open one dimension of a variant of an opened bundle; errors as for `load`."""
    model = _open_model(bundle, variant, dim, threads, levers, provider)
    return Encoder(model, dim, variant.precision, variant.depth)


def open_nested(
    bundle: Bundle, variant: Variant, threads: int | None, levers: Sequence[str] = (), provider: str = CPU
) -> NestedEncoder:
    """Open the graph of every dimension of a variant; errors as for `load`."""
    model = _open_model(bundle, variant, None, threads, levers, provider)
    return NestedEncoder(model, bundle.manifest.dims, variant.precision, variant.depth)


def _open_model(
    bundle: Bundle, variant: Variant, dim: int | None, threads: int | None, levers: Sequence[str], provider: str
) -> Model:
    graph = bundle.graph(variant, dim)
    bundle.checked(variant.weights)
    feeder = open_feeder(bundle, graph.inputs)
    path = bundle.checked(graph.file)
    session = open_session(path, threads, variant.target, levers, provider, variant.precision)
    return Model(feeder, session, bundle.manifest.classes)
