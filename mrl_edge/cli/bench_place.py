"""Where `mrl-edge bench` measures: on this machine, or on it held to a device's RAM and cores."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mrl_edge.cli import console
from mrl_edge.errors import UsageError

if TYPE_CHECKING:
    from mrl_edge.bench.place import Place


@contextmanager
def open_place(device: str | None, capped: bool) -> Iterator[Place]:
    """Yield where to measure; `UsageError` where --device and --capped are not both or neither given."""
    from mrl_edge.bench.place import held_to, here

    if device is None:
        if capped:
            raise UsageError("--capped needs --device: whose RAM and cores? mrl-edge devices list shows what is known")
        yield here()
        return
    from mrl_edge.devices.profiles import resolve
    from mrl_edge.devices.reach.capped import cap_of

    profile = resolve(device)
    if not capped:
        raise UsageError(f"--device {device}: add --capped, which holds this machine to the RAM and cores of it")
    with cap_of(profile) as cap:
        left = f"{cap.ram_bytes / 1e6:,.0f} MB and {cap.cores} cores"
        console.note(f"  this machine, held to {left} as {profile.name} has for an application; times are its own")
        yield held_to(profile.name, cap)
