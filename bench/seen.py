"""What was seen of the machine while a configuration was measured, in its row."""

from __future__ import annotations

import msgspec
from mrl_edge.bench.jobs import MeasureResult
from mrl_edge.bench.results import Measurement, System
from mrl_edge.bench.watching import Watch
from mrl_edge.devices.power import PowerSensor

from mrl_edge.providers import ON_GPU


def with_system(row: Measurement, watch: Watch, busy_before: float, busy_after: float) -> Measurement:
    """Return the row with the machine's state, and the reasons for what it does not say."""
    system = System(busy_before, busy_after, watch.frequency_min_mhz, watch.frequency_median_mhz)
    throttled = watch.throttled if isinstance(watch.throttled, bool) else None
    return msgspec.structs.replace(row, system=system, throttled=throttled, null_because=watch.missing())


def with_energy(row: Measurement, answer: MeasureResult, watch: Watch) -> Measurement:
    """Return the row with `energy_mj` and where it comes from, or the reason why it is null.

    A counter of energy goes before power that is sampled. Where a GPU computes, RAPL would leave out most of it: then
    only its own sensor counts.
    """
    counted: float | str = "RAPL does not count a GPU" if row.provider in ON_GPU else answer.energy_mj
    if isinstance(counted, float):
        return msgspec.structs.replace(row, energy_mj=counted, energy_source="RAPL")
    if answer.loop is None:
        return _null(row, counted)
    sampled = watch.energy_mj(answer.loop)
    if isinstance(sampled, float) and isinstance(watch.power, PowerSensor):
        return msgspec.structs.replace(row, energy_mj=sampled, energy_source=watch.power.name)
    return _null(row, f"{counted}; {sampled}")


def _null(row: Measurement, because: str) -> Measurement:
    return msgspec.structs.replace(row, null_because={**row.null_because, "energy_mj": because})
