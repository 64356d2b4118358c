"""`mrl-edge devices probe`: a real machine → its profile, and what it lacks for a deployment."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mrl_edge.cli import console, devices, options
from mrl_edge.errors import UnsupportedError, UsageError

if TYPE_CHECKING:
    from mrl_edge.devices.facts import Facts

_EPILOG = """Examples:

mrl-edge devices probe

mrl-edge devices probe pi@raspberrypi.local --out pi.toml

The host's key must stand in known_hosts, and a key of yours must open it: `ssh HOST` works without a password.
"""


def register(app: typer.Typer) -> None:
    """Add the command to those of `mrl-edge devices`."""
    devices.devices.command("probe", epilog=_EPILOG)(probe)


def probe(
    host: Annotated[
        str | None, typer.Argument(help="user@host, user@host:port or a name in ~/.ssh/config; else this machine.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The profile; HOSTNAME.toml by default.")] = None,
    overwrite: options.Overwrite = False,
    as_json: options.AsJson = False,
) -> None:
    """Ask a machine what it is, write its profile, and say what is missing for a deployment.

    One shell script goes there over standard input; it leaves nothing behind.
    """
    from mrl_edge.atomic import write_file
    from mrl_edge.devices.probe import missing, profile_of, write_down

    if out is not None:
        _check(out, overwrite)
    facts = asyncio.run(_facts(host))
    lacking = missing(facts)
    try:
        path = out or Path(f"{profile_of(facts).name}.toml")
        _check(path, overwrite)
        write_file(path, write_down(facts, f"mrl-edge devices probe {host or ''}".rstrip()))
        written, why = path, ""
    except UnsupportedError as error:
        written, why = None, str(error)
    if as_json:
        console.print_json({"facts": facts, "missing": lacking, "profile": str(written) if written else None})
        return
    for name, value in _lines(facts):
        console.say(f"{name:<12}{value}")
    for line in lacking:
        console.say(f"{'missing':<12}{line}")
    console.say(f"{'profile':<12}{written or why}")


async def _facts(host: str | None) -> Facts:
    if host is None:
        from mrl_edge.devices.reach.local import LocalMachine

        return await LocalMachine(Path.cwd()).info()
    from mrl_edge.devices.reach.address import read_address

    address = read_address(host)
    from mrl_edge.devices.reach.ssh import SshMachine

    async with SshMachine(address) as machine:
        return await machine.info()


def _check(path: Path, overwrite: bool) -> None:
    if path.exists() and not overwrite:
        raise UsageError(f"{path} already exists: choose another --out, or replace it with --overwrite")


def _lines(facts: Facts) -> list[tuple[str, str]]:
    from mrl_edge.devices.probe import state

    memory = f"{facts.ram_bytes / 1e9:.2f} GB, {facts.available_bytes / 1e9:.2f} available"
    swap = f", {facts.swap_bytes / 1e9:.2f} GB of swap" if facts.swap_bytes else ""
    libc = f"glibc {facts.glibc}" if facts.glibc else "musl" if facts.musl else "an unknown libc"
    free = f"{facts.free_bytes / 1e9:.1f} GB free" if facts.free_bytes is not None else "unknown"
    return [
        ("machine", f"{facts.hostname}, {facts.model or 'model unknown'}"),
        ("processor", f"{facts.cpu}, {facts.arch}"),
        ("cores", ", ".join(_cores(kind.core, kind.cores, kind.threads_per_core, kind.max_mhz)
                            for kind in facts.clusters)),
        ("features", " ".join(facts.features) or "none that decides"),
        ("memory", memory + swap),
        ("GPU", f"{facts.gpu.name}, compute capability {facts.gpu.compute_capability}" if facts.gpu else "none"),
        ("system", f"{facts.os}, {facts.kernel}, {libc}"),
        ("Python", f"{facts.python.version}, {facts.python.path}" if facts.python else "no Python"),
        ("home disk", f"{free} on {facts.disk or 'an unknown disk'}"),
        ("state", ", ".join(state(facts))),
    ]  # fmt: skip


def _cores(core: str, cores: int, threads: int, max_mhz: float | None) -> str:
    of = f" of {threads} threads" if threads > 1 else ""
    return f"{cores} × {core}{of}" + (f" at up to {max_mhz:g} MHz" if max_mhz else "")
