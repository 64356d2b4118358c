"""What this machine is, for the head of a results file."""

from __future__ import annotations

import os
import platform
from collections.abc import Collection
from pathlib import Path

import msgspec

from mrl_edge.providers import package_version

# Instruction sets that decide how fast a precision is; as /proc/cpuinfo names them on x86 and ARM.
FEATURES = (
    "avx2", "avx_vnni", "avx512f", "avx512bw", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_int8", "amx_bf16",
    "asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve",
)  # fmt: skip
_PACKAGES = ("mrl-edge", "onnxruntime", "tokenizers", "numpy", "annoy")


class Device(msgspec.Struct, frozen=True):
    """A machine; `emulated` marks one whose times say nothing about the real board."""

    name: str
    arch: str
    cpu: str
    features: tuple[str, ...]
    cores: int
    ram_bytes: int
    os: str
    versions: dict[str, str]
    governor: str | None
    emulated: bool
    capped_to: str | None = None  # the device whose memory and cores it was held to: its times are its own


def features_of(arch: str, flags: Collection[str]) -> tuple[str, ...]:
    """Return which of `FEATURES` a processor names; an emulator shows its host's flags, which do not count."""
    ours = [name for name in FEATURES if name.startswith(("avx", "amx")) == arch.startswith(("x86", "i686"))]
    return tuple(name for name in ours if name in flags)


def describe() -> Device:
    """Return a description of the machine that this runs on."""
    import psutil  # costs a process 2 MB and 10 ms; who only reads a `Device` need not pay

    cpu, flags = _cpu()
    return Device(
        name="local",
        arch=platform.machine(),
        cpu=cpu,
        features=features_of(platform.machine(), flags),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        ram_bytes=psutil.virtual_memory().total,
        os=f"{platform.system()} {platform.release()}",
        versions={"python": platform.python_version(), **_versions()},
        governor=_governor(),
        emulated=_is_emulated(),
    )


def temperature_c() -> float | None:
    """Return the hottest sensor's temperature, or None when the machine cannot say."""
    import psutil

    read = getattr(psutil, "sensors_temperatures", None)
    sensors = read() if read else {}
    values = [sensor.current for group in sensors.values() for sensor in group]
    return max(values) if values else None


def _cpu() -> tuple[str, set[str]]:
    path = Path("/proc/cpuinfo")
    if not path.is_file():
        return platform.processor() or platform.machine(), set()
    fields: dict[str, str] = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip().lower(), value.strip())
    name = fields.get("model name") or fields.get("model") or platform.machine()
    return name, set((fields.get("flags") or fields.get("features") or "").split())


def _is_emulated() -> bool:
    """Whether QEMU's user mode runs this process: it hides itself in /proc/self/exe, and not below /proc/self/task.

    It may also pass the host's /proc/cpuinfo through, in which x86 processors alone name a `vendor_id`.
    """
    arch = platform.machine()
    try:
        if arch in ("aarch64", "armv7l") and "vendor_id" in Path("/proc/cpuinfo").read_text("latin-1"):
            return True
        interpreter = Path(f"/proc/self/task/{os.getpid()}/exe").readlink().name
    except OSError:
        return False
    return interpreter.removesuffix("-static").removeprefix("qemu-") in ("aarch64", "arm", "x86_64", "riscv64")


def _governor() -> str | None:
    path = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    return path.read_text(encoding="ascii").strip() if path.is_file() else None


def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError  # brings email with it, as of psutil above

    found = {}
    for package in _PACKAGES:
        try:
            found[package] = package_version(package)
        except PackageNotFoundError:
            found[package] = "unknown"
    return found
