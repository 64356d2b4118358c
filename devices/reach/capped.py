"""The machine that we run on, held to another's RAM and cores: whether a model fits there, not how fast it is there."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from mrl_edge.devices.facts import Facts
from mrl_edge.devices.profiles import Profile
from mrl_edge.devices.reach import KILLED, Check, Finished, Sent, any_size, cgroups
from mrl_edge.devices.reach.local import LocalMachine

from mrl_edge.errors import UnsupportedError, UsageError
from mrl_edge.progress import Report, silent

NOW = "@now"  # an argument in whose place the command gets the monotonic clock in ns, as it begins
# The child enters the group before it becomes the command, so that every byte of the command counts.
_ENTER = """\
import os, sys, time
procs, cores, *command = sys.argv[1:]
with open(procs, "w") as file:
    file.write("0")
os.sched_setaffinity(0, map(int, cores.split(",")))
command = [str(time.monotonic_ns()) if part == "@now" else part for part in command]
try:
    os.execvp(command[0], command)
except FileNotFoundError:
    sys.stderr.write(f"{command[0]}: not found\\n")
    sys.exit(127)
"""


class Cap:
    """A limit of RAM and cores for processes of this machine; with fewer cores than that, those it has.

    `with` makes it, raising `UnsupportedError`, which says why, where this machine does not permit it; at the end it
    kills what still runs under it.
    """

    def __init__(self, ram_bytes: int, cores: int) -> None:
        self.ram_bytes, self.cores = ram_bytes, cores
        self._made: cgroups.Group | None = None

    def command(self, argv: Sequence[str]) -> list[str]:
        """Return the command that runs `argv` under the cap, in the process that it is started in."""
        cores = sorted(os.sched_getaffinity(0))[: self.cores]
        enter = [sys.executable, "-I", "-S", "-c", _ENTER]
        return [*enter, str(self._group.procs), ",".join(map(str, cores)), *argv]

    def kills(self) -> int:
        """Return how many processes under it the kernel has killed because memory ran out."""
        return self._group.kills()

    def __enter__(self) -> Cap:
        if not hasattr(os, "sched_setaffinity"):
            raise UnsupportedError("this machine cannot be capped: only Linux has cgroups and a processor affinity")
        self._made = cgroups.make(self.ram_bytes)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._group.remove()
        self._made = None

    @property
    def _group(self) -> cgroups.Group:
        if self._made is None:
            raise AssertionError("a cap is made by `with`")
        return self._made


class CappedMachine:
    """The machine that we run on under a cap, reached as any other is."""

    def __init__(self, name: str, cap: Cap, folder: Path) -> None:
        self.name, self._cap, self._local = name, cap, LocalMachine(folder)

    async def put(self, files: Mapping[str, Path], report: Report = silent, check: Check = any_size) -> Sent:
        """Copy; see `Machine.put`."""
        return await self._local.put(files, report, check)

    async def run(self, argv: Sequence[str], stdin: bytes = b"") -> Finished:
        """Run a command under the cap; see `Machine.run`."""
        before = self._cap.kills()
        done = await self._local.run(self._cap.command(argv), stdin)
        killed = done.code == KILLED and self._cap.kills() > before
        return Finished(done.code, done.out, done.errors, out_of_memory=killed)

    async def get(self, source: str, target: Path) -> None:
        """Copy one file; see `Machine.get`."""
        await self._local.get(source, target)

    async def info(self) -> Facts:
        """Ask this machine what it is: the machine itself, not the cap."""
        return await self._local.info()

    async def __aenter__(self) -> CappedMachine:
        """Make the cap; raises as `Cap`."""
        self._cap.__enter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Kill what still runs under the cap, and take the cap away."""
        self._cap.__exit__(kind, error, trace)


def cap_of(profile: Profile) -> Cap:
    """Return what a device leaves an application. Raises `UsageError` for a card."""
    if profile.cpu is None or profile.memory is None:
        raise UsageError(f"{profile.name} is a card, without RAM and cores of its own to hold this machine to")
    return Cap(profile.memory.application_bytes, profile.cpu.logical_cores)


def capped_to(profile: Profile, folder: Path) -> CappedMachine:
    """Return this machine held to what a device leaves an application; raises as `cap_of`."""
    return CappedMachine(f"{profile.name} (capped)", cap_of(profile), folder)
