"""How a device is reached: put files there, run something, get files back, and ask what it is.

Three kinds do the same four things: this machine, this machine held to a device's RAM and cores, and one over SSH.
A path on the device is relative to the folder that a login there starts in, or absolute.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from mrl_edge.errors import ReachError
from mrl_edge.progress import Report, silent

if TYPE_CHECKING:
    from mrl_edge.devices.facts import Facts

Check = Callable[[int], object]  # told how many bytes are to be sent, before the first is; what it raises stops it
KILLED = 128 + 9  # how a shell reports SIGKILL, which is what the kernel sends when memory runs out


@dataclass(frozen=True)
class Finished:
    """A command that ended; a signal's number is added to 128, as shells do.

    `out_of_memory` is true only where the kernel's own count says that it killed the command for memory.
    """

    code: int
    out: bytes
    errors: bytes
    out_of_memory: bool = False

    @property
    def reason(self) -> str:
        """The last line that the command said about its failure."""
        lines = self.errors.decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else f"exit code {self.code} without a word"


@dataclass(frozen=True)
class Sent:
    """What a `put` did: `kept` files were there already with the same SHA-256."""

    files: int
    kept: int
    bytes: int


def any_size(size: int) -> None:
    """Let anything be sent: the check where nobody asks for another."""


class Machine(Protocol):
    """A device that can be reached; `async with` opens it and closes it."""

    name: str

    async def put(self, files: Mapping[str, Path], report: Report = silent, check: Check = any_size) -> Sent:
        """Bring files, by their places there; each appears whole and right, or not at all. See `tree`."""

    async def run(self, argv: Sequence[str], stdin: bytes = b"") -> Finished:
        """Run a command and wait for it. Its arguments arrive as they are, whatever characters they hold."""

    async def get(self, source: str, target: Path) -> None:
        """Bring one file back; it appears at `target` whole and right, or not at all."""

    async def info(self) -> Facts:
        """Ask the device what it is."""

    async def __aenter__(self) -> Machine:
        """Open it."""

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""


def tree(source: Path, target: str) -> dict[str, Path]:
    """Return what to put so that `source`, a file or a folder with all that is in it, stands at `target`."""
    if source.is_file():
        return {target: source}
    if not source.is_dir():
        raise ReachError(f"{source} is no file and no folder: nothing to send")
    paths = sorted(path for path in source.rglob("*") if path.is_file())
    return {f"{target.rstrip('/')}/{path.relative_to(source).as_posix()}": path for path in paths}
