"""The hash by which a file is known to be the one that was written."""

from __future__ import annotations

import hashlib
from pathlib import Path

# Beside another thread of Python each block may wait for its turn, 5 ms: few large ones wait less than many.
_BLOCK = 4 << 20


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits; other threads run meanwhile."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        block = memoryview(bytearray(min(_BLOCK, path.stat().st_size + 1)))
        while size := file.readinto(block):
            digest.update(block[:size])
    return digest.hexdigest()
