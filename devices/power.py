"""The power sensor of a board, for where no counter of energy is: a Jetson's INA3221, a Raspberry Pi's PMIC."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mrl_edge.devices.jetson import HWMON, find_rails
from mrl_edge.devices.nvidia import Gpus
from mrl_edge.devices.raspberry import FirmwareError, rails_w, vcgencmd

_PMIC = ("pmic_read_adc",)


@dataclass(frozen=True)
class PowerSensor:
    """What is asked, and how."""

    name: str
    read_w: Callable[[], float]


def find_power(hwmon: Path = HWMON) -> PowerSensor | str:
    """Return the board's sensor, or why there is none to read."""
    rails = find_rails(hwmon)
    if rails is not None:
        return PowerSensor(f"INA3221: {', '.join(rails.names)}", rails.read_w)
    try:
        rails_w(vcgencmd(*_PMIC))
    except FirmwareError as error:
        return f"no INA3221 in {hwmon}; no Raspberry Pi's PMIC: {error}"
    return PowerSensor("Raspberry Pi's PMIC", lambda: rails_w(vcgencmd(*_PMIC)))


def gpu_power(gpus: Gpus) -> PowerSensor:
    """Return all GPUs as one sensor."""
    return PowerSensor("NVML", gpus.read_w)
