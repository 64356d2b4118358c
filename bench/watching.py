"""The machine's state while a process measures: clock frequency, temperature and throttling, from beside it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median

import psutil
from mrl_edge.devices.local import temperature_c, throttle_count

_INTERVAL_S = 0.2


@dataclass
class Watch:
    """What was seen; empty lists where the machine does not say."""

    mhz: list[float] = field(default_factory=list)
    celsius: list[float] = field(default_factory=list)
    throttled: bool | None = None

    @property
    def frequency_min_mhz(self) -> float | None:
        """The lowest frequency seen."""
        return min(self.mhz, default=None)

    @property
    def frequency_median_mhz(self) -> float | None:
        """The median of the frequencies seen."""
        return median(self.mhz) if self.mhz else None

    @property
    def temperature_max_c(self) -> float | None:
        """The highest temperature seen."""
        return max(self.celsius, default=None)

    def missing(self) -> dict[str, str]:
        """Return why a figure is null, by its name in a row."""
        reasons = {}
        if not self.celsius:
            reasons["temperature_c"] = "this machine has no temperature sensor that can be read"
        if not self.mhz:
            reasons["system.frequency_median_mhz"] = "this machine does not say its clock frequency"
        if self.throttled is None:
            reasons["throttled"] = "this machine has no counters of thermal throttling"
        return reasons


@contextmanager
def watching() -> Iterator[Watch]:
    """Sample every 0.2 s until the block ends; each sample takes some 0.1 ms, on any core."""
    watch, done = Watch(), threading.Event()
    before = throttle_count()

    def sample() -> None:
        while True:
            frequency = psutil.cpu_freq()
            if frequency is not None and frequency.current:
                watch.mhz.append(frequency.current)
            degrees = temperature_c()
            if degrees is not None:
                watch.celsius.append(degrees)
            if done.wait(_INTERVAL_S):
                return

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield watch
    finally:
        done.set()
        thread.join()
        after = throttle_count()
        watch.throttled = None if before is None or after is None else after > before
