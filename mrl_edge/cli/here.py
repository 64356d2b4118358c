"""What lies in a folder that a command of ours made or can take, found by looking and without running anything."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from mrl_edge.bundle import MANIFEST, open_bundle
from mrl_edge.errors import MrlEdgeError

Kind = Literal["table", "encoder", "model", "bundle", "results", "choice", "app"]
ORDER: tuple[Kind, ...] = ("table", "encoder", "model", "bundle", "results", "choice", "app")  # of the work
_MOST_BYTES = 1 << 26  # of a JSON file that may be one of ours
_MOST_ENTRIES = 1000  # of a folder


@dataclass(frozen=True)
class Thing:
    """One file or folder: its path from the folder looked at, what it is in words, and what a command needs of it."""

    kind: Kind
    path: str
    what: str
    dims: tuple[int, ...] = ()  # of a model or a bundle
    columns: tuple[str, ...] = ()  # of a table
    indexed: bool = False
    fits: bool = True  # of a choice
    usable: bool = True  # `what` says why not
    bundle: str = ""  # of a bundle what it is, of a choice what it was measured on (`Bundle.identity`)
    again: bool = False  # of results that were interrupted


def look(folder: Path) -> list[Thing]:
    """Return what is in a folder, in the order of the work, or the folder itself where it is one of ours.

    Folders that are none of ours are looked into once, for what an earlier run, as `quickstart`, left there.
    """
    itself = _folder(folder, ".")
    if itself is not None:
        return [itself]
    found: list[Thing] = []
    for path in _visible(folder):
        if path.is_dir():
            thing = _folder(path, path.name)
            found += [thing] if thing else _inside(path)
        else:
            found += _file(path, path.name)
    return sorted(found, key=lambda thing: (ORDER.index(thing.kind), thing.path.count("/"), thing.path))


def _inside(folder: Path) -> Iterator[Thing]:
    for path in _visible(folder):
        name = f"{folder.name}/{path.name}"
        if path.is_dir():
            thing = _folder(path, name)
            if thing is not None and thing.kind != "encoder":
                yield thing
        elif path.suffix == ".json" and path.name.startswith(("results", "choice")):  # of many that may lie there
            yield from _file(path, name)


def _visible(folder: Path) -> list[Path]:
    try:
        paths = [path for path in folder.iterdir() if path.name.isprintable() and not path.name.startswith(".")]
    except OSError:
        return []
    return sorted(paths)[:_MOST_ENTRIES]


def _folder(path: Path, name: str) -> Thing | None:
    try:
        if (path / MANIFEST).is_file():
            return _bundle(path, name)
        if (path / "mrl.json").is_file():
            return _model(path, name)
        if (path / "app.json").is_file() and (path / "example.py").is_file():
            return Thing("app", name, "a shipped application")
        if (path / "config.json").is_file() and any(path.glob("*.safetensors")):
            return Thing("encoder", name, "an encoder that was not trained here")
    except OSError:
        return None
    return None


def _bundle(path: Path, name: str) -> Thing:
    try:
        bundle = open_bundle(path)
    except MrlEdgeError as error:
        return Thing("bundle", name, str(error), usable=False)
    there = bundle.manifest
    index = f"{there.index.n_items:,} documents indexed" if there.index else "no index"
    if bundle.has_old_index:
        index = "an index that an earlier version made"
    what = f"a bundle: {_list(bundle.precisions())} at {_span(there.dims)}, {index}"
    return Thing("bundle", name, what, there.dims, indexed=there.index is not None, bundle=bundle.identity())


class _Record(msgspec.Struct):
    source: str
    dims: tuple[int, ...]
    classes: tuple[str, ...]


def _model(path: Path, name: str) -> Thing:
    record = _decoded(path / "mrl.json", _Record)
    if record is None or not record.dims:
        return Thing("model", name, "a trained model whose mrl.json is damaged", usable=False)
    classes = f", {len(record.classes)} classes" if record.classes else ""
    return Thing("model", name, f"a trained model: {record.source} at {_span(record.dims)}{classes}", record.dims)


class _Processor(msgspec.Struct):
    cpu: str


class _Narrowing(msgspec.Struct):
    finished: bool = True


class _Results(msgspec.Struct):
    device: _Processor
    measurements: list[msgspec.Raw]
    narrowing: _Narrowing | None = None


class _Identity(msgspec.Struct):
    sha256: str = ""


class _Choice(msgspec.Struct):
    fits: bool
    configuration: dict[str, Any] | None = None
    bundle: _Identity = msgspec.field(default_factory=_Identity)


def _file(path: Path, name: str) -> Iterator[Thing]:
    from mrl_edge.readers import is_table

    if path.suffix == ".json":
        results, choice = _decoded(path, _Results), _decoded(path, _Choice)
        if results is not None:
            count = f"{len(results.measurements):,} measured configurations"
            again = results.narrowing is not None and not results.narrowing.finished
            said = ", interrupted: the same mrl-edge tune goes on" if again else ""
            yield Thing("results", name, f"results: {count} on {results.device.cpu}{said}", again=again)
        elif choice is not None:
            yield Thing("choice", name, _chosen(choice), fits=choice.fits, bundle=choice.bundle.sha256)
    elif is_table(path):
        yield _table(path, name)


def _table(path: Path, name: str) -> Thing:
    from mrl_edge.readers import column_names

    try:
        columns = column_names(path)
    except MrlEdgeError as error:
        return Thing("table", name, str(error).replace(str(path), "this table"), usable=False)
    known = f" with the columns {_list(columns)}" if columns else ""
    return Thing("table", name, f"a table{known}", columns=columns)


def _chosen(choice: _Choice) -> str:
    if not choice.fits or choice.configuration is None:
        return "the answer of pick: nothing fits"
    found = choice.configuration
    return f"the choice of pick: {found.get('precision')} at dimension {found.get('dim')}"


def _decoded(path: Path, kind: type[Any]) -> Any:
    """Read a JSON file as a struct of few fields; None where it is something else."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind) if path.stat().st_size <= _MOST_BYTES else None
    except (OSError, msgspec.DecodeError, RecursionError):
        return None


def _span(dims: tuple[int, ...]) -> str:
    return f"dimension {dims[0]}" if len(dims) == 1 else f"dimensions {dims[0]} to {dims[-1]}"


def _list(names: tuple[str, ...]) -> str:
    return ", ".join(names)
