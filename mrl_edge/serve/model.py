"""What is served: one session that gives every nesting dimension in one pass, and the index of one of them."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from mrl_edge.bundle import MANIFEST, Bundle
from mrl_edge.encoder import NestedEncoder, open_nested
from mrl_edge.errors import UnsupportedError, UsageError
from mrl_edge.index import Index
from mrl_edge.index.corpus import open_documents, open_index, require_index
from mrl_edge.index.documents import Documents, Hit
from mrl_edge.nesting import Floats
from mrl_edge.prompts import prefix_for
from mrl_edge.runtime import Part
from mrl_edge.serve.choice import Wanted
from mrl_edge.serve.picked import open_picked


class Abandoned(Exception):
    """Nobody waits for the answer any more."""


@dataclass(frozen=True)
class Retrieval:
    """An open index and the texts that its ids stand for."""

    index: Index
    documents: Documents
    n_items: int


@dataclass(frozen=True)
class Model:
    """A loaded configuration. Every method may be called from several threads at once."""

    name: str
    created: int  # seconds since 1970
    bundle: Bundle
    encoder: NestedEncoder
    dim: int
    retrieval: Retrieval | None
    no_search: str  # why there is no retrieval

    def embed(self, texts: Sequence[str], dim: int, prompt: str | None, stop: threading.Event) -> tuple[Floats, int]:
        """Return float32 [n, dim], rows L2-normalised, and the number of tokens read; raises `Abandoned`."""
        return _gather(self.encoder.parts(texts, dim, prompt), len(texts), dim, stop)

    def classify(self, texts: Sequence[str], dim: int, stop: threading.Event) -> Floats:
        """Return class probabilities float32 [n, classes]; raises `Abandoned`."""
        return _gather(self.encoder.class_parts(texts, dim), len(texts), len(self.encoder.classes), stop)[0]

    def search(self, query: str, k: int) -> list[Hit]:
        """Return the k nearest documents, best first; raises `UnsupportedError` without a `retrieval`."""
        if self.retrieval is None:
            raise UnsupportedError(self.no_search)
        index = self.retrieval.index
        (part,) = self.encoder.parts([query], index.dim, "query")
        return self.retrieval.documents.hits(index, part.values[0], k)

    def check_prompt(self, prompt: str | None) -> None:
        """Raise `UsageError` for a prompt that this encoder has not."""
        encoder = self.bundle.manifest.encoder
        prefix_for(encoder.prompts, encoder.default_prompt, prompt)


def open_model(bundle: Bundle, wanted: Wanted, name: str | None) -> Model:
    """Load a configuration after checking the sha256 of every file that it uses.

    Raises `UsageError` for a bundle of images, or a picked search that the bundle's index is not; else as `load`.
    """
    if bundle.manifest.encoder.image is not None:
        raise UsageError(f"{bundle.folder} embeds images: mrl-edge serve takes texts")
    reason = "" if wanted.picked else why_no_search(bundle, wanted)
    retrieval = None if reason else _open_retrieval(bundle, wanted)
    return Model(
        name=name or bundle.manifest.name,
        created=int((bundle.folder / MANIFEST).stat().st_mtime),
        bundle=bundle,
        encoder=open_nested(bundle, wanted.variant, wanted.threads, wanted.levers, wanted.provider),
        dim=wanted.dim,
        retrieval=retrieval,
        no_search=reason,
    )


def why_no_search(bundle: Bundle, wanted: Wanted) -> str:
    """Return why a configuration cannot search the bundle's index and what to do; empty where it can."""
    index, folder, variant = bundle.manifest.index, bundle.folder.name, wanted.variant
    if index is None:
        return f"this bundle has no index: make one with mrl-edge index {folder} CORPUS"
    if (index.precision, index.depth) != (variant.precision, variant.depth):
        return (
            f"the index was made with {index.precision} at depth {index.depth}, and {variant.precision} at depth "
            f"{variant.depth} is served: serve that, or mrl-edge index {folder} CORPUS --precision {variant.precision}"
        )
    if wanted.dim not in (dims := [sized.dim for sized in index.sizes]):
        return f"there is no index of dimension {wanted.dim}: serve --dim {' or '.join(map(str, dims))}"
    return ""


def _open_retrieval(bundle: Bundle, wanted: Wanted) -> Retrieval:
    info = require_index(bundle)
    index = open_picked(bundle, wanted.picked) if wanted.picked else open_index(bundle, wanted.dim)
    return Retrieval(index, open_documents(bundle), info.n_items)


def _gather(parts: Iterable[Part], rows: int, columns: int, stop: threading.Event) -> tuple[Floats, int]:
    values, tokens = np.empty((rows, columns), dtype=np.float32), 0
    for part in parts:
        if stop.is_set():
            raise Abandoned
        values[part.rows] = part.values
        tokens += part.tokens
    return values, tokens
