"""Files to a machine and back over nothing but its commands: what is there is known by SHA-256, and resumed.

A file arrives under a temporary name made of its SHA-256, and gets its own when the whole of it is right. Needs a
POSIX shell and what BusyBox has there; no SFTP.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from mrl_edge.devices.reach import Check, Finished, Sent, any_size

from mrl_edge.errors import ConnectionLostError, ReachError
from mrl_edge.hashing import sha256
from mrl_edge.progress import Report

_BLOCK = 1 << 18
_CUT, _DAMAGED = 70, 71
_ENTRY = re.compile(r"([0-9]{1,18}) ([0-9a-f]{64})")
# Each script is constant; names come to it as arguments.
_SURVEY = """\
for path do
  if [ -f "$path" ]; then
    hash=$(sha256sum <"$path") && echo "$(($(wc -c <"$path"))) ${hash%% *}" || echo unreadable
  else
    echo absent
  fi
done"""
_RECEIVE = f"""\
part=$1 target=$2 hash=$3 start=$4 size=$5
if [ -d "$target" ]; then echo "$target is a folder" >&2; exit 1; fi
mkdir -p -- "$(dirname -- "$target")" || exit 1
if [ "$start" = 0 ]; then : >"$part" || exit 1; fi
[ "$(($(wc -c <"$part")))" -eq "$start" ] || exit {_CUT}
cat >>"$part" || exit 1
[ "$(($(wc -c <"$part")))" -ge "$size" ] || exit {_CUT}
arrived=$(sha256sum <"$part") || exit 1
if [ "${{arrived%% *}}" != "$hash" ]; then rm -f -- "$part"; exit {_DAMAGED}; fi
mv -f -- "$part" "$target\""""
_SEND = 'tail -c "+$2" <"$1"'


class Streams(Protocol):
    """What a transfer needs of a machine."""

    name: str

    async def stream(
        self, argv: list[str], source: AsyncIterator[bytes], sink: Callable[[bytes], object] | None = None
    ) -> Finished:
        """Run a command, feed its standard input from `source`, and hand its output to `sink` as it comes."""


@dataclass(frozen=True)
class _File:
    path: Path
    target: str
    size: int
    hash: str

    @property
    def part(self) -> str:
        return str(PurePosixPath(self.target).parent / f".{self.hash}.part")


class Upload:
    """Files on their way; `go` starts or resumes them, however often the connection was cut before."""

    def __init__(self, files: Mapping[str, Path], report: Report, check: Check = any_size) -> None:
        self._report, self._check = report, check
        self._files = [_File(path, place, path.stat().st_size, sha256(path)) for place, path in files.items()]
        self._total = sum(file.size for file in self._files)
        self._new: set[str] = set()
        self.sent = 0  # bytes given to the connections
        self.arrived = 0  # bytes that the machine had when it was last asked

    async def go(self, machine: Streams) -> Sent:
        """Send what is not there; raises `ConnectionLostError` when the connection is cut, and can then go on."""
        there = await _survey(machine, [name for file in self._files for name in (file.target, file.part)])
        pairs = list(zip(self._files, there[::2], there[1::2], strict=True))
        self.arrived = sum(
            file.size if whole == (file.size, file.hash) else part[0] if part else 0 for file, whole, part in pairs
        )
        self._check(self._total - self.arrived)
        done = 0
        for file, whole, part in pairs:
            if whole != (file.size, file.hash):
                self._new.add(file.target)
                await self._send(machine, file, part, done)
            done += file.size
            self._report("send", done, self._total, file.path.name)
        return Sent(len(self._files), len(self._files) - len(self._new), self.sent)

    async def _send(self, machine: Streams, file: _File, part: tuple[int, str] | None, done: int) -> None:
        start = 0
        if part and part[0] <= file.size and await asyncio.to_thread(_prefix, file.path, part[0]) == part[1]:
            start = part[0]
        for begin in (start, 0):  # what arrives wrong is sent once more, from its beginning
            argv = ["sh", "-c", _RECEIVE, "sh", file.part, file.target, file.hash, str(begin), str(file.size)]
            ended = await machine.stream(argv, self._blocks(file, begin, done))
            if ended.code == _CUT:
                raise ConnectionLostError(f"{machine.name}: the connection was cut while {file.path.name} was sent")
            if ended.code not in (0, _DAMAGED):
                raise ReachError(f"{machine.name}: {file.target} could not be written: {ended.reason}")
            if ended.code == 0:
                return
        raise ReachError(f"{machine.name}: {file.target} arrived with another SHA-256 twice: is its storage damaged?")

    async def _blocks(self, file: _File, start: int, done: int) -> AsyncIterator[bytes]:
        with file.path.open("rb") as content:
            content.seek(start)
            while block := content.read(_BLOCK):
                yield block
                self.sent += len(block)
                self._report("send", done + content.tell(), self._total, file.path.name)


async def download(machine: Streams, source: str, target: Path, most_bytes: int) -> None:
    """Bring one file back, resuming what an earlier cut left; raises as `Upload.go`, and for one that is larger."""
    (there,) = await _survey(machine, [source])
    if there is None:
        raise ReachError(f"{machine.name}: {source} is no file")
    size, wanted = there
    if size > most_bytes:
        raise ReachError(f"{machine.name}: {source} has {size:,} bytes, more than the {most_bytes:,} that it may have")
    part = target.parent / f".{wanted}.part"
    part.parent.mkdir(parents=True, exist_ok=True)
    with part.open("ab") as file:
        if file.tell() > size:
            file.truncate(0)
        left = size - file.tell()

        def sink(block: bytes) -> None:  # no more than was announced
            nonlocal left
            left -= file.write(block[: max(left, 0)])

        ended = await machine.stream(["sh", "-c", _SEND, "sh", source, str(file.tell() + 1)], _nothing(), sink)
    if ended.code != 0:
        raise ReachError(f"{machine.name}: {source} could not be read: {ended.reason}")
    if await asyncio.to_thread(sha256, part) != wanted:
        part.unlink()
        raise ReachError(f"{machine.name}: {source} changed while it was read; ask for it again")
    part.replace(target)


async def _survey(machine: Streams, paths: list[str]) -> list[tuple[int, str] | None]:
    """Return the size and the SHA-256 of each path; None where no file is."""
    argv = ["xargs", "-0", "sh", "-c", _SURVEY, "sh"]  # the names are more than one command line may hold
    answer = bytearray()
    try:
        names = "\0".join(paths).encode()
    except UnicodeEncodeError:
        raise ReachError(f"{machine.name}: a name that is no UTF-8 cannot be sent") from None
    ended = await machine.stream(argv, _once(names), answer.extend)
    lines = answer.decode("ascii", "replace").splitlines()
    if ended.code != 0 or len(lines) != len(paths):
        raise ReachError(f"{machine.name}: the files there could not be listed: {ended.reason}")
    return [_entry(machine, path, line) for path, line in zip(paths, lines, strict=True)]


def _entry(machine: Streams, path: str, line: str) -> tuple[int, str] | None:
    if line == "absent":
        return None
    if line == "unreadable":
        raise ReachError(f"{machine.name}: {path} cannot be read by this user")
    entry = _ENTRY.fullmatch(line)
    if entry is None:  # nothing else that a device says may become a part of a path here
        raise ReachError(f"{machine.name} answered with what is no size and SHA-256: {line[:200]}")
    return int(entry[1]), entry[2]


def _prefix(path: Path, size: int) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while size > 0 and (block := file.read(min(_BLOCK, size))):
            digest.update(block)
            size -= len(block)
    return digest.hexdigest()


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""
