"""Dropping files from the page cache, which needs no root: a cold start as after booting, as far as they go."""

from __future__ import annotations

import ctypes
import ctypes.util
import mmap
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

_LEFT = 0.05  # of a file's pages, that may stay


def drop(files: Sequence[Path]) -> str | None:
    """Drop files from the page cache and return None, or why they are still in it."""
    if not hasattr(os, "posix_fadvise"):
        return "this system has no posix_fadvise"
    for file in files:
        with file.open("rb") as opened:
            os.fsync(opened.fileno())  # only what is on the disk can be dropped
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    for file in files:  # one by one: beside the weights all else is less than what may stay
        there = resident_share([file])
        if there is None:
            return "this system does not say what is in the page cache"
        if there > _LEFT:
            return f"the kernel kept {there:.0%} of {file.name}'s pages: another process may have them mapped"
    return None


def resident_share(files: Sequence[Path]) -> float | None:
    """Return the share of the files' pages that are in the page cache (mincore), or None where it is not told."""
    mincore = getattr(ctypes.CDLL(None, use_errno=True), "mincore", None)
    if mincore is None:
        return None
    pages = inside = 0
    for file in files:
        size = file.stat().st_size
        if not size:
            continue
        with file.open("rb") as opened, mmap.mmap(opened.fileno(), size, mmap.MAP_PRIVATE) as mapped:
            states = np.zeros(-(-size // mmap.PAGESIZE), dtype=np.uint8)
            address = np.frombuffer(mapped, dtype=np.uint8).ctypes.data
            if mincore(ctypes.c_void_p(address), ctypes.c_size_t(size), ctypes.c_void_p(states.ctypes.data)) != 0:
                return None
            pages += len(states)
            inside += int(np.count_nonzero(states & 1))
    return inside / pages if pages else 0.0
