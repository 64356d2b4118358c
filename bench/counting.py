"""What one call of a graph computes and reads, counted from the kernels that onnxruntime ran with their shapes.

onnxruntime's profile names every kernel after its own fusions, with the shapes and types of all tensors, so that a
board needs no other library for it. Prepacking is off, as prepacked weights have no shape there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from math import prod
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnxruntime as ort
from mrl_edge.bench.jobs import CountedCalls, CountJob, CountResult
from mrl_edge.bench.latency import batches_of
from mrl_edge.bench.results import Work

from mrl_edge.bundle import open_bundle
from mrl_edge.feeds import open_feeder
from mrl_edge.tokens import Batch

Shape = Sequence[int]

_MATMULS = {
    "MatMul", "FusedMatMul", "Gemm", "FusedGemm", "MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul",
    "QLinearMatMul", "QGemm",
}  # fmt: skip
_BLOCKWISE = {"MatMulNBits"}
_CONVOLUTIONS = {"Conv", "FusedConv", "NhwcFusedConv", "QLinearConv", "ConvInteger"}
_ATTENTIONS = {"Attention", "QAttention"}
PRODUCTS = _MATMULS | _BLOCKWISE | _CONVOLUTIONS | _ATTENTIONS


def count(job: CountJob) -> CountResult:
    """Run every shape that the job's calls have once, and return the call in the middle of each kind, by operations.

    Kinds: single texts at each dimension, and at the last one fixed lengths and batches too. Lengths beyond the
    encoder's maximum are left out.
    """
    bundle = open_bundle(job.bundle)
    variant = bundle.variant(job.precision, job.depth)
    longest = bundle.manifest.encoder.max_tokens
    counted = []
    for dim in job.dims:
        graph = bundle.graph(variant, dim)
        feeder = open_feeder(bundle, graph.inputs)
        texts, role = job.sample.texts, job.sample.role
        singles = [feeder.feed([text], role) for text in texts]
        kinds: list[tuple[int | None, int, list[Batch]]] = [(None, 1, singles)]
        if dim == job.dims[-1]:
            kinds += [(length, 1, [of_length(singles[0], length)]) for length in job.tokens if length <= longest]
            kinds += [(None, size, [feeder.feed(b, role) for b in batches_of(texts, size)]) for size in job.batches]
        every = [feed for _, _, feeds in kinds for feed in feeds]
        works = count_graph(bundle.checked(graph.file), every, Path(job.work))
        for tokens, batch, feeds in kinds:
            ordered = sorted((works[_shapes(feed)] for feed in feeds), key=lambda work: work.operations)
            middle = ordered[len(ordered) // 2]
            # Layers that share their weights (ALBERT's) may find them in a cache after the first.
            once = msgspec.structs.replace(
                middle, bytes=min(middle.bytes, bundle.manifest.files[variant.weights].bytes)
            )
            counted.append(CountedCalls(dim, tokens, batch, once))
    return CountResult(tuple(counted))


def of_length(feed: Batch, tokens: int) -> Batch:
    """Repeat one text's ids to exactly so many tokens: what is computed depends on their number alone."""
    return {name: values[:, np.arange(tokens) % values.shape[1]] for name, values in feed.items()}


def _shapes(feed: Batch) -> tuple[tuple[str, Shape], ...]:
    return tuple((name, values.shape) for name, values in sorted(feed.items()))


def count_graph(graph: Path, feeds: Sequence[Batch], folder: Path) -> dict[tuple[tuple[str, Shape], ...], Work]:
    """Run one feed of each shape and return what it took, by shape."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.enable_profiling = True
    options.profile_file_prefix = str(folder / "profile")
    options.add_session_config_entry("session.disable_prepacking", "1")
    session = ort.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    different = {_shapes(feed): feed for feed in feeds}
    for feed in different.values():
        session.run(None, feed)
    profile = Path(session.end_profiling())
    events = json.loads(profile.read_bytes())
    profile.unlink()
    return dict(zip(different, works_of(events), strict=True))


def works_of(events: Sequence[dict[str, Any]]) -> Iterator[Work]:
    """Yield what each run of a profile took: its kernels stand before its `model_run`."""
    kernels: list[dict[str, Any]] = []
    for event in events:
        if event["name"] == "model_run":
            yield _sum(kernels)
            kernels = []
        elif event["cat"] == "Node" and event["name"].endswith("_kernel_time"):
            kernels.append(event["args"])


def _sum(kernels: Sequence[dict[str, Any]]) -> Work:
    fp32 = int8 = unrated = read = 0
    for kernel in kernels:
        name = kernel["op_name"]
        # Of an embedding table only the rows that are looked up are read.
        looked_up = name.startswith("Gather") or name.endswith("EmbedLayerNormalization")
        read += int(kernel["output_size" if looked_up else "parameter_size"])
        if name not in PRODUCTS:
            continue
        inputs = [next(iter(tensor.items())) for tensor in kernel["input_type_shape"]]
        shapes = [shape for _, shape in inputs]
        output = next(iter(kernel["output_type_shape"][0].values()))
        of_weights, of_floats = _operations(name, shapes, output)
        if name in _BLOCKWISE or any(kind == "float16" for kind, _ in inputs):
            unrated += of_weights + of_floats
            continue
        quantised = any(kind in ("int8", "uint8") and len(shape) > 1 for kind, shape in inputs)
        int8 += of_weights if quantised else 0
        fp32 += of_floats + (0 if quantised else of_weights)
    return Work(fp32 + int8 + unrated, int8, unrated, read)


def _operations(name: str, inputs: Sequence[Shape], output: Shape) -> tuple[int, int]:
    """Return multiplications and additions: in the type of the weights, and those that are of floats in any case."""
    if name in _ATTENTIONS:  # inputs [batch, tokens, hidden], weights [hidden, 3 × heads × size]
        batch, tokens, _ = inputs[0]
        return 2 * batch * tokens * prod(inputs[1]), 4 * batch * tokens * tokens * (inputs[1][1] // 3)
    if name in _CONVOLUTIONS:  # weights [channels out, channels in / groups, height, width]
        weights = next(shape for shape in inputs[1:] if len(shape) > 2)
        return 2 * prod(output) * prod(weights[1:]), 0
    return _matmul(inputs, output), 0


def _matmul(inputs: Sequence[Shape], output: Shape) -> int:
    """[…, m, k] × […, k, n], or with the first factor transposed: 2 m k n each."""
    first = inputs[0]
    transposed = len(first) > 1 and len(output) > 1 and first[-2] != output[-2]
    return 2 * prod(output) * (first[-2] if transposed else first[-1])
