"""Bringing a bundle to a machine, with an environment of its own to run in, and taking it away again."""

from __future__ import annotations

import asyncio
import json
from importlib.resources import files as resources
from pathlib import Path

import msgspec
from mrl_edge.devices.deploy.holder import LOCK, Holder
from mrl_edge.devices.deploy.onnxruntime_of import Onnxruntime
from mrl_edge.devices.deploy.room import room_of
from mrl_edge.devices.deploy.wheelhouse import environment_bytes, gather
from mrl_edge.devices.probe import lacking
from mrl_edge.devices.reach import Machine

from mrl_edge.bundle import MANIFEST, Bundle
from mrl_edge.errors import ReachError, UnsupportedError, UsageError
from mrl_edge.hashing import sha256
from mrl_edge.progress import Report

FOLDER = ".mrl-edge"  # in the home folder: everything of ours
BUNDLES = "bundles"
# $1: our folder, $2: the bundle in it. What no bundle needs any more goes with the last; what is not ours stays.
_REMOVE = """\
[ -e "$1" ] || exit 0
cd -- "$1" || exit 1
rm -rf -- "$2" "runs/${2#bundles/}" || exit 1
rmdir bundles 2>/dev/null || [ ! -d bundles ] || exit 0
rm -rf -- wheels env runs bench.lock || exit 1
cd .. && rmdir -- "$1\""""

# $1: our folder, $2: its lock. Prints the holder where a run goes on.
_BUSY = """\
cd -- "$1" 2>/dev/null && [ -e "$2" ] && command -v flock >/dev/null || exit 0
flock -n "$2" true || cat -- "$2\""""


class Deployed(msgspec.Struct, frozen=True):
    """What a deployment did; `kept` files were there already with the same SHA-256."""

    bundle: str  # its folder, in `FOLDER` there
    files: int
    kept: int
    sent_bytes: int
    installed: bool  # the environment was made anew
    providers: tuple[str, ...]  # that the onnxruntime there was built with; whether one starts is seen by measuring


class _Settled(msgspec.Struct, frozen=True):
    """What `settle.py` answers."""

    installed: bool
    problems: tuple[str, ...]
    providers: tuple[str, ...] = ()


async def refuse_busy(machine: Machine, unless: str | None = None) -> None:
    """Raise `ReachError` while a run measures there, unless it is the one of this name: nothing changes under it."""
    done = await machine.run(["sh", "-c", _BUSY, "sh", FOLDER, LOCK])
    if done.code != 0 or not done.out.strip():
        return
    try:
        holder = msgspec.json.decode(done.out, type=Holder).run
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        holder = "another run"
    if holder != unless:
        raise ReachError(f"{machine.name} is measuring {holder[:200]!a}: one run at a time; wait for it to end")


async def bring(
    machine: Machine, bundle: Bundle, onnxruntime: Onnxruntime, cache: Path, report: Report, run: str | None = None
) -> Deployed:
    """Bring a bundle and all it needs to a machine, and check it there: every SHA-256, and every import.

    `run` is the run that it is brought for, which may go on there already.

    Raises `BundleError` for a bundle that is not what was exported, `UnsupportedError` for a machine that lacks
    something, and `ReachError` for what was not right there.
    """
    await refuse_busy(machine, run)
    files = await asyncio.to_thread(_hashes, bundle)  # other boards are talked to meanwhile
    facts = await machine.info()
    lacks = lacking(facts)
    if lacks or facts.python is None:
        raise UnsupportedError(f"{machine.name} lacks what a deployment needs: {'; '.join(lacks)}")
    gathered = await asyncio.to_thread(gather, facts, facts.python, onnxruntime, cache, report)
    wheels = {path.name: path for path in gathered}
    place = f"{BUNDLES}/{name_of(bundle.folder)}"
    there = {f"{FOLDER}/wheels/{name}": path for name, path in wheels.items()}
    there |= {f"{FOLDER}/{place}/{name}": bundle.folder / name for name in files}
    room = await room_of(machine, facts, f"{FOLDER}/env", await asyncio.to_thread(environment_bytes, wheels.values()))
    sent = await machine.put(there, report, room.check)
    hashes = await asyncio.to_thread(lambda: {name: sha256(path) for name, path in wheels.items()})
    wanted = {"bundle": place, "files": files, "wheels": hashes, "lock": LOCK}
    script = resources("mrl_edge.devices.deploy").joinpath("settle.py").read_text(encoding="utf-8")
    command = ["sh", "-c", 'cd -- "$1" && shift && exec "$@"', "sh", FOLDER, facts.python.path, "-c", script]
    done = await machine.run(command, stdin=json.dumps(wanted).encode())
    if done.code != 0:
        raise ReachError(f"{machine.name}: what was sent could not be settled: {done.reason}")
    try:
        settled = msgspec.json.decode(done.out, type=_Settled)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ReachError(f"{machine.name} answered with what cannot be read: {error}") from None
    if settled.problems:
        raise ReachError(f"{machine.name}: {'; '.join(settled.problems)}")
    return Deployed(
        bundle=place,
        files=sent.files,
        kept=sent.kept,
        sent_bytes=sent.bytes,
        installed=settled.installed,
        providers=settled.providers,
    )


def _hashes(bundle: Bundle) -> dict[str, str]:
    found = {name: sha256(bundle.checked(name)) for name in bundle.manifest.files}
    return {**found, MANIFEST: sha256(bundle.folder / MANIFEST)}


async def remove(machine: Machine, bundle: Path) -> None:
    """Remove a bundle from a machine, and with the last one the wheels, the environment and our folder."""
    await refuse_busy(machine)
    done = await machine.run(["sh", "-c", _REMOVE, "sh", FOLDER, f"{BUNDLES}/{name_of(bundle)}"])
    if done.code != 0:
        raise ReachError(f"{machine.name}: {FOLDER} could not be removed: {done.reason}")


def name_of(bundle: Path) -> str:
    """Return the name of a bundle's place there."""
    name = bundle.resolve().name
    if not name:
        raise UsageError(f"{bundle} is no bundle's folder")
    return name
