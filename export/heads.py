"""What follows the trunk in each graph: pooling, the encoder's own modules, the slice, normalisation, logits.

The projection is stored `[full, width]` row-major, so the head of dimension d is its first d rows: the same
bytes in `weights.bin`. An encoder that was never trained here has none: its embedding is sliced.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from mrl_edge.export.weights import Stored, WeightFile
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Linear:
    """A stored linear layer: weight [outputs, inputs] row-major, bias [outputs] or none."""

    weight: Stored
    bias: Stored | None
    inputs: int
    outputs: int
    tanh: bool = False


@dataclass(frozen=True)
class Unit:
    """L2-normalisation between modules."""


@dataclass(frozen=True)
class Norm:
    """A stored layer normalisation: scale [width] and bias [width]."""

    scale: Stored
    bias: Stored
    width: int
    epsilon: float


Module = Linear | Unit | Norm


@dataclass(frozen=True)
class Tail:
    """Everything after the trunk, with its weights already in the weight file."""

    pooling: str
    modules: tuple[Module, ...]
    projection: Linear | None  # none: the first columns are the head
    classifiers: Mapping[int, Linear]


def store_linear(weights: WeightFile, weight: Array, bias: Array | None, tanh: bool = False) -> Linear:
    """Append a linear layer's weight [outputs, inputs] and bias [outputs] to the weight file."""
    return Linear(
        weight=weights.add(numpy_helper.from_array(weight)),
        bias=None if bias is None else weights.add(numpy_helper.from_array(bias)),
        inputs=weight.shape[1],
        outputs=weight.shape[0],
        tanh=tanh,
    )


def graph_for(trunk: onnx.ModelProto, tail: Tail, dim: int) -> onnx.ModelProto:
    """Return the graph of one dimension: `embedding` [batch, dim], and `logits` [batch, classes] if it classifies."""
    builder = _Builder(trunk, tail)
    projected = builder.projected(dim)
    builder.outputs(projected, dim, suffix="")
    return builder.model


def graph_for_all(trunk: onnx.ModelProto, tail: Tail, dims: Sequence[int]) -> onnx.ModelProto:
    """Return the graph of every dimension in one pass: `embedding_8` [batch, 8], `logits_8` and so on."""
    builder = _Builder(trunk, tail)
    projected = builder.projected(dims[-1])
    for dim in dims:
        part = projected if dim == dims[-1] else builder.first_columns(projected, dim)
        builder.outputs(part, dim, suffix=f"_{dim}")
    return builder.model


