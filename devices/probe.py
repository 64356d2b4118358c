"""From what a machine says of itself: its profile, and what it lacks before something can be deployed there."""

from __future__ import annotations

import re
from datetime import datetime, timezone

import msgspec
from mrl_edge.devices.facts import Facts, version_of
from mrl_edge.devices.profiles import Profile

from mrl_edge.errors import UnsupportedError

_ARCHITECTURES = ("aarch64", "x86_64")
_GLIBC = (2, 28)  # of onnxruntime's wheels
_PYTHON = (3, 10)
_FREE_BYTES = 300_000_000  # wheels of 64 MB and what they become, 187 MB; the bundle comes on top


def missing(facts: Facts) -> tuple[str, ...]:
    """Return what keeps mrl-edge from being deployed on a machine, each with what to do about it.

    Room on its disk is what a first deployment needs of it beside the bundle; a deployment counts what it will send.
    """
    return tuple(line for line in (*lacking(facts), _disk(facts)) if line)


def lacking(facts: Facts) -> tuple[str, ...]:
    """Return the same without the room on its disk."""
    return tuple(line for line in (_system(facts), _python(facts), _tools(facts)) if line)


def profile_of(facts: Facts) -> Profile:
    """Return a machine's profile. Raises `UnsupportedError` for a processor or figures that no profile has."""
    if facts.arch not in _ARCHITECTURES:
        raise UnsupportedError(f"{facts.hostname} is a {facts.arch}: profiles are of {' and '.join(_ARCHITECTURES)}")
    gpu = facts.gpu is not None
    content = {
        "schema_version": 1,
        "name": re.sub(r"[^A-Za-z0-9._-]+", "-", facts.hostname).strip("-._")[:64] or "machine",
        "title": _text(facts.model or facts.cpu),
        "precision": "fp16" if gpu else "int8",
        "providers": ["CUDAExecutionProvider", "CPUExecutionProvider"] if gpu else ["CPUExecutionProvider"],
        "cpu": {
            "name": _text(facts.cpu),
            "arch": facts.arch,
            "features": list(facts.features),
            "clusters": [_without_none({**msgspec.structs.asdict(kind), "core": _text(kind.core)})
                         for kind in facts.clusters],
        },
        "memory": {
            "ram_bytes": facts.ram_bytes,
            "application_bytes": min(facts.available_bytes, facts.ram_bytes - 1),
        },
        "software": _without_none(
            {"os": _text(facts.os), "python": facts.python.version if facts.python else None, "glibc": facts.glibc}
        ),
    }  # fmt: skip
    if facts.free_bytes:
        content["storage"] = {"kind": _kind_of_disk(facts.disk or ""), "free_bytes": facts.free_bytes}
    if facts.gpu is not None:
        content["gpu"] = _without_none({**msgspec.structs.asdict(facts.gpu), "name": _text(facts.gpu.name)})
    try:
        return msgspec.convert(content, Profile)
    except msgspec.ValidationError as error:
        raise UnsupportedError(f"{facts.hostname}: no profile can be made of what it says: {error}") from None


def write_down(facts: Facts, asked: str) -> bytes:
    """Return the profile as a TOML file, headed by how the machine was found when `asked` was run."""
    import tomli_w

    now = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    head = f"# As `{asked}` found it on {now}; application_bytes is what was available.\n# {', '.join(state(facts))}\n"
    return (head + tomli_w.dumps(msgspec.to_builtins(profile_of(facts)))).encode()


def state(facts: Facts) -> tuple[str, ...]:
    """Return what changes from one minute to the next and decides how fast the machine is."""
    heat = {None: None, True: "was throttled", False: "was not throttled"}[facts.throttled]
    if facts.throttle_count is not None:
        heat = f"{facts.throttle_count} throttlings since it started"
    return (
        f"governor {facts.governor}" if facts.governor else "no governor to read",
        f"{facts.temperature_c:.1f} °C" if facts.temperature_c is not None else "no temperature to read",
        heat or "no throttling to read",
    )


def _system(facts: Facts) -> str | None:
    if facts.arch not in _ARCHITECTURES or facts.bits != 64:
        return f"a 64-bit operating system: onnxruntime has no wheel for {facts.arch} with {facts.bits}-bit programs"
    if facts.musl:
        return "glibc: onnxruntime has no wheel for musl"
    if facts.glibc is None or version_of(facts.glibc) < _GLIBC:
        return f"glibc {_dotted(_GLIBC)} or newer, which onnxruntime's wheels need: there is {facts.glibc or 'none'}"
    return None


def _python(facts: Facts) -> str | None:
    if facts.python is None:
        return f"no Python: install {_dotted(_PYTHON)} or newer (apt install python3)"
    if version_of(facts.python.version) < _PYTHON:
        return f"Python {_dotted(_PYTHON)} or newer: there is {facts.python.version}"
    if facts.python.bits != 64:
        return "a 64-bit Python: there is one of 32 bits"
    if not facts.python.venv:
        return "Python's module venv (apt install python3-venv)"
    return None


def _tools(facts: Facts) -> str | None:
    return f"the commands {', '.join(facts.missing_tools)}" if facts.missing_tools else None


def _disk(facts: Facts) -> str | None:
    if facts.free_bytes is None or facts.free_bytes >= _FREE_BYTES:
        return None
    return f"{_FREE_BYTES / 1e6:.0f} MB free in the home folder: there are {facts.free_bytes / 1e6:.0f}"


def _kind_of_disk(device: str) -> str:
    name = device.removeprefix("/dev/")
    kinds = {"mmcblk": "microSD or eMMC", "nvme": "NVMe", "sd": "SATA or USB"}
    return next((kind for prefix, kind in kinds.items() if name.startswith(prefix)), _text(name or "unknown"))


def _text(value: str) -> str:
    return " ".join(value.split())[:200] or "unknown"


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def _without_none(table: dict[str, object]) -> dict[str, object]:
    return {key: value for key, value in table.items() if value is not None}
