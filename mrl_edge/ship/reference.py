"""What a shipped folder must answer: what the bundle's graphs and whole indexes do, and what an exact scan finds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mrl_edge.app import AppInfo
from mrl_edge.bundle import Bundle
from mrl_edge.encoder import Encoder, open_encoder
from mrl_edge.errors import UnsupportedError
from mrl_edge.index.corpus import open_documents
from mrl_edge.index.documents import Documents
from mrl_edge.metrics import top_k
from mrl_edge.nesting import prefix
from mrl_edge.ship.levels import Wanted
from mrl_edge.ship.searched import Made

HITS = 10  # as many as the example asks for
_TEXTS = 20
_SAMPLE = 100  # documents that are embedded again, beside the hits themselves
_TIED = 1e-3  # of cosines: a batch of other texts moves those of a quantised graph


@dataclass(frozen=True)
class Expected:
    """What the bundle answers to a text: numbers of documents, classes or columns, and their scores, best first."""

    text: str
    rows: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Reference:
    """The answers of one level, and what its hits can be compared with besides."""

    level: str
    expected: tuple[Expected, ...]
    encoder: Encoder
    dim: int  # that its last ranking is at
    documents: Documents | None
    n_items: int = 0

    def texts_of(self, numbers: Sequence[int]) -> list[str]:
        """Return the texts that an answer's numbers stand for: documents, or classes; of columns there is none."""
        if self.documents is not None:
            return self.documents.read(numbers)
        return [self.encoder.classes[number] if self.encoder.classes else "" for number in numbers]

    def recall_at_10(self, answers: Sequence[Sequence[int]]) -> float | None:
        """Return which share of the answers an exact scan of freshly embedded documents gives; None without documents.

        The documents are the answers themselves and a sample. Nothing of an index is read, so that rows in a wrong
        order, or vectors of another encoder, show.
        """
        if self.documents is None:
            return None
        sample = np.linspace(0, self.n_items - 1, min(_SAMPLE, self.n_items)).astype(int).tolist()
        numbers = sorted({*sample, *(number for answer in answers for number in answer)})
        place = {number: row for row, number in enumerate(numbers)}
        vectors = prefix(self.encoder.encode(self.documents.read(numbers), "document"), self.dim)
        shares = []
        for expected, answer in zip(self.expected, answers, strict=True):
            cosines = vectors @ prefix(self.encoder.encode([expected.text], "query"), self.dim)[0]
            least = np.sort(cosines)[-len(answer)] - _TIED
            shares.append(float(np.mean([cosines[place[number]] >= least for number in answer])))
        return float(np.mean(shares))


def references(bundle: Bundle, levels: Sequence[Wanted], info: AppInfo, made: Sequence[Made]) -> list[Reference]:
    """Answer texts at every level with the bundle's own graph, and over all columns of the vectors."""
    texts, found = _texts(bundle), []
    documents = open_documents(bundle) if made else None
    for number, (level, shipped) in enumerate(zip(levels, info.levels, strict=True)):
        encoder = open_encoder(bundle, level.variant, shipped.dim, info.threads, info.runtime, info.provider)
        own = made[number] if made else None
        expected = tuple(Expected(text, _rows(encoder, own, text)) for text in texts)
        dim = level.steps[-1].dim if level.steps else level.dim
        found.append(Reference(level.name, expected, encoder, dim, documents, own.corpus.store.n if own else 0))
    return found


def _rows(encoder: Encoder, made: Made | None, text: str) -> tuple[tuple[int, float], ...]:
    if made is not None:
        ids, scores = made.index.search(encoder.encode([text], "query")[0], HITS)
    elif encoder.classes:
        shares = encoder.classify([text])[0]
        ids = top_k(shares, HITS)
        scores = shares[ids]
    else:
        scores = encoder.encode([text], "query")[0]
        ids = np.arange(len(scores))
    return tuple((int(number), float(score)) for number, score in zip(ids, scores, strict=True))


def _texts(bundle: Bundle) -> list[str]:
    """Return real texts: those that the bundle carries, or documents."""
    samples = bundle.manifest.samples
    if samples is not None and samples.texts:
        texts: list[str] = json.loads(bundle.checked(samples.texts).read_text(encoding="utf-8"))
    elif bundle.manifest.index is not None:
        texts = open_documents(bundle).read(range(min(_TEXTS, bundle.manifest.index.n_items)))
    else:
        texts = []
    usable = [text for text in texts if text.strip()]
    if not usable:
        raise UnsupportedError(f"{bundle.folder} has no texts to check the folder with: export it again")
    return usable[:_TEXTS]
