"""What each endpoint does: a checked request becomes the work that a thread does, which gives the answer's bytes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from mrl_edge.errors import UsageError
from mrl_edge.serve.bodies import (
    ClassifyAnswer,
    ClassifyRequest,
    EmbedAnswer,
    EmbeddingsAnswer,
    EmbeddingsRequest,
    EmbedRequest,
    Probability,
    SearchAnswer,
    SearchRequest,
    Usage,
    embedding_list,
)
from mrl_edge.serve.errors import ApiError, missing, wrong
from mrl_edge.serve.limits import Limits
from mrl_edge.serve.model import Model

Job = Callable[[threading.Event], bytes]


@dataclass(frozen=True)
class Served:
    """The model, and what may be asked of it."""

    model: Model
    limits: Limits


def embed(served: Served, asked: EmbedRequest) -> Job:
    """`POST /embed`."""
    model = served.model
    texts = _texts(served, asked.texts, "texts")
    dim = _dim(model, asked.dim, "dim")
    _check_prompt(model, asked.prompt)

    def work(stop: threading.Event) -> bytes:
        vectors, tokens = model.embed(texts, dim, asked.prompt, stop)
        return msgspec.json.encode(EmbedAnswer(dim, vectors.tolist(), tokens))

    return work


def search(served: Served, asked: SearchRequest) -> Job:
    """`POST /search`, with the encoder's query prompt."""
    model = served.model
    if model.retrieval is None:
        raise missing(model.no_search)
    if asked.k > served.limits.hits:
        raise wrong(f"k {asked.k}: {served.limits.hits} at most", "k")
    (query,) = _texts(served, asked.query, "query")
    return lambda stop: msgspec.json.encode(SearchAnswer(model.dim, model.search(query, asked.k)))


def classify(served: Served, asked: ClassifyRequest) -> Job:
    """`POST /classify`."""
    model, labels = served.model, served.model.encoder.classes
    if not labels:
        raise missing("this model does not classify: train it with --text and --label")
    texts = _texts(served, asked.texts, "texts")
    dim = _dim(model, asked.dim, "dim")

    def work(stop: threading.Event) -> bytes:
        probabilities = model.classify(texts, dim, stop)
        best = (-probabilities).argsort(axis=1, kind="stable")[:, : asked.top]
        rows = zip(probabilities, best, strict=True)
        results = [[Probability(labels[i], float(row[i])) for i in top] for row, top in rows]
        return msgspec.json.encode(ClassifyAnswer(dim, results))

    return work


def embeddings(served: Served, asked: EmbeddingsRequest) -> Job:
    """`POST /v1/embeddings`."""
    model = served.model
    check_model(model, asked.model)
    given = [asked.input] if isinstance(asked.input, str) else asked.input
    texts = _texts(served, [text for text in given if isinstance(text, str)], "input", len(given))
    dim = _dim(model, asked.dimensions, "dimensions")
    _check_prompt(model, asked.prompt)

    def work(stop: threading.Event) -> bytes:
        vectors, tokens = model.embed(texts, dim, asked.prompt, stop)
        data = embedding_list(vectors, asked.encoding_format == "base64")
        return msgspec.json.encode(EmbeddingsAnswer(data, model.name, Usage(tokens, tokens)))

    return work


def check_model(model: Model, name: str) -> None:
    """Raise the 404 that OpenAI's API answers with, unless this model is asked for."""
    if name != model.name:
        raise ApiError(404, f"there is no model {name!r} here: {model.name!r} is served", "model_not_found", "model")


def _texts(served: Served, given: str | Sequence[str], param: str, count: int | None = None) -> Sequence[str]:
    """Return the texts of a request, of whose `count` inputs some may have been no texts."""
    texts = [given] if isinstance(given, str) else given
    if count is not None and count != len(texts):
        raise wrong("tokens are not taken, since each model has its own: send texts", param)
    if not texts:
        raise wrong("there is no text", param)
    if len(texts) > served.limits.texts:
        raise wrong(f"{len(texts):,} texts: {served.limits.texts:,} at most in one request", param, "too_many_texts")
    longest = max(map(len, texts))
    if longest > served.limits.chars:
        most = f"{served.limits.chars:,} at most in one text"
        raise wrong(f"a text of {longest:,} characters: {most}", param, "text_too_long")
    return texts


def _dim(model: Model, wanted: int | None, param: str) -> int:
    if wanted is None:
        return model.dim
    if wanted not in model.encoder.dims:
        there = ", ".join(map(str, model.encoder.dims))
        raise wrong(f"{wanted} is no nesting dimension of this model, which has {there}", param)
    return wanted


def _check_prompt(model: Model, prompt: str | None) -> None:
    try:
        model.check_prompt(prompt)
    except UsageError as error:
        raise wrong(str(error), "prompt") from None
