"""Where a sweep measures: this machine as it is, or held to the RAM and cores of another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec
from mrl_edge.devices.local import Device, describe
from mrl_edge.devices.reach.capped import NOW, Cap

from mrl_edge.bundle import Variant


@dataclass(frozen=True)
class Place:
    """The machine, and how the command of a measured process is made into one that runs under its limits."""

    device: Device
    command: Callable[[list[str]], list[str]] = list
    expected: Mapping[str, bytes] | None = None  # another machine's vectors by `variant_name`; see `agreement`


def variant_name(variant: Variant) -> str:
    """Name a variant among those of its bundle."""
    return f"{variant.precision}-L{variant.depth}"


def here() -> Place:
    """Return this machine as it is."""
    return Place(describe())


def held_to(name: str, cap: Cap) -> Place:
    """Return this machine under a cap that is made of the device of this name."""
    device = describe()
    cores = min(device.cores, cap.cores)
    capped = msgspec.structs.replace(device, name=name, capped_to=name, cores=cores, ram_bytes=cap.ram_bytes)

    def command(argv: list[str]) -> list[str]:
        return cap.command([*argv[:-1], NOW])  # its last argument is when it was started: not when its wrapper was

    return Place(capped, command)
