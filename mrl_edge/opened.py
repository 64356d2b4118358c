"""A shipped folder whose files were compared: its levels, each opened when it is first asked.

What a level alone needs is imported when it opens, while onnxruntime reads its graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mrl_edge.adaptive import Adaptive, Answer
from mrl_edge.adaptive import Level as Way
from mrl_edge.errors import UsageError
from mrl_edge.feeds import TextFeeder
from mrl_edge.later import Later
from mrl_edge.runtime import Encoder, Model, open_session

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from mrl_edge.app import AppInfo, ShippedIndex, ShippedLevel
    from mrl_edge.cascade import AdaptiveClassifier
    from mrl_edge.index import Index
    from mrl_edge.index.documents import Documents, Hit
    from mrl_edge.nesting import Floats


class App:
    """A shipped folder. Calls may come from several threads."""

    def __init__(self, folder: Path, info: AppInfo, threads: int, tokenizer: Tokenizer) -> None:
        self.info = info
        self._folder, self._threads, self._tokenizer = folder, threads, tokenizer
        ways = [Way(each.name, partial(self._opened, each), each.resident_bytes) for each in info.levels]
        self._adaptive = Adaptive(ways, ask=OpenLevel.ask)

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
        threads wait for each other, which is taken off the deadline. `level` names the one that answers, whatever it
        takes.
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
        level: OpenLevel = self._adaptive.opened(number)
        return level

    def adaptive_classifier(self, thresholds: Sequence[float]) -> AdaptiveClassifier:
        """Return all levels as one classifier: the least whose answer is at least as sure as its threshold answers.

        `thresholds` are of the levels from the least on, but for the best, which always answers. Like `ask` it takes a
        deadline and a memory limit with each text; what is open is shared with it.
        """
        from mrl_edge.cascade import AdaptiveClassifier

        return AdaptiveClassifier(self._adaptive.asking(OpenLevel.shares), thresholds, self.info.classes)

    def _opened(self, level: ShippedLevel) -> OpenLevel:
        info = self.info
        # onnxruntime reads a graph beside Python, which imports and opens the index meanwhile.
        graph = self._folder / level.graph
        how = self._threads, info.target, info.runtime, info.provider, info.precision
        session = Later(lambda: open_session(graph, *how))
        try:
            index, documents = self._searched(level.index)
            feeder = TextFeeder(self._tokenizer, info.encoder, level.inputs)
        except BaseException:
            session.wait()  # or a next try would read the graph beside it
            raise
        encoder = Encoder(Model(feeder, session.get(), info.classes), level.dim, info.precision, level.depth)
        return OpenLevel(encoder, index, documents)

    def _searched(self, index: ShippedIndex | None) -> tuple[Index, Documents] | tuple[None, None]:
        if index is None or self.info.documents is None or self.info.offsets is None:
            return None, None
        from mrl_edge.index.documents import Documents

        documents = Documents(self._folder / self.info.documents, self._folder / self.info.offsets)
        return _open_index(self._folder, index), documents


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
        from mrl_edge.index.documents import Hit, check_k
        from mrl_edge.metrics import top_k

        check_k(k)
        if not self.encoder.classes:
            return [Hit(i, float(value), "") for i, value in enumerate(self.encoder.encode([text], "query")[0])]
        shares = self.shares(text)
        return [Hit(int(i), float(shares[i]), self.encoder.classes[i]) for i in top_k(shares, k)]

    def shares(self, text: str) -> Floats:
        """Return a text's class probabilities [classes]."""
        shares: Floats = self.encoder.classify([text])[0]
        return shares


def _open_index(folder: Path, index: ShippedIndex) -> Index:
    from mrl_edge.index.kinds import open_steps
    from mrl_edge.index.vectors import VectorStore, check_files, map_bytes

    store, info = None, index.vectors
    if info is not None:
        check_files(info, folder / info.file, folder / info.lengths)
        store = VectorStore(info, folder / info.file, folder / info.lengths)
    order = None if index.order is None else map_bytes(folder / index.order).view("<i4")
    return open_steps(index, store, folder / (index.file or ""), index.steps, order)
