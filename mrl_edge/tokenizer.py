"""A folder's `tokenizer.json`, loaded. It needs no numpy, as `tokens.py` does: it is read while that is imported."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer

from mrl_edge.errors import BundleError


def load_tokenizer(path: Path, max_tokens: int) -> Tokenizer:
    """Load `tokenizer.json`, truncating at `max_tokens` (special tokens included) and never padding."""
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception
        raise BundleError(f"{path} is no tokenizer ({error})") from None
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens)
    return tokenizer
