"""What `searching.py` and `storages.py` search: real documents, and beyond their number copies of them with noise.

The documents are the built-in corpus (WordNet's lemmas), embedded by the trained bundle; the noise has the corpus' own
covariance. Queries are its glosses, never seen in training; an index is tuned on some and scored on others.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np

import mrl_edge
from mrl_edge.atomic import new_folder
from mrl_edge.bundle import Bundle
from mrl_edge.datasets import Columns, read_table
from mrl_edge.description import VectorsInfo
from mrl_edge.index.build import LENGTHS, VECTORS, Embedded
from mrl_edge.index.reference import RunningTopK
from mrl_edge.index.tune import order_by_lists, unordered
from mrl_edge.index.tuning import Ground
from mrl_edge.index.vectors import VectorStore, VectorWriter
from mrl_edge.metrics import Ids
from mrl_edge.nesting import Floats, default_dims, normalise

WORK = Path("build/search-peers")
TUNED, SCORED = 300, 500  # queries to tune on, and to score
_NOISE = 0.5  # of a copy's length: its cosine to the original is about 0.9
_PIECE = 20_000  # vectors


def embedded(bundle: Bundle) -> tuple[Floats, Floats]:
    """Return the corpus' documents [n, full] and the queries, embedded once for each model."""
    cache = WORK / f"embedded-{bundle.identity()[:16]}-{TUNED + SCORED}"
    if not cache.is_dir():
        encoder = mrl_edge.load(bundle.folder, None, "int8")
        texts = [text for part in ("train", "dev") for text in _texts(part, Columns(text="lemmas"), "text")]
        glosses = _texts("dev", Columns(query="gloss", positive="lemmas"), "query")[: TUNED + SCORED]
        print(f"embedding {len(texts)} documents", file=sys.stderr)
        with new_folder(cache) as work:
            np.save(work / "documents.npy", encoder.encode(list(dict.fromkeys(texts)), "document"))
            np.save(work / "queries.npy", np.concatenate([encoder.encode([text], "query") for text in glosses]))
    return np.load(cache / "documents.npy"), np.load(cache / "queries.npy")


def _texts(part: str, columns: Columns, role: str) -> list[str]:
    return read_table(f"builtin:wordnet_nouns/{part}", columns).roles[role]


def resampled(documents: Floats, items: int) -> Iterator[tuple[int, Floats]]:
    """Yield the first one's number and a piece of the documents, then of copies with noise, `items` together."""
    real = min(len(documents), items)
    for first in range(0, real, _PIECE):
        yield first, documents[first : min(first + _PIECE, real)]
    random = np.random.default_rng(0)
    values, vectors = np.linalg.eigh(np.cov(documents.T))
    colour = (vectors * np.sqrt(np.maximum(values, 0))).astype(np.float32).T
    scale = _NOISE / np.sqrt(values.sum())
    for first in range(real, items, _PIECE):
        count = min(_PIECE, items - first)
        noise = random.standard_normal((count, documents.shape[1]), dtype=np.float32) @ colour
        yield first, normalise(documents[random.integers(0, len(documents), count)] + np.float32(scale) * noise)


def prepare(bundle: Bundle, items: int, storage: str, listed: bool, work: Path) -> tuple[Ground, Ids]:
    """Write the vectors as float32 and into our store; return the ground to tune on, and all queries' exact hits.

    `listed` orders the store by inverted lists, as `mrl-edge index --tune` does where `ivf` is among the kinds.
    """
    documents, queries = embedded(bundle)
    info = VectorsInfo(VECTORS, LENGTHS, storage, default_dims(documents.shape[1]), items)
    writer = VectorWriter(info, work / VECTORS, work / LENGTHS)
    best = RunningTopK(queries, 10)
    with (work / "vectors.f32").open("wb") as file:
        for first, piece in resampled(documents, items):
            piece.tofile(file)
            writer.write(first, piece)
            best.add(first, piece)
    writer.close()
    store = VectorStore(info, work / VECTORS, work / LENGTHS)
    stored = Embedded(store, queries[:TUNED], best.ids[:TUNED])
    ground = order_by_lists(stored, work, say) if listed else unordered(stored)
    (work / "store.json").write_bytes(msgspec.json.encode(ground.store.info))
    np.save(work / "scored.npy", queries[TUNED:])
    np.save(work / "tuned.npy", queries[:TUNED])
    return ground, best.ids


def say(stage: str, done: int, total: int, now: str = "") -> None:
    """Report where a stage begins and ends."""
    if done in (0, total):
        print(f"  {stage} {now} {done}/{total}", file=sys.stderr)
