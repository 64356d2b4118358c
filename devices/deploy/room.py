"""Whether what a deployment sends, and the environment that is made of it there, fit the board's disk."""

from __future__ import annotations

from dataclasses import dataclass

from mrl_edge.devices.facts import Facts
from mrl_edge.devices.reach import Machine

from mrl_edge.errors import UnsupportedError

_TAKEN = 'du -sk -- "$1"'  # BusyBox has it; without it, or without the folder, nothing is taken to be there


@dataclass(frozen=True)
class Room:
    """What is free in the home folder, and what the environment takes there beyond what stands in its place now."""

    machine: str
    free_bytes: int | None  # None: the machine could not say, and nothing is refused
    environment_bytes: int

    def check(self, sending_bytes: int) -> None:
        """Raise `UnsupportedError` where so many bytes and the environment do not fit, with how much they need."""
        needed = sending_bytes + self.environment_bytes
        if self.free_bytes is not None and needed > self.free_bytes:
            free, all_of_it = self.free_bytes / 1e6, needed / 1e6
            raise UnsupportedError(
                f"{self.machine} has {free:.0f} MB free in the home folder and {all_of_it:.0f} are needed:"
                f" {sending_bytes / 1e6:.0f} to be sent and {self.environment_bytes / 1e6:.0f} for the environment;"
                " free some, or export fewer precisions"
            )


async def room_of(machine: Machine, facts: Facts, environment: str, environment_bytes: int) -> Room:
    """Ask how much of what the environment takes is there already: a new one is made in the place of the old."""
    done = await machine.run(["sh", "-c", _TAKEN, "sh", environment])
    first = done.out.split(maxsplit=1)[0] if done.out.strip() else b""
    taken = int(first) * 1024 if first.isdigit() else 0
    return Room(machine.name, facts.free_bytes, max(0, environment_bytes - taken))
