"""The energy that a processor package took, as Intel's and AMD's counters (RAPL) say through Linux's powercap.

Linux names the folders `intel-rapl:…` on AMD's Zen too (since 5.11), where one driver reads both.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_POWERCAP = Path("/sys/class/powercap")


@dataclass(frozen=True)
class Rapl:
    """The package domains of this machine, and where each counter starts over, in microjoules."""

    counters: tuple[Path, ...]
    ranges_uj: tuple[int, ...]

    def read_uj(self) -> tuple[int, ...]:
        """Return every counter."""
        return tuple(_number(path) for path in self.counters)

    def spent_mj(self, before: tuple[int, ...], after: tuple[int, ...]) -> float:
        """Return the millijoules between two readings less than one turn of a counter apart."""
        turns = zip(before, after, self.ranges_uj, strict=True)
        return sum((now - then) % (largest + 1) for then, now, largest in turns) / 1e3


def find_rapl(root: Path = _POWERCAP) -> Rapl | str:
    """Return the package counters, or why there are none to read."""
    if not root.is_dir():
        return f"no RAPL counters ({root} is missing)"
    domains = [path for path in sorted(root.glob("*-rapl:*")) if _name(path).startswith("package")]
    if not domains:
        return f"no RAPL counter of a processor package in {root}"
    counters = tuple(path / "energy_uj" for path in domains)
    try:
        for counter in counters:
            _number(counter)
        return Rapl(counters, tuple(_number(path / "max_energy_range_uj") for path in domains))
    except PermissionError:
        return f"reading {counters[0]} needs root: chmod a+r lets users measure"
    except (OSError, ValueError) as error:
        return f"{counters[0]} cannot be read: {error}"


def _name(domain: Path) -> str:
    path = domain / "name"
    return path.read_text(encoding="ascii").strip() if path.is_file() else ""


def _number(path: Path) -> int:
    return int(path.read_text(encoding="ascii"))
