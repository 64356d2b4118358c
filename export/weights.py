"""One `weights.bin` a precision: every tensor is stored once, and every graph refers to ranges of it.

ONNX external data (onnx/docs/ExternalData.md): a tensor is (file beside the graph, offset, length), so a
smaller head can be a prefix of a larger one's bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO

import onnx
from onnx import TensorProto, numpy_helper

FILE = "weights.bin"
_PAGE = 4096  # large tensors start on a page, so that a runtime can map them
_LINE = 64  # small ones on a cache line
_INLINE_BYTES = 256  # below this a tensor stays in its graph: shape constants must, and the rest is not worth it


@dataclass(frozen=True)
class Stored:
    """Where a tensor's bytes lie in the weight file."""

    data_type: int
    offset: int

    def tensor(self, name: str, shape: tuple[int, ...], bytes_per_row: int) -> TensorProto:
        """Return an initializer of `shape` that reads the first rows of what is stored."""
        reference = TensorProto(name=name, data_type=self.data_type, dims=shape)
        _refer(reference, self.offset, shape[0] * bytes_per_row)
        return reference


class WeightFile:
    """Appends tensors to an open weight file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def add(self, tensor: TensorProto) -> Stored:
        """Append a tensor's bytes and return where they are."""
        content = _bytes_of(tensor)
        position = self._file.tell()
        offset = aligned(position, len(content))
        self._file.write(b"\0" * (offset - position) + content)
        return Stored(tensor.data_type, offset)

    def move(self, model: onnx.ModelProto) -> None:
        """Move the initializers of a model into the file and leave references to them."""
        for tensor in model.graph.initializer:
            length = len(_bytes_of(tensor))
            if length < _INLINE_BYTES:
                continue
            stored = self.add(tensor)
            reference = TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
            _refer(reference, stored.offset, length)
            tensor.CopyFrom(reference)


def aligned(position: int, length: int) -> int:
    """Return where a tensor of `length` bytes may start, from a position in the file on."""
    alignment = _PAGE if length >= _PAGE else _LINE
    return -(-position // alignment) * alignment


def _bytes_of(tensor: TensorProto) -> bytes:
    """Return a tensor's bytes as ONNX stores them: 4-bit values two a byte, which numpy would unpack."""
    return tensor.raw_data if tensor.HasField("raw_data") else numpy_helper.to_array(tensor).tobytes()


def _refer(tensor: TensorProto, offset: int, length: int) -> None:
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", FILE), ("offset", str(offset)), ("length", str(length))):
        tensor.external_data.add(key=key, value=value)
