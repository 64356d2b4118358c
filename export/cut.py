"""One exit's graph out of the trunk's: only what its output needs, so that skipped layers leave nothing behind."""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from onnx import GraphProto, NodeProto, TensorProto, helper


def cut_at(model: onnx.ModelProto, output: str) -> onnx.ModelProto:
    """Return a model whose one output is the float tensor `output`: the nodes and initializers that lead to it.

    Each node comes after those that it reads, which onnxruntime's quantiser does not see to where a branch reads (as
    in DeBERTa); else the order stays. The inputs are kept as they are, used or not. Weights must be references or
    small: they are copied. Raises `ValueError` when nothing in the model makes `output`.
    """
    makers = {name: place for place, node in enumerate(model.graph.node) for name in node.output if name}
    if output not in makers:
        raise ValueError(f"the graph has no tensor {output}")
    kept: set[int] = set()
    needed: set[str] = set()
    waiting = [output]
    while waiting:
        name = waiting.pop()
        if name in needed:
            continue
        needed.add(name)
        place = makers.get(name)
        if place is not None and place not in kept:
            kept.add(place)
            waiting.extend(_reads(model.graph.node[place]))
    return _with_parts(model, output, _ordered(model, makers, kept), needed)


def _ordered(model: onnx.ModelProto, makers: dict[str, int], kept: set[int]) -> list[int]:
    """Return the places of the kept nodes, each after those that it reads."""
    order: dict[int, None] = {}
    for place in sorted(kept):
        waiting = [place]
        while waiting:
            reads = (makers.get(name) for name in _reads(model.graph.node[waiting[-1]]))
            missing = [other for other in reads if other is not None and other not in order]
            if missing:
                waiting.extend(missing)
            else:
                order[waiting.pop()] = None
    return list(order)


def _with_parts(model: onnx.ModelProto, output: str, kept: list[int], needed: set[str]) -> onnx.ModelProto:
    cut = onnx.ModelProto()
    cut.CopyFrom(model)
    graph = cut.graph
    for parts in (graph.node, graph.initializer, graph.output, graph.value_info):
        del parts[:]
    graph.node.extend(model.graph.node[place] for place in kept)
    graph.initializer.extend(tensor for tensor in model.graph.initializer if tensor.name in needed)
    graph.value_info.extend(value for value in model.graph.value_info if value.name in needed)
    there = [value for value in model.graph.output if value.name == output]
    graph.output.append(there[0] if there else helper.make_tensor_value_info(output, TensorProto.FLOAT, None))
    return cut


def _reads(node: NodeProto) -> Iterator[str]:
    """Yield the names of the tensors that a node reads, those that only its subgraphs read included."""
    yield from (name for name in node.input if name)
    for attribute in node.attribute:
        for graph in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
            yield from _outer_reads(graph)


def _outer_reads(graph: GraphProto) -> Iterator[str]:
    own = {value.name for value in (*graph.input, *graph.initializer)}
    own |= {name for node in graph.node for name in node.output}
    for node in graph.node:
        yield from (name for name in _reads(node) if name not in own)
    yield from (value.name for value in graph.output if value.name not in own)
