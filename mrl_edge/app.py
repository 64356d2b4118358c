"""What `mrl-edge ship` wrote, opened on a board: texts in, hits, vectors or classes out.

    app = open_app("app")
    for hit in app.search("a small musical phrase", k=5): ...
    answer = app.ask("a small musical phrase", deadline_ms=20)  # answer.value, answer.level, answer.ms

This module and those that it imports are copied into the folder. They need numpy, onnxruntime and tokenizers, and
annoy, or usearch, where the index is one of theirs. Importing numpy and onnxruntime takes most of a start, so that this
module needs neither: `opened.py` does, which is imported while files are compared and the tokenizer is read.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NoReturn

from mrl_edge.description import TOKENIZER, EncoderInfo, ImageInput, Parameters, Step, VectorsInfo
from mrl_edge.errors import BundleError
from mrl_edge.hashing import sha256
from mrl_edge.later import Later
from mrl_edge.providers import CPU

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from mrl_edge.opened import App

SCHEMA_VERSION = 2  # 1 had no `provider`
MANIFEST = "app.json"
WEIGHTS = "weights.bin"  # beside its graphs, which name it
_SMALL = 1 << 20  # bytes that are compared sooner than a thread gets its turn


@dataclass(frozen=True)
class ShippedIndex:
    """An index of one dimension, and by which steps its shortlist is ranked again."""

    dim: int
    kind: str
    file: str | None  # a scan reads the vectors alone
    parameters: Parameters
    steps: tuple[Step, ...]
    vectors: VectorsInfo | None  # none: the index brings its own copy and nothing is ranked again
    order: str | None  # int32 [n_rows], the item of each row; none: row i is item i


@dataclass(frozen=True)
class ShippedLevel:
    """One graph, and what it is searched with; `resident_bytes` is what it reads of the folder."""

    name: str
    graph: str
    inputs: tuple[str, ...]
    dim: int
    depth: int
    resident_bytes: int
    index: ShippedIndex | None


@dataclass(frozen=True)
class AppInfo:
    """All that `app.json` says, but for the hashes of the files."""

    schema_version: int
    name: str
    bundle_sha256: str  # of what it was shipped from, `Bundle.identity()`
    precision: str
    target: str
    threads: int
    runtime: tuple[str, ...]  # `mrl_edge.levers`
    provider: str  # `mrl_edge.providers`
    encoder: EncoderInfo
    classes: tuple[str, ...]
    levels: tuple[ShippedLevel, ...]  # best first
    documents: str | None
    offsets: str | None


def open_app(folder: str | Path, threads: int | None = None) -> App:
    """Open a shipped folder after comparing every file of it with `app.json`.

    `threads` are those of a call (None: as it was measured). Raises `BundleError` for a folder that was changed. No
    library reads a file whose own sha256 was not compared before.
    """
    folder = Path(folder)
    info, files = _read(folder)
    _check_places(folder, files)
    vocabulary = {TOKENIZER: files.pop(TOKENIZER)}
    large = {name: entry for name, entry in files.items() if entry[0] >= _SMALL}
    _compare(folder, {name: entry for name, entry in files.items() if name not in large})
    compared = Later(lambda: _compare(folder, large))
    from mrl_edge.tokenizer import load_tokenizer

    def read() -> Tokenizer:
        _compare(folder, vocabulary)
        return load_tokenizer(folder / TOKENIZER, info.encoder.max_tokens)

    tokenizer = Later(read)
    from mrl_edge.opened import App

    compared.get()
    return App(folder, info, info.threads if threads is None else threads, tokenizer.get())


def peak_rss_bytes() -> int | None:
    """Return the most memory that this process had (Linux's VmHWM); None where the system does not say."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM")), None)


def leave() -> NoReturn:
    """End a process that has answered, at once: freeing all that it opened, to no end, takes a tenth of its time."""
    with suppress(BrokenPipeError):  # nobody reads on
        sys.stdout.flush()
    os._exit(0)


_Files = dict[str, tuple[int, str]]  # by path in the folder: bytes, sha256


def _read(folder: Path) -> tuple[AppInfo, _Files]:
    """Read `app.json`: what the folder is, and the size and hash of each of its files."""
    path = folder / MANIFEST
    if not path.is_file():
        raise BundleError(f"{folder} is no shipped folder (it has no {MANIFEST}): make one with mrl-edge ship")
    try:
        said = json.loads(path.read_bytes())
        if said["schema_version"] > SCHEMA_VERSION:
            raise BundleError(f"{path} has schema_version {said['schema_version']}, newer than this folder's modules")
        files = {str(name): (entry["bytes"], entry["sha256"]) for name, entry in said.pop("files").items()}
        info = _info(said)
        unlisted = [name for name in _used(info) if name not in files]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BundleError(f"{path} is damaged ({error!r}): copy the folder again, or ship it again") from None
    if unlisted:  # no hash covers it
        raise BundleError(
            f"{path} does not list {unlisted[0]!a}, which it uses: copy the folder again, or ship it again"
        )
    return info, files


def _used(info: AppInfo) -> list[str]:
    """Return the files that are opened by the names that the manifest gives, and those beside them."""
    names: list[str | None] = [TOKENIZER, info.documents, info.offsets]
    for level in info.levels:
        names += [level.graph, (PurePosixPath(level.graph).parent / WEIGHTS).as_posix()]
        if level.index is not None:
            names += [level.index.file, level.index.order]
        if level.index is not None and level.index.vectors is not None:
            names += [level.index.vectors.file, level.index.vectors.lengths]
    return [name for name in names if name is not None]


def _check_places(folder: Path, files: _Files) -> None:
    """Raise `BundleError` unless each file is there, in the folder, and as large as it was."""
    inside = folder.resolve()
    for name, (size, _) in files.items():
        path = folder / name
        if Path(name).is_absolute() or ".." in Path(name).parts or not name.isprintable():
            raise BundleError(f"{folder / MANIFEST} names a file outside the folder: {name!a}")
        if not path.is_file():
            raise BundleError(f"{path} is missing: copy the folder again")
        if not path.resolve().is_relative_to(inside):
            raise BundleError(f"{path} leads outside the folder: copy the folder again")
        if path.stat().st_size != size:
            raise _changed(path)


def _compare(folder: Path, files: _Files) -> None:
    """Raise `BundleError` unless each file's bytes are those that were shipped."""
    for name, (_, digest) in files.items():
        if sha256(folder / name) != digest:
            raise _changed(folder / name)


def _changed(path: Path) -> BundleError:
    return BundleError(f"{path} is not the file that was shipped (sha256 differs): copy the folder again")


def _info(said: dict[str, Any]) -> AppInfo:
    """Return what JSON says as dataclasses, whose tuples it knows as lists."""
    if said["schema_version"] == 1:
        said["provider"] = CPU  # folders of that version were all of the processor
    image = said["encoder"].pop("image")
    encoder = EncoderInfo(**said.pop("encoder"), image=image and ImageInput(**_tuples(image)))
    levels = tuple(_level(level) for level in said.pop("levels"))
    if not levels:
        raise ValueError("no levels")
    return AppInfo(**_tuples(said), encoder=encoder, levels=levels)


def _level(said: dict[str, Any]) -> ShippedLevel:
    index = said.pop("index")
    return ShippedLevel(**_tuples(said), index=index and _index(index))


def _index(said: dict[str, Any]) -> ShippedIndex:
    vectors, steps = said.pop("vectors"), said.pop("steps")
    found = VectorsInfo(**_tuples(vectors)) if vectors else None
    return ShippedIndex(**said, steps=tuple(Step(**step) for step in steps), vectors=found)


def _tuples(said: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in said.items()}
