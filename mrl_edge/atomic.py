"""Writing so that a crash, a full disk or Ctrl-C leaves either the old thing or the new one, never half of it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mrl_edge.errors import UsageError


def write_file(path: Path, content: bytes) -> None:
    """Write `content` under a temporary name in the same folder, then rename it to `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o666 & ~_umask())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def check_target(path: Path, marker: str, overwrite: bool, option: str = "--out") -> None:
    """Refuse a target folder that holds something we must not replace; call it before any work is done.

    Raises `UsageError` when `path`, which `option` gave, is not empty, unless `overwrite` and `path` holds our own
    `marker` file.
    """
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    if not overwrite:
        raise UsageError(f"{path} already exists: choose another {option}, or replace it with --overwrite")
    if not (path / marker).is_file():
        raise UsageError(f"{path} holds no {marker}, so it is not ours to overwrite: choose another {option}")


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield an empty temporary folder beside `path`; on success it becomes `path`, on any error it is removed.

    What was at `path` before is replaced: see `check_target`.
    """
    parent = path.absolute().parent
    parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=parent, prefix=f".{path.name}."))
    try:
        yield work
        work.chmod(0o777 & ~_umask())
        if path.exists():
            _swap(path, work)
        else:
            work.replace(path)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise


def _swap(path: Path, new: Path) -> None:
    """Put `new` in the place of the folder `path`; if that fails the old one is put back."""
    aside = Path(tempfile.mkdtemp(dir=new.parent, prefix=f".{path.name}.old."))
    try:
        path.replace(aside / "was")
        new.replace(path)
    except BaseException:
        if not path.exists() and (aside / "was").exists():
            (aside / "was").replace(path)
        raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
