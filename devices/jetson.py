"""The power monitors (INA3221) of Jetson modules, as Linux's hwmon shows them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

HWMON = Path("/sys/class/hwmon")
_TOTALS = ("VDD_IN", "POM_5V_IN")  # of the whole module; NVIDIA's names
_CHANNELS = (1, 2, 3)  # 7 is the sum of the shunts' voltages


@dataclass(frozen=True)
class Rails:
    """The rails whose power is summed: the module's input where it is measured, else all."""

    names: tuple[str, ...]
    _channels: tuple[tuple[Path, Path], ...]  # mV and mA

    def read_w(self) -> float:
        """Return the watts that they take together."""
        return sum(_number(volts) * _number(amperes) for volts, amperes in self._channels) / 1e6


def find_rails(root: Path = HWMON) -> Rails | None:
    """Return the rails of this machine's INA3221 chips, or None where there is none with a label."""
    found: dict[str, tuple[Path, Path]] = {}
    for folder in sorted(root.glob("hwmon*")):
        if _text(folder / "name") != "ina3221":
            continue
        for channel in _CHANNELS:
            label = _text(folder / f"in{channel}_label")
            on = _text(folder / f"in{channel}_enable") != "0"
            if label and label != "NC" and on:  # NC: not connected
                found[label] = (folder / f"in{channel}_input", folder / f"curr{channel}_input")
    names = tuple(name for name in _TOTALS if name in found) or tuple(found)
    return Rails(names, tuple(found[name] for name in names)) if names else None


def _number(path: Path) -> int:
    return int(path.read_text(encoding="ascii"))


def _text(path: Path) -> str:
    return path.read_text(encoding="ascii").strip() if path.is_file() else ""
