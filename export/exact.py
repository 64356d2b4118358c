"""Running an 8-bit graph as its target computes it, on a machine whose own sums would saturate.

For unsigned activations and signed weights an x86 processor without VNNI adds pairs of products in 16 bits
(`vpmaddubsw`), which saturate. The same weights as unsigned numbers, 128 added to them and to their zero points,
are added in 32 bits everywhere: the integers that come out are those of a processor with VNNI or of an ARM.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import numpy_helper

from mrl_edge.cpu import saturates, this_target
from mrl_edge.encoder import open_session

_WEIGHTS = {"MatMulInteger": (1, 3), "DequantizeLinear": (0, 2)}  # the inputs that are weights and zero points


def open_exact(path: Path, target: str) -> ort.InferenceSession:
    """Open a graph that was made for a target so that no sum saturates, with one thread per physical core."""
    if not saturates(target, this_target()):
        return open_session(path, threads=None)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        onnx.save(with_unsigned_weights(onnx.load(path)), copy, save_as_external_data=True)
        return open_session(copy, threads=None)


def with_unsigned_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Turn the signed 8-bit weights of a model's products into unsigned ones of the same value, in place."""
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    signed = set()
    for node in model.graph.node:
        names = [node.input[place] for place in _WEIGHTS.get(node.op_type, ()) if place < len(node.input)]
        if len(names) == 2 and all(n in tensors and tensors[n].data_type == onnx.TensorProto.INT8 for n in names):
            signed.update(names)
    for name in signed:
        values = numpy_helper.to_array(tensors[name]).astype(np.int16) + 128
        tensors[name].CopyFrom(numpy_helper.from_array(values.astype(np.uint8), name))
    return model
