"""All files of one precision: `weights.bin`, and at each depth a graph a dimension and one of all dimensions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx
from mrl_edge.export.cut import cut_at
from mrl_edge.export.heads import Linear, Module, Norm, Tail, Unit, graph_for, graph_for_all, store_linear
from mrl_edge.export.model import Exit, Model
from mrl_edge.export.trunk import IR_VERSION, NEWEST_OPSET, exit_output
from mrl_edge.export.weights import FILE, WeightFile
from onnx import numpy_helper, shape_inference
from torch import nn

from mrl_edge.errors import ModelError
from mrl_edge.train.source import Dense, LayerNorm
from mrl_edge.train.trunk import Trunk


@dataclass(frozen=True)
class Written:
    """One graph file: its depth and dimension (None: every dimension)."""

    path: Path
    depth: int
    dim: int | None


def write_graphs(model: Model, trunk: Trunk, converted: onnx.ModelProto, folder: Path) -> Iterator[Written]:
    """Write `weights.bin` and every graph of one precision into `folder`, the full depth first.

    What the depths share is stored once. Every graph passes ONNX's checker and strict shape inference, and is of
    an opset and IR version that the oldest supported onnxruntime reads; `ModelError` when the opset is newer.
    """
    with (folder / FILE).open("wb") as file:
        weights = WeightFile(file)
        weights.move(converted)
        modules = tuple(_store(weights, layer, spec) for layer, spec in _tail(model, trunk))
        tails = {exit.depth: _exit_tail(model, modules, exit, weights) for exit in reversed(model.exits)}
    converted.producer_name = "mrl-edge"
    converted.ir_version = IR_VERSION
    for depth, tail in tails.items():
        cut = cut_at(converted, exit_output(depth, model.spec.layers))
        suffix = "" if depth == model.spec.layers else f"-L{depth}"
        for dim in model.dims:
            yield _save(graph_for(cut, tail, dim), folder / f"d{dim}{suffix}.onnx", depth, dim)
        yield _save(graph_for_all(cut, tail, model.dims), folder / f"all{suffix}.onnx", depth, None)


def opset_of(model: onnx.ModelProto) -> int:
    """Return the version of ONNX's own operators that a model is written in."""
    return int(next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")))


def _tail(model: Model, trunk: Trunk) -> Iterator[tuple[nn.Module, object]]:
    """Yield the modules between pooling and projection, in PyTorch and as their description."""
    return zip(list(trunk.tail)[1:], model.spec.modules[1:], strict=True)


def _store(weights: WeightFile, layer: nn.Module, spec: object) -> Module:
    tensors = {name: value.detach().numpy() for name, value in layer.state_dict().items()}
    if isinstance(spec, Dense):
        return store_linear(
            weights, tensors["linear.weight"], tensors.get("linear.bias"), tanh=spec.activation == "tanh"
        )
    if isinstance(spec, LayerNorm):
        scale, bias = (weights.add(numpy_helper.from_array(tensors[f"norm.{name}"])) for name in ("weight", "bias"))
        return Norm(scale, bias, spec.width, epsilon=nn.LayerNorm(1).eps)
    return Unit()


def _exit_tail(model: Model, modules: tuple[Module, ...], exit: Exit, weights: WeightFile) -> Tail:
    projection: Linear | None = None
    if exit.projection is not None:
        projection = store_linear(weights, exit.projection.numpy(), None)
    classifiers = {
        dim: store_linear(weights, weight.numpy(), bias.numpy()) for dim, (weight, bias) in exit.classifiers.items()
    }
    return Tail(model.spec.pooling, modules, projection, classifiers)


def _save(graph: onnx.ModelProto, path: Path, depth: int, dim: int | None) -> Written:
    if opset_of(graph) > NEWEST_OPSET:
        raise ModelError(f"{path.name} is of opset {opset_of(graph)}, newer than the oldest onnxruntime reads")
    shape_inference.infer_shapes(graph, check_type=True, strict_mode=True)  # DeBERTa's needs the value_info
    del graph.graph.value_info[:]  # and the runtime infers shapes itself
    for node in graph.graph.node:  # a fifth of the file, and the names of its outputs say the same
        node.ClearField("name")
    path.write_bytes(graph.SerializeToString(deterministic=True))
    onnx.checker.check_model(path)
    return Written(path, depth, dim)
