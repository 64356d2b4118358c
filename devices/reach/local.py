"""The machine that we run on, reached as any other is."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from mrl_edge.devices.facts import Facts, ask
from mrl_edge.devices.reach import Check, Finished, Sent, any_size

from mrl_edge.errors import ReachError
from mrl_edge.hashing import sha256
from mrl_edge.progress import Report, silent

_NOT_FOUND = 127  # how a shell says that there is no such command


class LocalMachine:
    """The machine that we run on; relative paths start at `folder`, where commands run too."""

    name = "local"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def put(self, files: Mapping[str, Path], report: Report = silent, check: Check = any_size) -> Sent:
        """Copy; see `Machine.put`."""
        new = {place: path for place, path in files.items() if not _same(path, self.folder / place)}
        check(sum(path.stat().st_size for path in new.values()))
        sent = 0
        for number, (place, path) in enumerate(new.items()):
            report("copy", number, len(new), path.name)
            sent += _copy(path, self.folder / place)
        report("copy", len(new), len(new))
        return Sent(len(files), len(files) - len(new), sent)

    async def run(self, argv: Sequence[str], stdin: bytes = b"") -> Finished:
        """Run a command; see `Machine.run`. Cancelled, it kills the command and its children."""
        try:
            process = await asyncio.create_subprocess_exec(
                *argv,
                cwd=self.folder,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
            )
        except FileNotFoundError as error:
            return Finished(_NOT_FOUND, b"", f"{error.filename}: not found".encode())
        try:
            out, errors = await process.communicate(stdin)
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # its children too, which hold its pipes open
            await process.wait()
            raise
        code = process.returncode or 0
        return Finished(128 - code if code < 0 else code, out, errors)

    async def get(self, source: str, target: Path) -> None:
        """Copy one file; see `Machine.get`. Raises `ReachError` when it is missing."""
        there = self.folder / source
        if not there.is_file():
            raise ReachError(f"{there} is no file")
        _copy(there, target)

    async def info(self) -> Facts:
        """Ask this machine what it is, by the same script as any other."""
        return await ask(self)

    async def __aenter__(self) -> LocalMachine:
        """Return itself: there is nothing to open."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Do nothing: there is nothing to close."""


def _same(source: Path, target: Path) -> bool:
    return target.is_file() and sha256(target) == sha256(source)


def _copy(source: Path, target: Path) -> int:
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=target.parent, prefix=".", suffix=".part", delete=False) as part:
        try:
            with source.open("rb") as file:
                shutil.copyfileobj(file, part)
            part.flush()  # a full disk is met here, before anything has the file's name
            shutil.copymode(source, part.name)
            Path(part.name).replace(target)
        except BaseException:
            Path(part.name).unlink(missing_ok=True)
            raise
    return target.stat().st_size
