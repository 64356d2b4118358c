"""Some graphs of a precision and of `weights.bin` only the bytes that they read: what one configuration ships.

Graphs refer to ranges of the one weight file (`export/weights.py`). Ranges that share bytes, as a head that is a
prefix of another's, stay one; each keeps its alignment, so that a runtime maps the new file as it did the old one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
from mrl_edge.export.weights import FILE, aligned
from onnx import TensorProto

from mrl_edge.errors import BundleError


@dataclass(frozen=True)
class Range:
    """Bytes start:end of a weight file, and from where on they stand in the new one."""

    start: int
    end: int
    new: int


def repack(graphs: Sequence[Path], folder: Path) -> dict[Path, int]:
    """Write graphs of one weight file, and what they need of it, into `folder`; return the weight bytes of each.

    They keep their names, and two of one name must be the same file. Raises `BundleError` where a graph refers to
    something else than its folder's weight file.
    """
    models = {graph: onnx.load(graph, load_external_data=False) for graph in graphs}
    read = {graph: [_range(graph, tensor) for tensor in _external(model)] for graph, model in models.items()}
    ranges = _placed(_merged(each for found in read.values() for each in found))
    _copy(graphs[0].with_name(FILE), folder / FILE, ranges)
    for graph, model in models.items():
        for tensor in _external(model):
            _move(tensor, ranges)
        (folder / graph.name).write_bytes(model.SerializeToString(deterministic=True))
    return {graph: sum(end - start for start, end in _merged(found)) for graph, found in read.items()}


def _external(model: onnx.ModelProto) -> list[TensorProto]:
    return [tensor for tensor in model.graph.initializer if tensor.data_location == TensorProto.EXTERNAL]


def _range(graph: Path, tensor: TensorProto) -> tuple[int, int]:
    entries = {entry.key: entry.value for entry in tensor.external_data}
    try:
        start, length = int(entries["offset"]), int(entries["length"])
    except (KeyError, ValueError):
        raise BundleError(f"{graph} does not say where {tensor.name} lies: export the bundle again") from None
    if entries.get("location") != FILE or start < 0 or start + length > graph.with_name(FILE).stat().st_size:
        raise BundleError(f"{graph} refers to weights outside its {FILE}: export the bundle again")
    return start, start + length


def _merged(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return ranges of which those that share bytes are one, ascending; one of no bytes is left out."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted((start, end) for start, end in ranges if start < end):
        if merged and start < merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((start, end))
    return merged


def _placed(ranges: Iterable[tuple[int, int]]) -> list[Range]:
    placed, position = [], 0
    for start, end in ranges:
        new = aligned(position, end - start)
        placed.append(Range(start, end, new))
        position = new + end - start
    return placed


def _copy(old: Path, new: Path, ranges: Sequence[Range]) -> None:
    with old.open("rb") as source, new.open("wb") as target:
        for each in ranges:
            target.write(b"\0" * (each.new - target.tell()))
            source.seek(each.start)
            target.write(source.read(each.end - each.start))


def _move(tensor: TensorProto, ranges: Sequence[Range]) -> None:
    for entry in tensor.external_data:
        if entry.key == "offset":
            offset = int(entry.value)
            inside = next((each for each in ranges if each.start <= offset < each.end), None)
            # A tensor of no bytes lies in none of them, or in that of its neighbour.
            entry.value = str(inside.new + offset - inside.start) if inside else "0"
