"""What requests hold and answers are: the shapes that JSON is checked against while it is read."""

from __future__ import annotations

import base64
from typing import Annotated, Literal

import msgspec

from mrl_edge.index.documents import Hit
from mrl_edge.nesting import Floats

Positive = Annotated[int, msgspec.Meta(ge=1)]


class EmbedRequest(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """`POST /embed`: texts at a nesting dimension; `prompt` is `query`, `document` or another of the encoder's."""

    texts: str | list[str]
    prompt: str | None = None
    dim: int | None = None


class EmbedAnswer(msgspec.Struct, frozen=True):
    """A row a text, in their order."""

    dim: int
    embeddings: list[list[float]]
    tokens: int


class SearchRequest(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """`POST /search`: the nearest documents of a query."""

    query: str
    k: Positive = 10


class SearchAnswer(msgspec.Struct, frozen=True):
    """The hits, best first."""

    dim: int
    hits: list[Hit]


class ClassifyRequest(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """`POST /classify`: the `top` classes of each text."""

    texts: str | list[str]
    dim: int | None = None
    top: Positive = 5


class Probability(msgspec.Struct, frozen=True):
    """How probable a class is."""

    label: str
    probability: float


class ClassifyAnswer(msgspec.Struct, frozen=True):
    """The classes of each text, the most probable first."""

    dim: int
    results: list[list[Probability]]


class EmbeddingsRequest(msgspec.Struct, frozen=True):
    """`POST /v1/embeddings` as OpenAI's API reference has it, and `prompt` beside; unknown fields are let be."""

    input: str | list[str | int | list[int]]
    model: str
    dimensions: int | None = None
    encoding_format: Literal["float", "base64"] | None = None
    prompt: str | None = None


class Embedding(msgspec.Struct, frozen=True):
    """One vector, as numbers or as base64 of its little-endian float32."""

    index: int
    embedding: list[float] | str
    object: str = "embedding"


class Usage(msgspec.Struct, frozen=True):
    """Tokens that the encoder read, special tokens included and what it truncated not."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingsAnswer(msgspec.Struct, frozen=True):
    """A vector an input, in their order."""

    data: list[Embedding]
    model: str
    usage: Usage
    object: str = "list"


class ModelCard(msgspec.Struct, frozen=True):
    """One of `GET /v1/models`."""

    id: str
    created: int
    object: str = "model"
    owned_by: str = "mrl-edge"


class ModelList(msgspec.Struct, frozen=True):
    """`GET /v1/models`: the one that is served."""

    data: list[ModelCard]
    object: str = "list"


class Health(msgspec.Struct, frozen=True):
    """`GET /healthz`: what is served, and how busy it is."""

    status: str
    model: str
    precision: str
    depth: int
    dim: int
    dims: tuple[int, ...]
    documents: int | None  # that /search searches
    classes: int
    running: int
    waiting: int


def embedding_list(vectors: Floats, as_base64: bool) -> list[Embedding]:
    """Return [n, dim] as OpenAI's API does."""
    if as_base64:
        texts = [base64.b64encode(row.astype("<f4").tobytes()).decode() for row in vectors]
        return [Embedding(number, text) for number, text in enumerate(texts)]
    return [Embedding(number, row) for number, row in enumerate(vectors.tolist())]
