"""A bundle's encoders: texts or images in, embeddings of one nesting dimension (or class probabilities) out.

encoder = load("bundle", dim=64, precision="int8", threads=1)
encoder.encode(["a small musical phrase"])  # float32 [1, 64], rows L2-normalised
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mrl_edge.bundle import Bundle, Variant, open_bundle
from mrl_edge.feeds import open_feeder
from mrl_edge.runtime import Encoder, Model, NestedEncoder, open_session, softmax

__all__ = ("Encoder", "NestedEncoder", "load", "load_nested", "open_encoder", "open_nested", "open_session", "softmax")


def load(
    bundle: str | Path,
    dim: int | None = None,
    precision: str | None = None,
    depth: int | None = None,
    threads: int | None = None,
    levers: Sequence[str] = (),
) -> Encoder:
    """Load one configuration of a bundle, after checking the sha256 of every file it uses.

    `dim` is a nesting dimension (None: the full one), `precision` one of the bundle's (None: the one with the
    smallest weights), `depth` the number of layers (None: all), `threads` the intra-op threads (None: one per
    physical core), `levers` names settings of onnxruntime that save memory for time (`mrl_edge.levers`). Raises
    `BundleError` for a damaged bundle and `UsageError` for what it does not hold.
    """
    opened = open_bundle(bundle)
    variant = opened.variant(precision, depth) if precision else opened.leanest(depth)
    return open_encoder(opened, variant, opened.manifest.dims[-1] if dim is None else dim, threads, levers)


def load_nested(
    bundle: str | Path, precision: str | None = None, depth: int | None = None, threads: int | None = None
) -> NestedEncoder:
    """Load the graph that computes every dimension in one pass; arguments and errors as for `load`."""
    opened = open_bundle(bundle)
    variant = opened.variant(precision, depth) if precision else opened.leanest(depth)
    return open_nested(opened, variant, threads)


def open_encoder(
    bundle: Bundle, variant: Variant, dim: int, threads: int | None, levers: Sequence[str] = ()
) -> Encoder:
    """Open one dimension of a variant of an opened bundle; errors as for `load`."""
    model = _open_model(bundle, variant, dim, threads, levers)
    return Encoder(model, dim, variant.precision, variant.depth)


def open_nested(bundle: Bundle, variant: Variant, threads: int | None, levers: Sequence[str] = ()) -> NestedEncoder:
    """Open the graph of every dimension of a variant; errors as for `load`."""
    model = _open_model(bundle, variant, None, threads, levers)
    return NestedEncoder(model, bundle.manifest.dims, variant.precision, variant.depth)


def _open_model(bundle: Bundle, variant: Variant, dim: int | None, threads: int | None, levers: Sequence[str]) -> Model:
    graph = bundle.graph(variant, dim)
    bundle.checked(variant.weights)
    feeder = open_feeder(bundle, graph.inputs)
    session = open_session(bundle.checked(graph.file), threads, variant.target, levers)
    return Model(feeder, session, bundle.manifest.classes)
