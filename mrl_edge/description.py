"""What a bundle, or a shipped folder, says of its encoder and its index.

Plain dataclasses, so that what runs on a board needs nothing to read them with: `bundle.py` reads them with msgspec,
which also validates them, `app.py` with the standard library.
"""

from __future__ import annotations

from dataclasses import dataclass

TOKENIZER = "tokenizer.json"

Parameters = dict[str, int | str]  # what a kind of index needs


@dataclass(frozen=True)
class ImageInput:
    """How an image becomes float32 [3, height, width]: resized, cropped, rescaled, normalised, in this order."""

    height: int
    width: int
    resize: tuple[int, int] | None  # to this height and width
    shortest_edge: int | None  # or until its shorter edge is so long
    resample: str  # as Pillow names it: `nearest`, `bilinear`, `bicubic`, …
    crop: bool  # to the middle [height, width]
    scale: float  # of the bytes, as in 1/255
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    channels: str = "RGB"  # or `BGR`


@dataclass(frozen=True)
class EncoderInfo:
    """What the encoder is and how texts, or images, must be given to it."""

    source: str
    family: str
    pooling: str
    normalise: bool  # outputs are L2-normalised
    prompts: dict[str, str]  # prefixes by role: query, document, …
    default_prompt: str | None
    max_tokens: int  # 0 for images, as is `pad_id`
    pad_id: int
    image: ImageInput | None = None  # none: it embeds texts

    @property
    def modality(self) -> str:
        """What it embeds: `text` or `image`."""
        return "text" if self.image is None else "image"


@dataclass(frozen=True)
class VectorsInfo:
    """How the corpus' vectors are stored: blocks of columns between nesting dimensions, each on a page's start."""

    file: str
    lengths: str  # float32 [dims, n_rows]: 1 / the length of each stored row's prefix
    storage: str  # fp32, fp16, int8, int8-int6 or int8-int4
    dims: tuple[int, ...]  # where each block's columns end
    n_rows: int
    order: str | None = None  # int32 [n_rows], the item of each row; none: row i is item i


@dataclass(frozen=True)
class Step:
    """Keep the best `shortlist` items so far, and rank them again by the exact cosine at `dim`."""

    shortlist: int
    dim: int


def steps_of(shortlist: int | None, rerank_dim: int | None, funnel: tuple[Step, ...]) -> tuple[Step, ...]:
    """Return what is ranked again: a funnel where there is one, else a shortlist at one dimension, or nothing."""
    if funnel or shortlist is None or rerank_dim is None:
        return funnel
    return (Step(shortlist, rerank_dim),)


def agree(shortlist: int | None, rerank_dim: int | None, funnel: tuple[Step, ...]) -> bool:
    """Whether a funnel, if there is one, begins with the shortlist and ends at the dimension that stand beside it."""
    return not funnel or (funnel[0].shortlist, funnel[-1].dim) == (shortlist, rerank_dim)


@dataclass(frozen=True)
class SizedIndex:
    """The index of one dimension, with the parameters that its sizing or tuning chose and what they gave."""

    dim: int
    kind: str  # scan, binary, annoy, hnsw or ivf
    file: str | None  # a scan reads the vectors alone
    parameters: Parameters
    # Recalls and time are on the queries that `IndexInfo.scored_on` says.
    recall_at_10: float | None  # against exact search at this dimension of what is stored; none where it was tuned
    recall_at_10_full: float  # against exact search at the full dimension, over float32
    p50_ms: float
    resident_bytes: int  # what its queries touch: index, vectors, lengths, and private memory where it was tuned
    shortlist: int | None = None  # candidates that are ranked again at `rerank_dim`
    rerank_dim: int | None = None
    funnel: tuple[Step, ...] = ()  # where `shortlist` is ranked on the way too; its last step is at `rerank_dim`

    @property
    def steps(self) -> tuple[Step, ...]:
        """What is ranked again."""
        return steps_of(self.shortlist, self.rerank_dim, self.funnel)
