"""How long the calling thread was ready to run while another had its core, as Linux's scheduler accounts it."""

from __future__ import annotations

from pathlib import Path

_SCHEDSTAT = Path("/proc/thread-self/schedstat")


def waited_ns() -> int | None:
    """Return the nanoseconds so far, or None where the kernel does not say (`man 5 proc`, schedstat's second)."""
    try:
        return int(_SCHEDSTAT.read_text(encoding="ascii").split()[1])
    except (OSError, IndexError, ValueError):
        return None
