"""Whether the processor was slowed between two moments: Linux's counters (x86), a Raspberry Pi's flags."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mrl_edge.devices.raspberry import FirmwareError, throttle_flags, vcgencmd

_CPUS = Path("/sys/devices/system/cpu")
_NOW = 0b1110  # clock capped, throttled, soft temperature limit; under-voltage alone slows nothing
_SINCE_BOOT = _NOW << 16


@dataclass(frozen=True)
class Counted:
    """How often the cores were slowed for heat since the machine started."""

    count: int

    def since(self, before: Counted) -> bool:
        """Whether it happened again."""
        return self.count > before.count


@dataclass(frozen=True)
class Flagged:
    """The bits of `vcgencmd get_throttled`: those of the past stay set until the next boot."""

    flags: int

    def since(self, before: Flagged) -> bool | str:
        """Whether it is so at either moment or came to be between; unknown when it had been so before."""
        if (self.flags | before.flags) & _NOW or self.flags & ~before.flags & _SINCE_BOOT:
            return True
        if before.flags & _SINCE_BOOT:
            return "this Raspberry Pi was throttled before: its flags say nothing new until it is started again"
        return False


def read_throttling(cpus: Path = _CPUS) -> Counted | Flagged | str:
    """Return what the machine says of throttling so far, or why it says nothing."""
    counters = sorted(cpus.glob("cpu[0-9]*/thermal_throttle/core_throttle_count"))
    if counters:
        return Counted(sum(int(path.read_text(encoding="ascii")) for path in counters))
    try:
        return Flagged(throttle_flags(vcgencmd("get_throttled")))
    except FirmwareError as error:
        return f"no counters of thermal throttling in {cpus}; no Raspberry Pi's flags: {error}"


def throttled_between(before: Counted | Flagged | str, after: Counted | Flagged | str) -> bool | str:
    """Return whether the processor was slowed between two readings, or why that is unknown."""
    if isinstance(before, Counted) and isinstance(after, Counted):
        return after.since(before)
    if isinstance(before, Flagged) and isinstance(after, Flagged):
        return after.since(before)
    return next((one for one in (before, after) if isinstance(one, str)), "the machine changed how it says so")
