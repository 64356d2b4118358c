"""`int8`: weights in 8 bits a channel, word embeddings included; activations are scaled as they come."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnx
from mrl_edge.export.precisions.conversion import Candidate, Job, Levels, names_of, quiet, weighted_nodes
from mrl_edge.export.precisions.targets import Flags, flags_of


def int8(job: Job, levels: Levels) -> Path:
    """Quantise what has not fallen back."""
    nodes = weighted_nodes(onnx.load(job.trunk))
    tables, matrices = names_of(nodes, "Gather", levels), names_of(nodes, "MatMul", levels)
    return quantise(job.trunk, job.folder, tables, matrices, flags_of(job.target, static=False))


def quantise(trunk: Path, folder: Path, tables: Sequence[str], matrices: Sequence[str], flags: Flags) -> Path:
    """Quantise the named look-ups and products of a trunk; return the new file."""
    return quantise_products(quantise_tables(trunk, folder, tables), folder, matrices, flags)


def quantise_tables(trunk: Path, folder: Path, tables: Sequence[str]) -> Path:
    """Store the tables of the named look-ups in 8 bits, always all 8: nothing is summed, so nothing saturates."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    if not tables:
        return trunk
    converted = folder / "tables.onnx"
    with quiet():
        quantize_dynamic(trunk, converted, ["Gather"], nodes_to_quantize=list(tables), weight_type=QuantType.QInt8)
    model = onnx.load(converted)
    _rename_rows(model)
    onnx.save(model, converted)
    return converted


def _rename_rows(model: onnx.ModelProto) -> None:
    """Rename what look-ups output: quantising a product of the same rows would give its input the same name."""
    names = {
        output: f"{output}_rows"
        for node in model.graph.node
        if node.op_type == "Gather"
        for output in node.output
        if output.endswith("_quantized")
    }
    for node in model.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]


def quantise_products(trunk: Path, folder: Path, matrices: Sequence[str], flags: Flags) -> Path:
    """Quantise the named products with constant matrices for a target's flags."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    if not matrices:
        return trunk
    converted = folder / "products.onnx"
    with quiet():
        quantize_dynamic(
            trunk,
            converted,
            ["MatMul"],
            nodes_to_quantize=list(matrices),
            per_channel=flags.per_channel,
            reduce_range=flags.reduce_range,
            weight_type=QuantType[flags.weights],
            # The type of what it cannot infer: shape inference knows no 4-bit products (see `int4`).
            extra_options={"WeightSymmetric": flags.weights_symmetric, "DefaultTensorType": onnx.TensorProto.FLOAT},
        )
    return converted


CANDIDATES = (Candidate(int8),)
