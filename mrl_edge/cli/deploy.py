"""`mrl-edge deploy`: a bundle and all it needs → a board, which may have no internet."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mrl_edge.cli import console, options
from mrl_edge.errors import UsageError

if TYPE_CHECKING:
    from mrl_edge.bundle import Bundle
    from mrl_edge.devices.deploy.bring import Deployed
    from mrl_edge.devices.reach.address import Address
    from mrl_edge.progress import Report

_EPILOG = """Examples:

mrl-edge deploy bundle pi@raspberrypi.local

mrl-edge deploy bundle nano@jetson --onnxruntime onnxruntime_gpu-1.23.0-cp310-cp310-linux_aarch64.whl

mrl-edge deploy bundle pi@raspberrypi.local --remove

Everything stands in ~/.mrl-edge there. `mrl-edge devices probe HOST` says what a board lacks.
"""
WHEELS = Path("~/.cache/mrl-edge/wheels")  # gathered for boards, kept for the next time


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("deploy", epilog=_EPILOG)(deploy)


def deploy(
    bundle: options.BundleFolder,
    host: Annotated[str, typer.Argument(help="user@host, user@host:port or a name in ~/.ssh/config.")],
    onnxruntime: options.Onnxruntime = None,
    remove: Annotated[bool, typer.Option("--remove", help="Take it away again, and leave no trace.")] = False,
    as_json: options.AsJson = False,
) -> None:
    """Bring a bundle and an environment to run it in to a board, and check both there.

    The wheels are gathered here, so that the board needs no internet; a second time only what changed is sent.
    """
    from mrl_edge.bundle import open_bundle
    from mrl_edge.cli.providers import read_onnxruntime
    from mrl_edge.devices.deploy.bring import FOLDER
    from mrl_edge.devices.reach.address import read_address

    address = read_address(host)
    if remove and onnxruntime is not None:
        raise UsageError("--remove takes everything away, and --onnxruntime brings something: give one of them")
    if remove:
        asyncio.run(_remove(bundle, address))
        console.note(f"  {bundle.resolve().name} is gone from {address}")
        return
    brought = read_onnxruntime(onnxruntime, there=True)
    opened = open_bundle(bundle)
    with console.progress_bar() as report:
        done = asyncio.run(_bring(opened, brought, address, report))
    if as_json:
        console.print_json(done)
        return
    there = f"{done.kept} of them were there; {_size(done)} sent"
    console.say(f"{address}:{FOLDER}/{done.bundle}: {done.files} files, {there}")
    console.say(f"{FOLDER}/env/bin/python {'was made and ' if done.installed else ''}imports all it needs")
    if onnxruntime is not None:
        console.say(f"onnxruntime there was built with {', '.join(done.providers)}")


async def _bring(bundle: Bundle, onnxruntime: str | None, address: Address, report: Report) -> Deployed:
    from mrl_edge.devices.deploy.bring import bring
    from mrl_edge.devices.deploy.onnxruntime_of import Onnxruntime
    from mrl_edge.devices.reach.ssh import SshMachine

    async with SshMachine(address) as machine:
        return await bring(machine, bundle, Onnxruntime(onnxruntime), WHEELS.expanduser(), report)


async def _remove(bundle: Path, address: Address) -> None:
    from mrl_edge.devices.deploy.bring import remove
    from mrl_edge.devices.reach.ssh import SshMachine

    async with SshMachine(address) as machine:
        await remove(machine, bundle)


def _size(done: Deployed) -> str:
    return f"{done.sent_bytes / 1e6:.1f} MB"
