"""How much of mapped files is in this process' memory, and how much of it is read: Linux's /proc/self/smaps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

_SMAPS = Path("/proc/self/smaps")
_CLEAR = Path("/proc/self/clear_refs")
_ALL_PAGES = "1"


@dataclass(frozen=True)
class Mapped:
    """Bytes of some files: `rss` of the process' memory, and `touched` by what was run meanwhile, or why not known."""

    rss: int | None
    touched: int | None
    because: str | None = None

    @property
    def null_because(self) -> dict[str, str]:
        """Why a figure is null, by its name in a row."""
        figures = {"memory.index_rss_bytes": self.rss, "memory.index_touched_bytes": self.touched}
        return {name: self.because for name, value in figures.items() if value is None and self.because}


def read_mapped(files: Sequence[Path], run: Callable[[], None]) -> Mapped:
    """Return what is mapped of files, then what `run` reads of them, which should have run before.

    Where a page is missing the kernel maps its neighbours too if the page cache has them (`fault_around_bytes`), so
    that `rss` may be more than was ever read. For `touched` the processor's marks of accessed pages are cleared first;
    they are kept in the units that the kernel also reclaims, of a page to 2 MB.
    """
    rss = _total(files, "Rss")
    if rss is None:
        return Mapped(None, None, "this machine has no /proc/self/smaps")
    try:
        _CLEAR.write_text(_ALL_PAGES, encoding="ascii")
    except OSError:
        return Mapped(rss, None, "this machine has no /proc/self/clear_refs that a process may write")
    run()
    return Mapped(rss, _total(files, "Referenced"))


def _total(files: Sequence[Path], field: str) -> int | None:
    """Return the sum of a field over the mappings of files, or None where the kernel does not list mappings."""
    try:
        lines = _SMAPS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return None
    wanted = {str(file.resolve()) for file in files}
    total, inside = 0, False
    for line in lines:
        head, _, rest = line.partition(" ")
        if not head.endswith(":"):  # a mapping's first line: addresses, rights, offset, device, inode, path
            inside = len(parts := line.split(maxsplit=5)) > 5 and parts[5] in wanted
        elif inside and head == f"{field}:":
            total += int(rest.split()[0]) * 1024
    return total
