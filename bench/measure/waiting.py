"""How long this process's threads were ready to run while others had their cores, as Linux's scheduler accounts it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

_TASKS = Path("/proc/self/task")

Accounts = Mapping[str, tuple[int, int]]  # by thread: nanoseconds on a core, and ready but waiting for one


def accounts() -> Accounts | None:
    """Return the accounts of all threads so far, or None where the kernel does not say (`man 5 proc`, schedstat)."""
    found = {}
    for task in _TASKS.glob("*/schedstat"):
        try:
            ran, waited = task.read_text(encoding="ascii").split()[:2]
            found[task.parent.name] = (int(ran), int(waited))
        except (OSError, ValueError):  # the thread has ended since it was listed
            continue
    return found or None


def waited_share(before: Accounts | None, after: Accounts | None, elapsed_ns: int) -> float:
    """Return the share of the time between two accounts that threads waited for a core; 0 where nothing is known.

    Of the time that they ran or were ready to, all threads together, and of no less than the time that passed:
    threads that sleep, as a runtime's pool does, make a busy machine look no quieter.
    """
    if before is None or after is None:
        return 0.0
    spans = [
        (ran - before.get(key, (0, 0))[0], waited - before.get(key, (0, 0))[1]) for key, (ran, waited) in after.items()
    ]
    waited = sum(span for _, span in spans)
    return waited / max(waited + sum(span for span, _ in spans), elapsed_ns, 1)
