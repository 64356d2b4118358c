"""What is served: one session that gives every nesting dimension in one pass, and the index of one of them."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from mrl_edge.bundle import MANIFEST, Bundle, IndexInfo
from mrl_edge.encoder import NestedEncoder, open_nested
from mrl_edge.errors import UnsupportedError, UsageError
from mrl_edge.index import Index
from mrl_edge.index.corpus import open_adaptive, open_documents, open_index, require_index
from mrl_edge.index.documents import Documents, Hit
from mrl_edge.nesting import Floats
from mrl_edge.prompts import prefix_for
from mrl_edge.runtime import Part
from mrl_edge.serve.choice import Configuration, SearchPlan


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


def open_model(bundle: Bundle, wanted: Configuration, name: str | None) -> Model:
    """Load a configuration after checking the sha256 of every file that it uses.

    Raises `UsageError` for a bundle of images, or a picked search that the bundle's index is not; else as `load`.
    """
    if bundle.manifest.encoder.image is not None:
        raise UsageError(f"{bundle.folder} embeds images: mrl-edge serve takes texts")
    variant = bundle.variant(wanted.precision, wanted.depth)
    reason = "" if wanted.plan else why_no_search(bundle, wanted)
    retrieval = None if reason else _open_retrieval(bundle, wanted)
    return Model(
        name=name or bundle.manifest.name,
        created=int((bundle.folder / MANIFEST).stat().st_mtime),
        bundle=bundle,
        encoder=open_nested(bundle, variant, wanted.threads, wanted.levers),
        dim=wanted.dim,
        retrieval=retrieval,
        no_search=reason,
    )


def why_no_search(bundle: Bundle, wanted: Configuration) -> str:
    """Return why a configuration cannot search the bundle's index and what to do; empty where it can."""
    index, folder = bundle.manifest.index, bundle.folder.name
    if index is None:
        return f"this bundle has no index: make one with mrl-edge index {folder} CORPUS"
    if (index.precision, index.depth) != (wanted.precision, wanted.depth):
        return (
            f"the index was made with {index.precision} at depth {index.depth}, and {wanted.precision} at depth "
            f"{wanted.depth} is served: serve that, or mrl-edge index {folder} CORPUS --precision {wanted.precision}"
        )
    if wanted.dim not in (dims := [sized.dim for sized in index.sizes]):
        return f"there is no index of dimension {wanted.dim}: serve --dim {' or '.join(map(str, dims))}"
    return ""


def _open_retrieval(bundle: Bundle, wanted: Configuration) -> Retrieval:
    info = require_index(bundle)
    index = _picked(bundle, info, wanted, wanted.plan) if wanted.plan else open_index(bundle, wanted.dim)
    return Retrieval(index, open_documents(bundle), info.n_items)


def _picked(bundle: Bundle, info: IndexInfo, wanted: Configuration, plan: SearchPlan) -> Index:
    """Open the search that was picked; `UsageError` where the bundle's index is another."""
    remake = f"run mrl-edge index {bundle.folder} CORPUS --precision {wanted.precision} --depth {wanted.depth}"
    if (info.precision, info.depth) != (wanted.precision, wanted.depth):
        raise UsageError(
            f"{wanted.precision} at depth {wanted.depth} was picked, and the index was made with {info.precision} at "
            f"depth {info.depth}: {remake}"
        )
    if plan.storage is not None and plan.storage != info.vectors.storage:
        raise UsageError(
            f"vectors in {plan.storage} were picked, and the index has {info.vectors.storage}: {remake} "
            f"--vectors {plan.storage}"
        )
    scan = plan.kind == "scan"
    sized = next((sized for sized in info.sizes if sized.dim == wanted.dim), None)
    if not scan and (sized is None or sized.kind != plan.kind):
        there = "none" if sized is None else sized.kind
        raise UsageError(
            f"{plan.kind} at dimension {wanted.dim} was picked, and the bundle's index of it is {there}: {remake}"
        )
    rerank = (plan.shortlist, plan.rerank_dim)
    if sized is not None and sized.kind == plan.kind and rerank == (sized.shortlist, sized.rerank_dim):
        return open_index(bundle, wanted.dim)
    if plan.rerank_dim is None and scan:
        return open_index(bundle, wanted.dim, exact=True)
    if plan.rerank_dim is None or plan.shortlist is None:
        raise UsageError(f"{plan.kind} alone was picked, and the index of dimension {wanted.dim} reranks: {remake}")
    return open_adaptive(bundle, wanted.dim, plan.rerank_dim, plan.shortlist, exact=scan)


def _gather(parts: Iterable[Part], rows: int, columns: int, stop: threading.Event) -> tuple[Floats, int]:
    values, tokens = np.empty((rows, columns), dtype=np.float32), 0
    for part in parts:
        if stop.is_set():
            raise Abandoned
        values[part.rows] = part.values
        tokens += part.tokens
    return values, tokens
