"""A Raspberry Pi's firmware, asked through `vcgencmd`: power of the PMIC's rails (Pi 5) and throttle flags."""

from __future__ import annotations

import re
import shutil
import subprocess

_RAIL = re.compile(r"(\S+)_([AV])\s+(?:current|volt)\(\d+\)=([\d.]+)[AV]")
_FLAGS = re.compile(r"throttled=(0x[0-9a-fA-F]+)")
_TIMEOUT_S = 2


class FirmwareError(OSError):
    """The firmware was not asked, or did not answer as documented."""


def vcgencmd(*question: str) -> str:
    """Return the firmware's answer; `FirmwareError` where there is no `vcgencmd` or it refuses."""
    program = shutil.which("vcgencmd")
    if program is None:
        raise FirmwareError("there is no vcgencmd")
    try:
        done = subprocess.run([program, *question], capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise FirmwareError(f"vcgencmd failed: {error}") from None
    if done.returncode != 0 or "error=" in done.stdout:
        raise FirmwareError(f"vcgencmd {' '.join(question)}: {(done.stdout + done.stderr).strip()}")
    return done.stdout


def rails_w(answer: str) -> float:
    """Return the watts that `pmic_read_adc` says: of each rail with a current and a voltage, their product.

    The 5 V input has no current sensor, so what the PMIC itself loses, USB and fans are not in it. `FirmwareError`
    for an answer without rails.
    """
    readings = {(name, unit): float(value) for name, unit, value in _RAIL.findall(answer)}
    products = [amperes * readings[name, "V"] for (name, unit), amperes in readings.items()
                if unit == "A" and (name, "V") in readings]  # fmt: skip
    if not products:
        raise FirmwareError("vcgencmd pmic_read_adc names no rail with a current and a voltage")
    return sum(products)


def throttle_flags(answer: str) -> int:
    """Return the bits of `get_throttled`: 0 to 3 for what is so now, 16 to 19 for what was so since the boot.

    In this order: under-voltage, clock capped, throttled, soft temperature limit. `FirmwareError` for another answer.
    """
    found = _FLAGS.search(answer)
    if found is None:
        raise FirmwareError(f"vcgencmd get_throttled answers {answer.strip()!r}")
    return int(found[1], 16)
