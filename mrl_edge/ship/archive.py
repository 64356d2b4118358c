"""A shipped folder as one `.tar.zst`, the same bytes from the same folder."""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
from pathlib import Path

from mrl_edge.atomic import write_file
from mrl_edge.errors import UnsupportedError

_LEVEL = 19  # weights hardly shrink at any; it is packed once


def compressor() -> str:
    """Return what compresses here; `UnsupportedError` where nothing does."""
    try:
        import zstandard
    except ImportError:
        path = shutil.which("zstd")
        if path is None:
            raise UnsupportedError("--archive needs zstd: pip install 'mrl-edge[ship]', or the system's zstd") from None
        return path
    return f"zstandard {zstandard.__version__}"


def write_archive(folder: Path, path: Path) -> str:
    """Pack `folder` under its own name into `path`; return what compressed it."""
    by = compressor()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for each in sorted(path for path in folder.rglob("*") if "__pycache__" not in path.parts):
            tar.add(each, f"{folder.name}/{each.relative_to(folder).as_posix()}", recursive=False, filter=_same)
    write_file(path, _compressed(packed.getvalue(), by))
    return by


def _same(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    entry.mode = 0o755 if entry.isdir() else 0o644
    return entry


def _compressed(content: bytes, by: str) -> bytes:
    if by.startswith("zstandard"):
        import zstandard

        return zstandard.ZstdCompressor(level=_LEVEL).compress(content)
    done = subprocess.run([by, f"-{_LEVEL}", "--quiet", "--stdout"], input=content, capture_output=True, check=False)
    if done.returncode != 0:
        raise UnsupportedError(f"{by} failed: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout
