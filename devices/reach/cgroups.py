"""A memory cgroup of our own, version 1 or 2: how much RAM its processes may use, and whether the kernel killed one.

Version 2 of the interface: the kernel's Documentation/admin-guide/cgroup-v2.rst; version 1: cgroup-v1/memory.rst.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import signal
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mrl_edge.errors import UnsupportedError

_PATIENCE_S = 5.0  # how long a killed process may take to leave its group
_SCOPE = "systemd-run --user --scope (or --scope alone as root) before the command gives it a group of its own"


@dataclass(frozen=True)
class Group:
    """A group that processes enter by writing 0 to `procs`."""

    version: Literal[1, 2]
    path: Path

    @property
    def procs(self) -> Path:
        """The file through which a process enters."""
        return self.path / "cgroup.procs"

    def kills(self) -> int:
        """Return how many of its processes the kernel killed because memory ran out."""
        events = self.path / ("memory.events" if self.version == 2 else "memory.oom_control")
        fields = dict(line.split() for line in events.read_text(encoding="ascii").splitlines())
        return int(fields.get("oom_kill", 0))

    def remove(self) -> None:
        """Kill what still runs in it, and remove it."""
        end = time.monotonic() + _PATIENCE_S
        while True:
            for pid in self.procs.read_text(encoding="ascii").split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            try:
                self.path.rmdir()
                return
            except OSError as error:
                if error.errno != errno.EBUSY or time.monotonic() > end:
                    raise
                time.sleep(0.02)


def make(limit_bytes: int, proc: Path = Path("/proc/self")) -> Group:
    """Make a group whose processes may use `limit_bytes` of RAM and no swap.

    `proc` is the folder of the process whose place among the groups ours is made at. Raises `UnsupportedError`,
    which says why, where that is not permitted.
    """
    version, parents = _parents(proc)
    refused = "no memory controller is handed down to a group of ours"
    for parent in parents:
        try:
            path = Path(tempfile.mkdtemp(dir=parent, prefix="mrl-edge-"))
        except OSError as error:
            refused = f"no group can be made in {parent}: {error.strerror}"
            continue
        group = Group(version, path)
        try:
            _limit(group, limit_bytes)
        except OSError as error:
            path.rmdir()
            refused = f"no limit can be set in {parent}: {error.strerror}"
            continue
        return group
    raise UnsupportedError(f"this machine's RAM cannot be capped: {refused}; {_SCOPE}")


def _limit(group: Group, limit_bytes: int) -> None:
    if group.version == 2:
        (group.path / "memory.max").write_text(str(limit_bytes), encoding="ascii")
        swap, allowed = group.path / "memory.swap.max", 0
    else:
        (group.path / "memory.limit_in_bytes").write_text(str(limit_bytes), encoding="ascii")
        swap, allowed = group.path / "memory.memsw.limit_in_bytes", limit_bytes  # RAM and swap together
    if swap.exists():
        swap.write_text(str(allowed), encoding="ascii")


def _parents(proc: Path) -> tuple[Literal[1, 2], list[Path]]:
    """Return the version in use, and the groups in which ours may be made, the nearest first."""
    groups = [line.split(":", 2) for line in (proc / "cgroup").read_text(encoding="utf-8").splitlines()]
    mounts = _mounts(proc / "mountinfo")
    for _, controllers, path in groups:
        if "memory" in controllers.split(","):
            for kind, options, root, point in mounts:
                if kind == "cgroup" and "memory" in options:
                    return 1, [_inside(path, root, point)]
    for number, _, path in groups:
        if number == "0":
            for kind, _, root, point in mounts:
                if kind == "cgroup2":
                    return 2, _delegating(_inside(path, root, point), point)
    raise UnsupportedError("this machine's RAM cannot be capped: no memory cgroup is mounted")


def _delegating(own: Path, top: Path) -> list[Path]:
    # A group that holds processes cannot hand its controllers down (the "no internal processes" rule), so that
    # ours is most often a brother of the one we are in.
    around = [group for group in (own, *own.parents) if group == top or top in group.parents]
    return [group for group in around if "memory" in _words(group / "cgroup.subtree_control")]


def _words(path: Path) -> list[str]:
    return path.read_text(encoding="ascii").split() if path.is_file() else []


def _inside(path: str, root: str, point: Path) -> Path:
    """Return where a group lies below a mount, which may show a part of the tree alone, as in a container."""
    shown = path.removeprefix(root) if root != "/" else path
    return point / shown.lstrip("/")


def _mounts(path: Path) -> list[tuple[str, list[str], str, Path]]:
    """Return kind, options, root and mount point of each line; see `man 5 proc_pid_mountinfo`."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        before, _, after = line.partition(" - ")
        fields, (kind, _, options) = before.split(), after.split(maxsplit=2)
        root, point = (re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text) for text in fields[3:5])
        found.append((kind, options.split(","), root, Path(point)))
    return found
