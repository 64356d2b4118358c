"""Memory of this process, as the kernel accounts it."""

from __future__ import annotations

import resource
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ProcessMemory:
    """Bytes; `pss`, `uss` and `anonymous` are None where the kernel does not say."""

    peak_rss: int
    rss: int
    pss: int | None
    uss: int | None
    anonymous: int | None  # of no file: what the system cannot drop and read again


def read_memory() -> ProcessMemory:
    """Return the memory of the calling process.

    The peak is VmHWM: getrusage's maximum is inherited over exec, and would report a larger parent's.
    """
    status = _kilobytes(Path("/proc/self/status"))
    if "VmHWM" not in status:
        unit = 1 if sys.platform == "darwin" else 1024
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
        return ProcessMemory(peak, peak, None, None, None)
    rollup = _kilobytes(Path("/proc/self/smaps_rollup"))
    unique = [rollup.get(name) for name in ("Private_Clean", "Private_Dirty")]
    return ProcessMemory(
        peak_rss=status["VmHWM"],
        rss=status["VmRSS"],
        pss=rollup.get("Pss"),
        uss=sum(part for part in unique if part is not None) if None not in unique else None,
        anonymous=rollup.get("Anonymous"),
    )


def _kilobytes(path: Path) -> dict[str, int]:
    """Read the `Name:  123 kB` lines of a proc file, in bytes."""
    try:
        lines = path.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return {}
    found = {}
    for line in lines:
        name, _, rest = line.partition(":")
        parts = rest.split()
        if len(parts) == 2 and parts[1] == "kB":
            found[name] = int(parts[0]) * 1024
    return found
