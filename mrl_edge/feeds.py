"""What a bundle's graphs are fed with: texts through its tokenizer, or images through its preprocessing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from mrl_edge.description import TOKENIZER, EncoderInfo, ImageInput
from mrl_edge.errors import UsageError
from mrl_edge.prompts import prefix_for
from mrl_edge.tokenizer import load_tokenizer
from mrl_edge.tokens import Batch, TokenIds, batches, pad, tokenise

if TYPE_CHECKING:
    from pathlib import Path

    from tokenizers import Tokenizer

    from mrl_edge.bundle import Bundle
    from mrl_edge.pixels import ImageSource

    Input = str | ImageSource  # a text, or an image by its path or pixels

PIXELS = "pixel_values"


class Feeder(Protocol):
    """Makes a graph's inputs of texts or images."""

    def feed(self, items: Sequence[Input], prompt: str | None) -> Batch:
        """Return the inputs of one batch."""

    def batches(
        self, items: Sequence[Input], prompt: str | None, batch_size: int
    ) -> Iterator[tuple[NDArray[np.int64], Batch]]:
        """Yield (positions in `items`, their inputs)."""

    def tokenise(self, items: Sequence[Input], prompt: str | None) -> list[TokenIds]:
        """Return the token ids of texts."""


def open_feeder(bundle: Bundle, inputs: tuple[str, ...]) -> Feeder:
    """Open what a bundle's graph with these inputs is fed through, after checking its files."""
    for name in bundle.input_files:
        bundle.checked(name)
    return make_feeder(bundle.folder, bundle.manifest.encoder, inputs)


def make_feeder(folder: Path, encoder: EncoderInfo, inputs: tuple[str, ...]) -> Feeder:
    """Open the same of a bundle that is being written to `folder`, or of a shipped folder."""
    if encoder.image is not None:
        return ImageFeeder(encoder.image)
    return TextFeeder(load_tokenizer(folder / TOKENIZER, encoder.max_tokens), encoder, inputs)


class TextFeeder:
    """Texts to padded token ids, their prompt before them."""

    def __init__(self, tokenizer: Tokenizer, encoder: EncoderInfo, inputs: tuple[str, ...]) -> None:
        self._tokenizer = tokenizer
        self._encoder = encoder
        self._inputs = inputs

    def tokenise(self, items: Sequence[Input], prompt: str | None) -> list[TokenIds]:
        """Return the token ids of each text."""
        return tokenise(self._tokenizer, self._prompted(items, prompt), self._encoder.pad_id)

    def feed(self, items: Sequence[Input], prompt: str | None) -> Batch:
        """Return the inputs of one batch."""
        return pad(self.tokenise(items, prompt), self._encoder.pad_id, self._inputs)

    def batches(
        self, items: Sequence[Input], prompt: str | None, batch_size: int
    ) -> Iterator[tuple[NDArray[np.int64], Batch]]:
        """Yield batches of similar length."""
        for rows, ids in batches(self._tokenizer, self._prompted(items, prompt), self._encoder.pad_id, batch_size):
            yield rows, pad(ids, self._encoder.pad_id, self._inputs)

    def _prompted(self, items: Sequence[Input], prompt: str | None) -> Sequence[str]:
        if isinstance(items, str):
            raise UsageError("encode and classify take a list of texts; put the one text into a list")
        for number, item in enumerate(items):
            if not isinstance(item, str):
                raise UsageError(f"this bundle embeds texts: text {number} is no string but {type(item).__name__}")
        prefix = prefix_for(self._encoder.prompts, self._encoder.default_prompt, prompt)
        return [f"{prefix}{text}" for text in items]


class ImageFeeder:
    """Images to pixels; there are no prompts."""

    def __init__(self, image: ImageInput) -> None:
        self._image = image

    def tokenise(self, items: Sequence[Input], prompt: str | None) -> list[TokenIds]:
        """Refuse: images have no tokens."""
        raise UsageError("this bundle embeds images, which have no tokens")

    def feed(self, items: Sequence[Input], prompt: str | None) -> Batch:
        """Return float32 `pixel_values` [batch, 3, height, width] of one batch."""
        from mrl_edge.pixels import pixel_values

        pixels = [pixel_values(item, self._image) for item in _listed(items)]
        try:
            return {PIXELS: np.stack(pixels)}
        except ValueError:
            raise UsageError("this encoder takes images as they are: those of one batch must be of one size") from None

    def batches(
        self, items: Sequence[Input], prompt: str | None, batch_size: int
    ) -> Iterator[tuple[NDArray[np.int64], Batch]]:
        """Yield batches in the order of the images."""
        items = _listed(items)
        for start in range(0, len(items), batch_size):
            rows = np.arange(start, min(start + batch_size, len(items)))
            yield rows, self.feed(items[start : start + batch_size], prompt)


def _listed(items: Sequence[Input] | Path) -> Sequence[Input]:
    if not isinstance(items, (list, tuple)):
        raise UsageError("encode and classify take a list of images; put the one image into a list")
    return items
