"""`mrl-edge devices`: what is known of a device before anything is measured on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mrl_edge.cli import completions, console, options

if TYPE_CHECKING:
    from mrl_edge.devices.profiles import Cluster, Profile

_EPILOG = """Examples:

mrl-edge devices list

mrl-edge devices show pi-5-8gb

mrl-edge devices show ./myboard.toml --json
"""
_INDENT = 12
_HEADS = ("name", "cores", "MHz", "GB", "usable", "GB/s", "precision", "target")
_Device = Annotated[
    str,
    typer.Argument(help="A name that list shows, or a profile.toml of your own.", autocompletion=completions.devices),
]

devices = typer.Typer(
    name="devices",
    help="Show what is known of boards, phones, computers and cards.",
    epilog=_EPILOG,
    rich_markup_mode=None,
)


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.add_typer(devices)


@devices.command("list", epilog="Example: mrl-edge devices list")
def list_(as_json: options.AsJson = False) -> None:
    """List the devices that mrl-edge knows."""
    from mrl_edge.devices.profiles import known

    profiles = known()
    if as_json:
        console.print_json(profiles)
        return
    console.print_table("", _HEADS, [_row(profile) for profile in profiles])
    console.say("\nGB (10^9 bytes): the RAM, or a card's own memory; usable: by an application.")
    console.say("MHz: the fastest cores'; GB/s: the memory's peak; precision: to try first.")


@devices.command("show", epilog="Example: mrl-edge devices show pi-5-8gb")
def show(device: _Device, as_json: options.AsJson = False) -> None:
    """Show what a profile says.

    Where each figure is from stands in the file, devices/NAME.toml.
    """
    from mrl_edge.devices.profiles import resolve

    profile = resolve(device)
    if as_json:
        console.print_json(profile)
        return
    console.print_facts(_facts(profile), _INDENT)


def _row(profile: Profile) -> list[object]:
    cpu, memory, gpu = profile.cpu, profile.memory, profile.gpu
    size = memory.ram_bytes if memory else gpu.memory_bytes if gpu else None
    rate = memory.bandwidth_gb_s if memory else gpu.bandwidth_gb_s if gpu else None
    return [
        profile.name,
        "+".join(str(cluster.cores) for cluster in cpu.clusters) if cpu else None,
        _short(max(cluster.max_mhz or 0 for cluster in cpu.clusters)) if cpu else None,
        _short(size / 1e9) if size else None,
        _short(memory.application_bytes / 1e9) if memory else None,
        _short(rate) if rate else None,
        profile.precision,
        profile.target,
    ]


def _short(value: float) -> int | float | None:
    """Round so that a whole number prints as one; a clock of 0 is not known."""
    rounded = round(value, 2)
    return (int(rounded) if rounded.is_integer() else rounded) or None


def _facts(profile: Profile) -> list[tuple[str, str]]:
    facts = [
        ("name", profile.name),
        ("device", profile.title),
        ("precision", f"{profile.precision}, made for {profile.target}"),
        ("providers", ", ".join(profile.providers)),
    ]
    if profile.cpu:
        cpu = profile.cpu
        threads = f", {cpu.logical_cores} threads" if cpu.logical_cores > cpu.cores else ""
        facts.append(("processor", f"{cpu.name}, {cpu.arch}, {cpu.cores} cores{threads}"))
        facts.append(("cores", ", ".join(_cluster(cluster) for cluster in cpu.clusters)))
        facts.append(("features", " ".join(cpu.features) or "none that decides"))
    if profile.memory:
        memory = profile.memory
        size = f"{memory.ram_bytes / 1e9:.2f} GB, of which an application may use {memory.application_bytes / 1e9:.2f}"
        facts.append(("memory", _joined(size, memory.kind, _rate(memory.bandwidth_gb_s))))
    if profile.storage:
        storage = profile.storage
        bus = f"at most {storage.bus_mb_s:g} MB/s" if storage.bus_mb_s else None
        free = f"{storage.free_bytes / 1e9:.1f} GB free" if storage.free_bytes else None
        facts.append(("storage", _joined(storage.kind, bus, free)))
    if profile.gpu:
        gpu = profile.gpu
        size = f"{gpu.memory_bytes / 1e9:.1f} GB" if gpu.memory_bytes else "shares the memory"
        facts.append(
            ("GPU", _joined(gpu.name, f"compute capability {gpu.compute_capability}", size, _rate(gpu.bandwidth_gb_s)))
        )
    if profile.software:
        software = profile.software
        python = f"Python {software.python}" if software.python else None
        facts.append(("software", _joined(software.os, python, f"glibc {software.glibc}" if software.glibc else None)))
    return facts


def _cluster(cluster: Cluster) -> str:
    threads = f" of {cluster.threads_per_core} threads" if cluster.threads_per_core > 1 else ""
    clock = f" at up to {cluster.max_mhz:g} MHz" if cluster.max_mhz else ""
    return f"{cluster.cores} × {cluster.core}{threads}{clock}"


def _rate(gb_s: float | None) -> str | None:
    return f"{gb_s:g} GB/s" if gb_s else None


def _joined(*parts: str | None) -> str:
    return ", ".join(part for part in parts if part)
