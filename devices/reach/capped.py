"""The machine that we run on, held to another's RAM and cores: whether a model fits there, not how fast it is there."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from mrl_edge.devices.facts import Facts
from mrl_edge.devices.profiles import Profile
from mrl_edge.devices.reach import KILLED, Finished, Sent, cgroups
from mrl_edge.devices.reach.local import LocalMachine

from mrl_edge.errors import UnsupportedError, UsageError
from mrl_edge.progress import Report, silent

# The child enters the group before it becomes the command, so that every byte of the command counts.
_ENTER = """\
import os, sys
procs, cores, *command = sys.argv[1:]
with open(procs, "w") as file:
    file.write("0")
os.sched_setaffinity(0, map(int, cores.split(",")))
try:
    os.execvp(command[0], command)
except FileNotFoundError:
    sys.stderr.write(f"{command[0]}: not found\\n")
    sys.exit(127)
"""


class CappedMachine:
    """The machine that we run on, held to `ram_bytes` and `cores`; with fewer cores than that, to those it has."""

    def __init__(self, name: str, ram_bytes: int, cores: int, folder: Path) -> None:
        self.name = name
        self._ram_bytes = ram_bytes
        self._cores = cores
        self._local = LocalMachine(folder)
        self._group: cgroups.Group | None = None

    async def put(self, files: Mapping[str, Path], report: Report = silent) -> Sent:
        """Copy; see `Machine.put`."""
        return await self._local.put(files, report)

    async def run(self, argv: Sequence[str], stdin: bytes = b"") -> Finished:
        """Run a command under the cap; see `Machine.run`."""
        group = self._open_group()
        before = group.kills()
        done = await self._local.run(self.command(argv), stdin)
        killed = done.code == KILLED and group.kills() > before
        return Finished(done.code, done.out, done.errors, out_of_memory=killed)

    def command(self, argv: Sequence[str]) -> list[str]:
        """Return the command that runs `argv` under the cap, for a process that someone else starts."""
        cores = sorted(os.sched_getaffinity(0))[: self._cores]
        enter = [sys.executable, "-I", "-S", "-c", _ENTER]
        return [*enter, str(self._open_group().procs), ",".join(map(str, cores)), *argv]

    async def get(self, source: str, target: Path) -> None:
        """Copy one file; see `Machine.get`."""
        await self._local.get(source, target)

    async def info(self) -> Facts:
        """Ask this machine what it is: the machine itself, not the cap."""
        return await self._local.info()

    async def __aenter__(self) -> CappedMachine:
        """Make the cap. Raises `UnsupportedError`, which says why, where this machine does not permit it."""
        if not hasattr(os, "sched_setaffinity"):
            raise UnsupportedError("this machine cannot be capped: only Linux has cgroups and a processor affinity")
        self._group = cgroups.make(self._ram_bytes)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Kill what still runs under the cap, and take the cap away."""
        self._open_group().remove()
        self._group = None

    def _open_group(self) -> cgroups.Group:
        if self._group is None:
            raise AssertionError("a capped machine is opened with `async with`")
        return self._group


def capped_to(profile: Profile, folder: Path) -> CappedMachine:
    """Return this machine held to what a device leaves an application. Raises `UsageError` for a card."""
    if profile.cpu is None or profile.memory is None:
        raise UsageError(f"{profile.name} is a card, without RAM and cores of its own to hold this machine to")
    name = f"{profile.name} (capped)"
    return CappedMachine(name, profile.memory.application_bytes, profile.cpu.logical_cores, folder)
