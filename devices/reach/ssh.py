"""A machine over SSH, as the user's own `ssh` reaches it: ~/.ssh/config, the agent, and known_hosts.

A host whose key is unknown or has changed is refused, and no password is asked for: keys alone open it.
"""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import asyncssh
from mrl_edge.devices.facts import Facts, ask
from mrl_edge.devices.reach import Check, Finished, Sent, any_size
from mrl_edge.devices.reach.address import Address
from mrl_edge.devices.reach.login import log_in
from mrl_edge.devices.reach.transfer import Upload, download

from mrl_edge.errors import ConnectionLostError, ReachError
from mrl_edge.progress import Report, silent

T = TypeVar("T")
_PAUSES_S = (1, 2, 4, 8, 15, 30, 30, 30)  # before each try to come back, a reboot's time in all
_BLOCK = 1 << 16
_MOST_BYTES = 1 << 40


class SshMachine:
    """A machine that one connection after another reaches; `async with` opens the first."""

    def __init__(self, address: Address) -> None:
        self.name = str(address)
        self._address = address
        self._connection: asyncssh.SSHClientConnection | None = None

    async def put(self, files: Mapping[str, Path], report: Report = silent, check: Check = any_size) -> Sent:
        """Send what is not there with the same SHA-256; see `Machine.put`. Comes back after a cut and goes on.

        Raises `ReachError` when the machine cannot write it, and `ConnectionLostError` when it stays away.
        """
        upload = await asyncio.to_thread(Upload, files, report, check)  # it hashes them
        return await self.through_cuts(lambda: upload.go(self), lambda: upload.arrived)

    async def run(self, argv: Sequence[str], stdin: bytes = b"") -> Finished:
        """Run a command; see `Machine.run`. A cut raises `ConnectionLostError`: only the caller knows what may rerun.

        The next call connects anew.
        """
        out = bytearray()
        done = await self.stream(list(argv), _once(stdin), out.extend)
        return Finished(done.code, bytes(out), done.errors)

    async def get(self, source: str, target: Path, most_bytes: int = _MOST_BYTES) -> None:
        """Bring one file back; see `Machine.get`. Comes back after a cut and goes on."""
        await self.through_cuts(lambda: self.get_once(source, target, most_bytes), lambda: 0)

    async def get_once(self, source: str, target: Path, most_bytes: int = _MOST_BYTES) -> None:
        """Bring one file back; a cut raises `ConnectionLostError`."""
        await download(self, source, target, most_bytes)

    async def info(self) -> Facts:
        """Ask the machine what it is."""
        return await self.through_cuts(lambda: ask(self), lambda: 0)

    async def stream(
        self, argv: list[str], source: AsyncIterator[bytes], sink: Callable[[bytes], object] | None = None
    ) -> Finished:
        """Run a command with its input and output as streams; see `transfer.Streams`."""
        connection = await self._connected()
        try:
            process = await connection.create_process(command_line(argv), encoding=None)
            async with process:
                _, _, errors = await asyncio.gather(
                    _feed(process.stdin, source), _drain(process.stdout, sink), process.stderr.read()
                )
                await process.wait()
        except (asyncssh.Error, OSError) as error:
            if isinstance(error, OSError) and not connection.is_closed():
                raise  # the source's or the sink's, as of a full disk here
            raise ConnectionLostError(f"{self.name}: the connection was lost: {error}") from None
        if process.returncode is None:
            raise ConnectionLostError(f"{self.name}: the connection was lost while {argv[0]} ran")
        code = process.returncode
        return Finished(128 - code if code < 0 else code, b"", errors)

    async def __aenter__(self) -> SshMachine:
        """Connect. Raises `ReachError`, which says why and what to do, when that fails."""
        self._connection = await log_in(self._address)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect."""
        if self._connection is not None:
            self._connection.close()
            await self._connection.wait_closed()

    async def _connected(self) -> asyncssh.SSHClientConnection:
        if self._connection is None or self._connection.is_closed():
            self._connection = await log_in(self._address)
        return self._connection

    async def through_cuts(self, act: Callable[[], Awaitable[T]], progress: Callable[[], int]) -> T:
        """Do something that may be done again, until it is done or no try in a row got any further.

        Raises `ConnectionLostError` when the machine stays away for longer than a reboot.
        """
        tries, before = 0, progress()
        while True:
            try:
                return await act()
            except ConnectionLostError:
                if progress() > before:
                    tries, before = 0, progress()
                if tries == len(_PAUSES_S):
                    raise
                await asyncio.sleep(_PAUSES_S[tries])
                tries += 1


def command_line(argv: Sequence[str]) -> str:
    """Return the line that a shell splits into exactly these arguments: the one place where a line is made.

    Raises `ReachError` for an argument that no command line can hold.
    """
    try:
        line = shlex.join(argv)
        line.encode()
    except UnicodeEncodeError:
        raise ReachError(f"{ascii(' '.join(argv))[:200]}: a name that is no UTF-8 cannot be sent") from None
    if "\0" in line:
        raise ReachError("an argument with a NUL character cannot be sent")
    return line


async def _feed(stdin: asyncssh.SSHWriter[bytes], source: AsyncIterator[bytes]) -> None:
    try:
        async for block in source:
            stdin.write(block)
            await stdin.drain()
        stdin.write_eof()
    except BrokenPipeError:
        pass  # the command ended before it read everything: its exit code says why


async def _drain(stdout: asyncssh.SSHReader[bytes], sink: Callable[[bytes], object] | None) -> None:
    while block := await stdout.read(_BLOCK):
        if sink is not None:
            sink(block)


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content
