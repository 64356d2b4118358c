"""Where `mrl-edge bench` measures: here, here held to a device's RAM and cores, or on boards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mrl_edge.cli import console
from mrl_edge.errors import UsageError
from mrl_edge.providers import short_name

if TYPE_CHECKING:
    from mrl_edge.bench.place import Place


def capped_profile(devices: Sequence[str], fleet: Path | None, capped: bool) -> str | None:
    """Return the device that --capped holds this machine to; `UsageError` where the three do not fit together."""
    from mrl_edge.devices.profiles import SUFFIX, is_known

    if not capped:
        for device in devices:
            if device.endswith(SUFFIX) or is_known(device):
                raise UsageError(
                    f"--device {device} is a profile: add --capped to hold this machine to its RAM and cores, or "
                    "give the board's address, as in user@host"
                )
        return None
    if fleet is not None or len(devices) != 1:
        raise UsageError("--capped needs one --device, whose RAM and cores? mrl-edge devices list shows what is known")
    return devices[0]


@contextmanager
def open_place(profile_name: str | None, providers: Sequence[str]) -> Iterator[Place]:
    """Yield this machine, held to a device's RAM and cores where one is named; `providers` are those of --provider."""
    from mrl_edge.bench.place import held_to, here

    if profile_name is None:
        yield here()
        return
    from mrl_edge.devices.profiles import resolve
    from mrl_edge.devices.reach.capped import cap_of

    profile = resolve(profile_name)
    own = short_name(profile.providers[0])
    if own not in providers:
        console.note(
            f"  {profile.name} computes with {own}: with --provider {own} this machine's is measured, if it has one"
        )
    with cap_of(profile) as cap:
        left = f"{cap.ram_bytes / 1e6:,.0f} MB and {cap.cores} cores"
        console.note(f"  this machine, held to {left} as {profile.name} has for an application; times are its own")
        yield held_to(profile.name, cap)
