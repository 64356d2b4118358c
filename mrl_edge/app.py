"""What `mrl-edge ship` wrote, opened on a board: texts in, hits, vectors or classes out.

    app = open_app("app")
    for hit in app.search("a small musical phrase", k=5): ...
    answer = app.ask("a small musical phrase", deadline_ms=20)  # answer.value, answer.level, answer.ms

This module and those that it imports are copied into the folder. They need numpy, onnxruntime and tokenizers, and
annoy, or usearch, where the index is one of theirs.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from mrl_edge.adaptive import Adaptive, Answer
from mrl_edge.adaptive import Level as Way
from mrl_edge.atomic import sha256
from mrl_edge.cascade import Cascade
from mrl_edge.description import TOKENIZER, EncoderInfo, ImageInput, VectorsInfo
from mrl_edge.errors import BundleError, UsageError
from mrl_edge.feeds import make_feeder
from mrl_edge.index import Index
from mrl_edge.index.adaptive import Step
from mrl_edge.index.documents import Documents, Hit
from mrl_edge.index.kinds import Parameters, open_steps
from mrl_edge.index.vectors import VectorStore, check_files, map_bytes
from mrl_edge.metrics import top_k
from mrl_edge.nesting import Floats
from mrl_edge.runtime import Encoder, Model, open_session

SCHEMA_VERSION = 1
MANIFEST = "app.json"
WEIGHTS = "weights.bin"  # beside its graphs, which name it


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
    encoder: EncoderInfo
    classes: tuple[str, ...]
    levels: tuple[ShippedLevel, ...]  # best first
    documents: str | None
    offsets: str | None


def open_app(folder: str | Path, threads: int | None = None) -> App:
    """Open a shipped folder after comparing every file of it with `app.json`.

    `threads` are those of a call (None: as it was measured). Raises `BundleError` for a folder that was changed.
    """
    folder = Path(folder)
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
    for name, (size, digest) in files.items():
        _check(folder, name, size, digest)
    return App(folder, info, info.threads if threads is None else threads)


class App:
    """A shipped folder. Calls may come from several threads."""

    def __init__(self, folder: Path, info: AppInfo, threads: int) -> None:
        self.info = info
        self._folder, self._threads = folder, threads
        self._levels: dict[int, OpenLevel] = {}
        self._adaptive = Adaptive([self._way(number, level.name) for number, level in enumerate(info.levels)])

    def ask(
        self,
        text: str,
        k: int = 10,
        deadline_ms: float | None = None,
        max_bytes: int | None = None,
        level: str | None = None,
    ) -> Answer[list[Hit]]:
        """Answer a text with what was shipped: the k nearest documents, or likeliest classes, or the vector's columns.

        The best level answers, or the best one that is expected within a deadline and reads no more than `max_bytes`
        of the folder, as do all that are open together (`Adaptive`). What a process needs beside that, Python,
        onnxruntime and its working memory, is not counted: `mrl-edge ship` prints each level's peak. Calls of several
        threads wait for each other. `level` names the one that answers, whatever it takes.
        """
        return self._adaptive(text, k, deadline_ms=deadline_ms, max_bytes=max_bytes, level=level)

    def warm_up(self, text: str, max_bytes: int | None = None) -> None:
        """Open all levels that fit the memory, so that no later call pays for it."""
        self._adaptive.warm_up(text, 10, max_bytes=max_bytes)

    def search(self, query: str, k: int = 10) -> list[Hit]:
        """Return the k nearest documents, best first; `UsageError` where it was shipped without documents."""
        return self.level(0).search(query, k)

    def encode(self, texts: Sequence[str], prompt: str | None = "query") -> Floats:
        """Return float32 [n, dim] with L2-normalised rows; `prompt` as of `Encoder.encode`."""
        return self.level(0).encoder.encode(texts, prompt)

    def classify(self, texts: Sequence[str]) -> Floats:
        """Return class probabilities [n, classes], columns in the order of `info.classes`."""
        return self.level(0).encoder.classify(texts)

    def level(self, number: int) -> OpenLevel:
        """Return one of `info.levels` by its number, opened once."""
        with self._adaptive.lock:
            if number not in self._levels:
                self._levels[number] = self._opened(number)
            return self._levels[number]

    def _opened(self, number: int) -> OpenLevel:
        level, info = self.info.levels[number], self.info
        feeder = make_feeder(self._folder, info.encoder, level.inputs)
        session = open_session(self._folder / level.graph, self._threads, info.target, info.runtime)
        encoder = Encoder(Model(feeder, session, info.classes), level.dim, info.precision, level.depth)
        if level.index is None or info.documents is None or info.offsets is None:
            return OpenLevel(encoder, None, None)
        documents = Documents(self._folder / info.documents, self._folder / info.offsets)
        return OpenLevel(encoder, _open_index(self._folder, level.index), documents)

    def _way(self, number: int, name: str) -> Way[list[Hit]]:
        size = self.info.levels[number].resident_bytes
        return Way(name, lambda: self.level(number).ask, size, lambda: self._levels.pop(number, None))

    def adaptive_classifier(self, thresholds: Sequence[float]) -> AdaptiveClassifier:
        """Return all levels as one classifier: the least whose answer is at least as sure as its threshold answers.

        `thresholds` are of the levels from the least on, but for the best, which always answers (`Cascade`).
        """
        return AdaptiveClassifier([self.level(number).encoder for number in range(len(self.info.levels))], thresholds)


class OpenLevel:
    """One level: an encoder, and an index of documents where they were shipped."""

    def __init__(self, encoder: Encoder, index: Index | None, documents: Documents | None) -> None:
        self.encoder = encoder
        self._index, self._documents = index, documents

    def search(self, query: str, k: int = 10) -> list[Hit]:
        """Return the k nearest documents, best first."""
        if self._index is None or self._documents is None:
            raise UsageError("this folder was shipped without documents: it encodes, and has nothing to search in")
        return self._documents.hits(self._index, self.encoder.encode([query], "query")[0], k)

    def ask(self, text: str, k: int) -> list[Hit]:
        """Answer as `App.ask` does."""
        if self._documents is not None:
            return self.search(text, k)
        if not self.encoder.classes:
            return [Hit(i, float(value), "") for i, value in enumerate(self.encoder.encode([text], "query")[0])]
        shares = self.encoder.classify([text])[0]
        return [Hit(int(i), float(shares[i]), self.encoder.classes[i]) for i in top_k(shares, k)]


class AdaptiveClassifier:
    """Encoders, best first, asked from the least on until one is sure enough (`Cascade`)."""

    def __init__(self, encoders: Sequence[Encoder], thresholds: Sequence[float]) -> None:
        self._encoders = list(reversed(encoders))
        self._cascade = Cascade(tuple(range(1, len(encoders) + 1)), tuple(thresholds))
        self.classes = encoders[0].classes

    def __call__(self, text: str) -> tuple[str, float, Encoder]:
        """Return a text's class, its probability, and the encoder that was sure of it."""
        probabilities: dict[int, Floats] = {}

        def ask(place: int) -> Floats:
            probabilities[place] = self._encoders[place - 1].classify([text])[0]
            return probabilities[place]

        chosen, place = self._cascade.first_sure(ask)
        return self.classes[chosen], float(probabilities[place][chosen]), self._encoders[place - 1]


