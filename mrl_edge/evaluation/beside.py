"""Other models in the same tables: an untouched encoder, another training, or models of one dimension each (FF)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mrl_edge.bundle import MANIFEST, open_bundle
from mrl_edge.errors import MrlEdgeError, UsageError
from mrl_edge.evaluation.source import ENCODER, Source, open_source
from mrl_edge.evaluation.task import Task
from mrl_edge.nesting import select_dims
from mrl_edge.train.record import RECORD, read_record

_OURS = (MANIFEST, RECORD)  # what makes a folder a bundle or a trained model


@dataclass(frozen=True)
class Beside:
    """A model that another one is compared with; `sources` are one of all dimensions, or one a dimension."""

    name: str  # as tables call it
    folder: str
    sources: tuple[Source, ...]


def open_beside(
    given: Sequence[str], evaluated: Source, task: Task, precision: str | None, threads: int | None, provider: str
) -> tuple[Beside, ...]:
    """Open each `NAME=FOLDER`, or `FOLDER`, at the evaluated model's dimensions.

    `precision` and `provider` are those of every bundle. Raises `UsageError` for what cannot stand in the same table:
    a folder that is no model, one without a dimension, of other inputs or of other classes.
    """
    found: dict[str, Beside] = {}
    for text in given:
        name, folder = _parse(text)
        if name in found:
            raise UsageError(f"--beside {text}: two models are called {name}: name them, as in NAME=FOLDER")
        try:
            found[name] = Beside(name, folder, _open(folder, evaluated.dims, precision, threads, provider))
        except MrlEdgeError as error:
            raise UsageError(f"--beside {text}: {error}") from None
        for source in found[name].sources:
            _check(source, evaluated, task)
    _check_classes([evaluated, *(source for other in found.values() for source in other.sources)], task)
    return tuple(found.values())


def _parse(text: str) -> tuple[str, str]:
    """Return name and folder; a folder, or hub id, without a name is called by its last part."""
    name, named, folder = text.partition("=")
    if not named or Path(text).exists():
        name, folder = Path(text).name or Path(text).resolve().name, text
    if not name or not folder:
        raise UsageError(f"--beside {text}: expected NAME=FOLDER, or FOLDER")
    return name, folder


def _open(
    folder: str, dims: tuple[int, ...], precision: str | None, threads: int | None, provider: str
) -> tuple[Source, ...]:
    alone = _models_of_one_dimension(Path(folder))
    if not alone:
        return (_open_one(folder, dims, precision, threads, provider),)
    chosen = select_dims(dims, sorted(alone), folder)
    sources = tuple(_open_one(str(alone[dim]), (dim,), precision, threads, provider) for dim in chosen)
    for source in sources:
        source.method = "ff"
    return sources


def _open_one(folder: str, dims: tuple[int, ...], precision: str | None, threads: int | None, provider: str) -> Source:
    if (Path(folder) / MANIFEST).is_file():
        return open_source(folder, precision, dims, threads, provider)
    return open_source(folder, None, dims, threads)


def _models_of_one_dimension(folder: Path) -> dict[int, Path]:
    """Return what a folder of models holds, by dimension; nothing when it is itself a model or holds none."""
    if not folder.is_dir() or any((folder / file).is_file() for file in (*_OURS, *ENCODER)):
        return {}
    found: dict[int, Path] = {}
    for model in sorted(item for item in folder.iterdir() if any((item / file).is_file() for file in _OURS)):
        dims = open_bundle(model).manifest.dims if (model / MANIFEST).is_file() else read_record(model).dims
        if len(dims) > 1:
            raise UsageError(f"it holds {model.name}, of {len(dims)} dimensions: give that folder, or models of one")
        if dims[0] in found:
            raise UsageError(f"{found[dims[0]].name} and {model.name} are both of dimension {dims[0]}")
        found[dims[0]] = model
    return found


def _check(source: Source, evaluated: Source, task: Task) -> None:
    if source.modality != task.modality:
        raise UsageError(f"--beside {source.name} embeds {source.modality}s, and {evaluated.name} {task.modality}s")


def _check_classes(sources: Sequence[Source], task: Task) -> None:
    """Refuse class heads of different classes: their accuracies would not be of one task."""
    if task.labelled is None:
        return
    first, *others = [source for source in sources if source.classes] or [sources[0]]
    for other in others:
        different = sorted(set(first.classes) ^ set(other.classes))
        if different:
            raise UsageError(
                f"--beside: {first.name} and {other.name} tell different classes apart: {different[0]!r} is of one only"
            )