class _Builder:
    """Appends nodes to a copy of the trunk, whose weights are references and so cost nothing to copy.

    The trunk's first output is what is pooled.
    """

    def __init__(self, trunk: onnx.ModelProto, tail: Tail) -> None:
        self.model = onnx.ModelProto()
        self.model.CopyFrom(trunk)
        self._hidden = trunk.graph.output[0].name
        del self.model.graph.output[:]
        self._tail = tail

    def encoded(self) -> str:
        """Append pooling and the encoder's modules; return the name of the [batch, width] result."""
        current = self._pooled()
        for number, module in enumerate(self._tail.modules):
            if isinstance(module, Unit):
                current = self._unit(current, f"module{number}")
            elif isinstance(module, Norm):
                current = self._norm(current, module, f"module{number}")
            else:
                current = self.linear(current, module, f"module{number}", rows=module.outputs)
        return current

    def projected(self, rows: int) -> str:
        """Append everything up to the first `rows` columns of the embedding, before normalisation."""
        if self._tail.projection is None:
            return self.first_columns(self.encoded(), rows)
        return self.linear(self.encoded(), self._tail.projection, "projection", rows=rows)

    def linear(self, source: str, layer: Linear, name: str, rows: int) -> str:
        """Append the first `rows` outputs of a linear layer."""
        tensors = [
            source,
            self._add(layer.weight.tensor(f"{name}.weight", (rows, layer.inputs), 4 * layer.inputs)),
        ]
        if layer.bias is not None:
            tensors.append(self._add(layer.bias.tensor(f"{name}.bias", (rows,), 4)))
        result = self._node("Gemm", tensors, name, transB=1)
        return self._node("Tanh", [result], f"{name}.tanh") if layer.tanh else result

    def first_columns(self, source: str, count: int) -> str:
        """Append a slice [batch, count] of [batch, full]."""
        name = f"first_{count}"
        bounds = [self._constant(f"{name}.{key}", [value]) for key, value in (("from", 0), ("to", count), ("axis", 1))]
        return self._node("Slice", [source, *bounds], name)

    def outputs(self, projected: str, dim: int, suffix: str) -> None:
        """Append the outputs of one dimension, made of its projected prefix [batch, dim]."""
        self._output(self._unit(projected, f"unit{suffix}"), f"embedding{suffix}", dim)
        classifier = self._tail.classifiers.get(dim)
        if classifier is not None:
            logits = self.linear(projected, classifier, f"classifier{suffix}", rows=classifier.outputs)
            self._output(logits, f"logits{suffix}", classifier.outputs)

    def _pooled(self) -> str:
        mode = self._tail.pooling
        if mode == "cls":
            return self._node("Gather", [self._hidden, self._constant("first_token", 0)], "pooled", axis=1)
        if mode == "projected":
            return str(self._hidden)
        if mode == "pooler":  # the mean over the image, see `export.trunk`
            return self._node("Flatten", [self._node("GlobalAveragePool", [self._hidden], "mean")], "pooled")
        mask = self._node("Cast", ["attention_mask"], "mask", to=TensorProto.FLOAT)
        column = self._node("Unsqueeze", [mask, self._constant("last_axis", [-1])], "mask_column")
        axis = self._constant("token_axis", [1])
        if mode == "max":
            present = self._node("Cast", [column], "present", to=TensorProto.BOOL)
            least = self._constant("least", -1e9, np.float32)
            kept = self._node("Where", [present, self._hidden, least], "kept")
            return self._node("ReduceMax", [kept, axis], "pooled", keepdims=0)
        masked = self._node("Mul", [self._hidden, column], "masked")
        total = self._node("ReduceSum", [masked, axis], "total", keepdims=0)
        count = self._node("ReduceSum", [column, axis], "count", keepdims=0)
        count = self._node("Max", [count, self._constant("one_token", 1e-9, np.float32)], "safe_count")
        if mode == "mean_sqrt_len_tokens":
            count = self._node("Sqrt", [count], "root_count")
        return self._node("Div", [total, count], "pooled")

    def _unit(self, source: str, name: str) -> str:
        return self._node("LpNormalization", [source], name, axis=-1, p=2)

    def _norm(self, source: str, layer: Norm, name: str) -> str:
        scale = self._add(layer.scale.tensor(f"{name}.scale", (layer.width,), 4))
        bias = self._add(layer.bias.tensor(f"{name}.bias", (layer.width,), 4))
        return self._node("LayerNormalization", [source, scale, bias], name, axis=-1, epsilon=layer.epsilon)

    def _node(self, kind: str, inputs: Sequence[str], name: str, **attributes: float) -> str:
        output = f"mrl.{name}"
        node = helper.make_node(kind, list(inputs), [output], name=output)
        node.attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
        self.model.graph.node.append(node)
        return output

    def _output(self, source: str, name: str, columns: int) -> None:
        self.model.graph.node.append(helper.make_node("Identity", [source], [name], name=f"mrl.{name}.output"))
        self.model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", columns]))

    def _add(self, tensor: TensorProto) -> str:
        tensor.name = f"mrl.{tensor.name}"
        self.model.graph.initializer.append(tensor)
        return str(tensor.name)

    def _constant(self, name: str, value: int | float | list[int], kind: type[np.generic] = np.int64) -> str:
        return self._add(numpy_helper.from_array(np.array(value, dtype=kind), name))
