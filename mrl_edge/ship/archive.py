"""A shipped folder as one `.tar.zst`, the same bytes from the same folder."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

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


def write_archive(folder: Path, name: str, path: Path) -> str:
    """Pack `folder` as `name` into `path`; return what compressed it. No more than a block of it is in memory."""
    by = compressor()
    with path.open("wb") as target, _compressing(target, by) as compressing:
        _pack(folder, name, compressing)
    return by


def _pack(folder: Path, name: str, target: IO[bytes]) -> None:
    with tarfile.open(fileobj=target, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        for each in sorted(path for path in folder.rglob("*") if "__pycache__" not in path.parts):
            tar.add(each, f"{name}/{each.relative_to(folder).as_posix()}", recursive=False, filter=_same)


def _same(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    entry.mode = 0o755 if entry.isdir() else 0o644
    return entry


@contextmanager
def _compressing(target: IO[bytes], by: str) -> Iterator[IO[bytes]]:
    """Yield what compresses into a file all that is written to it."""
    if by.startswith("zstandard"):
        import zstandard

        with zstandard.ZstdCompressor(level=_LEVEL).stream_writer(target, closefd=False) as writer:
            yield writer
        return
    command = [by, f"-{_LEVEL}", "--quiet", "--stdout"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=target, stderr=subprocess.PIPE)
    assert process.stdin is not None  # noqa: S101 (a pipe, as was asked)
    try:
        yield process.stdin
    except BrokenPipeError:  # it says why below
        pass
    finally:
        said = process.communicate()[1].decode(errors="replace").strip()
    if process.returncode != 0:
        raise UnsupportedError(f"{by} failed: {said}")
