"""Embeddings that are kept in the user's cache until their index is complete, so that an interrupted one goes on.

They are float32, a file a piece, whatever the index will store: another storage, other dimensions and another kind of
index take them up too.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort

from mrl_edge.atomic import write_file
from mrl_edge.bundle import Bundle, Variant
from mrl_edge.caches import cache_folder
from mrl_edge.cpu import this_target
from mrl_edge.nesting import Floats
from mrl_edge.progress import Report, in_pieces
from mrl_edge.providers import CPU

_PIECE = 1024  # texts
_DAYS = 7  # after which nobody goes on with it
_ROOM = 4  # times the corpus' float32 bytes that the disk must have free: vectors, forests and other indexes come yet


class KeptEmbeddings:
    """The embeddings [n, full] of one corpus by one variant of a bundle on a provider, as far as there are any."""

    def __init__(self, bundle: Bundle, variant: Variant, documents: Sequence[str], provider: str = CPU) -> None:
        self._documents, self._full = documents, bundle.manifest.dims[-1]
        self._all = cache_folder() / "embedded"
        self._folder = self._all / _key(bundle, variant, documents, provider)

    def pieces(self, encode: Callable[[Sequence[str]], Floats], report: Report) -> Iterator[Floats]:
        """Yield the embeddings of ever further texts: first those that are kept, then what `encode` makes of the rest.

        What is made is kept; where the cache cannot be written to, or has not several times the room, nothing is.
        """
        self._forget_old()
        documents, first, can_keep = self._documents, 0, True
        while first < len(documents) and (piece := self._read(first)) is not None:
            yield piece
            first += len(piece)
            report("taking up what was embedded before", first, len(documents))
        if first and not self._has_room():
            self.forget()
        if first == len(documents):
            return
        for made in in_pieces(encode, documents[first:], "embedding the corpus", report, _PIECE):
            can_keep = can_keep and self._write(first, made)
            yield made
            first += len(made)

    def forget(self) -> None:
        """Remove what is kept: the index is complete."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _read(self, first: int) -> Floats | None:
        rows = min(_PIECE, len(self._documents) - first)
        try:
            piece = np.fromfile(self._file(first), dtype="<f4")
        except OSError:
            return None
        return piece.reshape(rows, self._full) if piece.size == rows * self._full else None

    def _write(self, first: int, piece: Floats) -> bool:
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # they tell much of the texts
            if not self._has_room():
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._folder))
            write_file(self._file(first), piece.astype("<f4").tobytes())
        except OSError:
            self.forget()
            return False
        return True

    def _has_room(self) -> bool:
        """Say whether the index that is made beside them has room enough, whatever it is."""
        return shutil.disk_usage(self._all).free >= _ROOM * 4 * len(self._documents) * self._full

    def _file(self, first: int) -> Path:
        return self._folder / f"{first}.f32"

    def _forget_old(self) -> None:
        for folder in self._all.glob("*"):
            try:
                if time.time() - folder.stat().st_mtime > _DAYS * 86_400:
                    shutil.rmtree(folder, ignore_errors=True)
            except FileNotFoundError:  # another run's, which ended
                continue


def _key(bundle: Bundle, variant: Variant, documents: Sequence[str], provider: str) -> str:
    """Name all that the embeddings depend on."""
    made = (bundle.identity(), variant.precision, variant.depth, variant.target)
    computed = (provider, ort.__version__, this_target())
    digest = hashlib.sha256(repr((made, computed)).encode())
    for text in documents:
        content = text.encode("utf-8", "surrogatepass")
        digest.update(b"%d:" % len(content) + content)
    return digest.hexdigest()[:32]