def peak_rss_bytes() -> int | None:
    """Return the most memory that this process had (Linux's VmHWM); None where the system does not say."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM")), None)


def _open_index(folder: Path, index: ShippedIndex) -> Index:
    store, info = None, index.vectors
    if info is not None:
        check_files(info, folder / info.file, folder / info.lengths)
        store = VectorStore(info, folder / info.file, folder / info.lengths)
    order = None if index.order is None else map_bytes(folder / index.order).view("<i4")
    return open_steps(index, store, folder / (index.file or ""), index.steps, order)


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


def _check(folder: Path, name: str, size: int, digest: str) -> None:
    path = folder / name
    if Path(name).is_absolute() or ".." in Path(name).parts or not name.isprintable():
        raise BundleError(f"{folder / MANIFEST} names a file outside the folder: {name!a}")
    if not path.is_file():
        raise BundleError(f"{path} is missing: copy the folder again")
    if not path.resolve().is_relative_to(folder.resolve()):
        raise BundleError(f"{path} leads outside the folder: copy the folder again")
    if path.stat().st_size != size or sha256(path) != digest:
        raise BundleError(f"{path} is not the file that was shipped (sha256 differs): copy the folder again")


def _info(said: dict[str, Any]) -> AppInfo:
    """Return what JSON says as dataclasses, whose tuples it knows as lists."""
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
