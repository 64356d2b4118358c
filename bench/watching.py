"""The machine's state while a process measures: clock frequency, temperature and throttling, from beside it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median

import psutil
from mrl_edge.devices.local import temperature_c, throttle_count

_INTERVAL_S = 0.2
_FREQUENCY = "system.frequency_median_mhz"
_TEMPERATURE = "temperature_c"


@dataclass
class Watch:
    """What was seen; empty lists where the machine does not say, or where asking it failed."""

    mhz: list[float] = field(default_factory=list)  # of the fastest core: an idle one's clock is nobody's speed
    celsius: list[float] = field(default_factory=list)
    throttled: bool | None = None
    failed: dict[str, str] = field(default_factory=dict)  # why, by the figure's name

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
            reasons[_TEMPERATURE] = "this machine has no temperature sensor that this version reads"
        if not self.mhz:
            reasons[_FREQUENCY] = "this machine does not say its clock frequency"
        if self.throttled is None:
            reasons["throttled"] = (
                "no counters of thermal throttling in /sys/devices/system/cpu; "
                "a Raspberry Pi's throttle flags are not read by this version"
            )
        return reasons | self.failed


def fastest_core_mhz() -> float | None:
    """Return the clock frequency of the fastest core, or None when the machine does not say."""
    read = getattr(psutil, "cpu_freq", None)  # psutil has none where it cannot ask
    cores = read(percpu=True) if read else None
    return max((core.current for core in cores or ()), default=0.0) or None


@contextmanager
def watching() -> Iterator[Watch]:
    """Sample every 0.2 s until the block ends; each sample takes some 0.1 ms, on any core."""
    watch, done = Watch(), threading.Event()
    before = throttle_count()

    def sample() -> None:
        while True:
            _note(watch, _FREQUENCY, fastest_core_mhz, watch.mhz)
            _note(watch, _TEMPERATURE, temperature_c, watch.celsius)
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


def _note(watch: Watch, name: str, read: Callable[[], float | None], values: list[float]) -> None:
    """Add what is read; once reading fails the figure is null, as it would be of a part of the time, and says so."""
    if name in watch.failed:
        return
    try:
        value = read()
    except Exception as error:  # of any driver: the row names it
        watch.failed[name] = f"reading it failed: {type(error).__name__}: {error}"
        values.clear()
        return
    if value is not None:
        values.append(value)
