"""What a request may cost, so that none can take the machine."""

from __future__ import annotations

from dataclasses import dataclass

_KEPT = 256


@dataclass(frozen=True)
class Limits:
    """The most that is taken of each."""

    body_bytes: int = 1 << 20
    texts: int = 128  # of one request
    chars: int = 32_768  # of one text; the encoder reads less of it anyway
    hits: int = 1000
    concurrency: int = 1  # requests that are computed at once, each on a thread of its own
    queue: int = 64  # requests that wait for that
    timeout_s: float = 30.0  # from a request's head to its answer, and again for the client to read it

    @property
    def connections(self) -> int:
        """The most that are open at once: those that compute and wait, and some that are kept for a next request."""
        return self.concurrency + self.queue + _KEPT
