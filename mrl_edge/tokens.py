"""Texts to token ids to padded arrays, with the `tokenizers` library alone (`tokenizer.py` loads one)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mrl_edge.errors import UsageError
from mrl_edge.nesting import Floats

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TokenIds = list[int]
Batch = dict[str, NDArray[np.int64] | Floats]  # the inputs of a graph: token ids, or the pixels of images

MODEL_INPUTS = ("input_ids", "attention_mask", "token_type_ids")  # what `pad` can make

# Texts are tokenised and sorted by length this many at a time, which bounds the memory of a long run.
_WINDOW = 4096


def tokenise(tokenizer: Tokenizer, texts: Sequence[str], pad_id: int) -> list[TokenIds]:
    """Return the token ids of each text; a text without any token becomes one padding token.

    Raises `UsageError` for something that is no text.
    """
    try:
        return _encode(tokenizer, texts, pad_id)
    except (TypeError, UnicodeEncodeError):
        return _encode(tokenizer, [_repaired(text, i) for i, text in enumerate(texts)], pad_id)


def batches(
    tokenizer: Tokenizer, texts: Sequence[str], pad_id: int, batch_size: int
) -> Iterator[tuple[NDArray[np.int64], list[TokenIds]]]:
    """Yield (positions in `texts`, their token ids) in batches of similar length, so that little is padded."""
    for start in range(0, len(texts), _WINDOW):
        ids = tokenise(tokenizer, texts[start : start + _WINDOW], pad_id)
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        for first in range(0, len(order), batch_size):
            rows = order[first : first + batch_size]
            yield np.asarray(rows, dtype=np.int64) + start, [ids[i] for i in rows]


def pad(ids: Sequence[TokenIds], pad_id: int, inputs: Sequence[str]) -> Batch:
    """Return the graph's inputs, each [batch, longest] int64, padded on the right and masked."""
    if len(ids) == 1:
        row = np.asarray(ids, dtype=np.int64)
        mask = np.ones_like(row)
    else:
        longest = max(len(row) for row in ids)
        row = np.full((len(ids), longest), pad_id, dtype=np.int64)
        mask = np.zeros((len(ids), longest), dtype=np.int64)
        for i, tokens in enumerate(ids):
            row[i, : len(tokens)] = tokens
            mask[i, : len(tokens)] = 1
    arrays: Batch = {"input_ids": row, "attention_mask": mask}
    if "token_type_ids" in inputs:
        arrays["token_type_ids"] = np.zeros_like(row)
    return {name: arrays[name] for name in inputs}


def _encode(tokenizer: Tokenizer, texts: Sequence[str], pad_id: int) -> list[TokenIds]:
    if len(texts) == 1:  # the common case on a device, where a batch call costs more than it saves
        return [tokenizer.encode(texts[0]).ids or [pad_id]]
    return [encoding.ids or [pad_id] for encoding in tokenizer.encode_batch_fast(list(texts))]


def _repaired(text: object, number: int) -> str:
    """Replace lone surrogates, which JSON can hold but no Unicode text."""
    if not isinstance(text, str):
        raise UsageError(f"text {number} is no string but {type(text).__name__}")
    return text.encode("utf-8", "replace").decode()
