"""What a conversion is given and what it may leave alone: the words that the files of this package share."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path

import onnx
from onnx import TensorProto

from mrl_edge.tokens import Batch

Levels = Mapping[str, str]  # node → the precision that it fell back to; the others are converted


@dataclass(frozen=True)
class Job:
    """One conversion to be made: the fp32 trunk, where to write, for what processor, on what texts."""

    trunk: Path
    folder: Path  # scratch, for this precision and target alone
    target: str
    calibration: Sequence[Batch] = ()


@dataclass(frozen=True)
class Candidate:
    """One way to make a precision; when there are several, measured fidelity and size choose."""

    convert: Callable[[Job, Levels], Path]
    settings: Mapping[str, str | int] = field(default_factory=dict)  # what tells it from the others


def weighted_nodes(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """Return the nodes that hold the weights: products with a constant matrix, and look-ups in a table.

    Of a net that has neither they are its convolutions; the one of a vision transformer, which sees the pixels, is
    left as it is.
    """
    floats = (TensorProto.FLOAT, TensorProto.FLOAT16)
    matrices = {t.name for t in model.graph.initializer if t.data_type in floats and len(t.dims) == 2}
    place = {"MatMul": 1, "Gather": 0}
    found = [n for n in model.graph.node if n.op_type in place and n.input[place[n.op_type]] in matrices]
    return found or [n for n in model.graph.node if n.op_type == "Conv"]


def names_of(nodes: Sequence[onnx.NodeProto], kind: str, levels: Levels, level: str | None = None) -> list[str]:
    """Return the names of the nodes of a kind that are at a level; None: that have not fallen back."""
    return [node.name for node in nodes if node.op_type == kind and levels.get(node.name) == level]


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the quantisers: they log every node, print, and importing one configures the root logger."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    logging.disable(logging.WARNING)
    try:
        with redirect_stdout(StringIO()):
            yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        logging.disable(logging.NOTSET)
