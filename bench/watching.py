"""The machine's state while a process measures, from beside it: clock, temperature, throttling, power, GPU memory."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import fmean, median
from typing import TypeVar

import psutil
from mrl_edge.bench.jobs import Loop
from mrl_edge.devices.local import temperature_c
from mrl_edge.devices.nvidia import Gpus, find_gpus
from mrl_edge.devices.power import PowerSensor, find_power, gpu_power
from mrl_edge.devices.throttling import read_throttling, throttled_between

from mrl_edge.providers import ON_GPU

T = TypeVar("T")
_INTERVAL_S = 0.2
_FREQUENCY = "system.frequency_median_mhz"
_TEMPERATURE = "temperature_c"
_POWER = "energy_mj"
_GPU = "memory.gpu_bytes"
_LEAST_POWERS = 2  # samples within the measured time, for a mean


@dataclass
class Watch:
    """What was seen; empty lists where the machine does not say, or where asking it failed."""

    mhz: list[float] = field(default_factory=list)  # of the fastest core: an idle one's clock is nobody's speed
    celsius: list[float] = field(default_factory=list)
    watts: list[tuple[int, float]] = field(default_factory=list)  # when, in ns of the monotonic clock, and what
    gpu_bytes: list[int] = field(default_factory=list)  # of this process's children
    power: PowerSensor | str = "not asked"  # or why there is none
    throttled: bool | str = "not asked"
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

    @property
    def gpu_peak_bytes(self) -> int | None:
        """The most GPU memory seen."""
        return max(self.gpu_bytes, default=None)

    def energy_mj(self, loop: Loop) -> float | str:
        """Return the millijoules of one call of a loop, by the mean of the power sampled meanwhile, or why not."""
        if isinstance(self.power, str):
            return self.power
        if _POWER in self.failed:
            return self.failed[_POWER]
        within = [watts for moment, watts in self.watts if loop.started_ns <= moment <= loop.ended_ns]
        if len(within) < _LEAST_POWERS:
            return f"{self.power.name} was read {len(within)} times meanwhile: give it a longer --max-seconds"
        return fmean(within) * (loop.ended_ns - loop.started_ns) / 1e6 / loop.calls

    def missing(self) -> dict[str, str]:
        """Return why a figure is null, by its name in a row."""
        reasons = {}
        if not self.celsius:
            reasons[_TEMPERATURE] = "this machine has no temperature sensor that this version reads"
        if not self.mhz:
            reasons[_FREQUENCY] = "this machine does not say its clock frequency"
        if isinstance(self.throttled, str):
            reasons["throttled"] = self.throttled
        return reasons | {name: why for name, why in self.failed.items() if name != _POWER}


def fastest_core_mhz() -> float | None:
    """Return the clock frequency of the fastest core, or None when the machine does not say."""
    read = getattr(psutil, "cpu_freq", None)  # psutil has none where it cannot ask
    cores = read(percpu=True) if read else None
    return max((core.current for core in cores or ()), default=0.0) or None


@contextmanager
def watching(provider: str) -> Iterator[Watch]:
    """Sample every 0.2 s until the block ends; each sample takes some 0.1 ms, on any core (a Pi's PMIC a process).

    Where `provider` computes on a GPU, power is the GPUs', the hottest of them counts, and so does their memory.
    """
    watch, done = Watch(), threading.Event()
    readers: list[tuple[str, Callable[[], float | None], list[float]]] = [
        (_FREQUENCY, fastest_core_mhz, watch.mhz),
        (_TEMPERATURE, temperature_c, watch.celsius),
    ]
    gpus = find_gpus() if provider in ON_GPU else None
    if gpus is None:
        watch.power = find_power()
    elif isinstance(gpus, str):
        watch.power = watch.failed[_GPU] = gpus
    else:
        watch.power = gpu_power(gpus)
        readers.append((_TEMPERATURE, gpus.temperature_c, watch.celsius))
    before = read_throttling()

    def sample() -> None:
        while True:
            for name, read, values in readers:
                _note(watch, name, read, values)
            if isinstance(watch.power, PowerSensor):
                _note(watch, _POWER, _timed(watch.power.read_w), watch.watts)
            if isinstance(gpus, Gpus):
                _note(watch, _GPU, lambda: gpus.memory_bytes(_children()), watch.gpu_bytes)
            if done.wait(_INTERVAL_S):
                return

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield watch
    finally:
        done.set()
        thread.join()
        watch.throttled = throttled_between(before, read_throttling())
        if isinstance(gpus, Gpus) and not watch.gpu_bytes:
            watch.failed.setdefault(_GPU, "NVML named no memory of this process: in a container it sees others' ids")


def _children() -> set[int]:
    return {child.pid for child in psutil.Process(os.getpid()).children(recursive=True)}


def _timed(read_w: Callable[[], float]) -> Callable[[], tuple[int, float]]:
    return lambda: (time.monotonic_ns(), read_w())


def _note(watch: Watch, name: str, read: Callable[[], T | None], values: list[T]) -> None:
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
