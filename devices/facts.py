"""What a machine says of itself: one shell script goes there over standard input, and its answer is read here."""

from __future__ import annotations

import re
from collections import Counter
from importlib.resources import files
from typing import TYPE_CHECKING

import msgspec
from mrl_edge.devices.local import features_of

from mrl_edge.errors import ReachError

if TYPE_CHECKING:
    from mrl_edge.devices.reach import Machine

# The microarchitecture of a core, by implementer and part as /proc/cpuinfo gives them: Linux, arch/arm64's cputype.h.
_CORES = {
    ("0x41", "0xd03"): "Cortex-A53", ("0x41", "0xd04"): "Cortex-A35", ("0x41", "0xd05"): "Cortex-A55",
    ("0x41", "0xd07"): "Cortex-A57", ("0x41", "0xd08"): "Cortex-A72", ("0x41", "0xd09"): "Cortex-A73",
    ("0x41", "0xd0a"): "Cortex-A75", ("0x41", "0xd0b"): "Cortex-A76", ("0x41", "0xd0c"): "Neoverse-N1",
    ("0x41", "0xd0d"): "Cortex-A77", ("0x41", "0xd40"): "Neoverse-V1", ("0x41", "0xd41"): "Cortex-A78",
    ("0x41", "0xd42"): "Cortex-A78AE", ("0x41", "0xd44"): "Cortex-X1", ("0x41", "0xd46"): "Cortex-A510",
    ("0x41", "0xd47"): "Cortex-A710", ("0x41", "0xd48"): "Cortex-X2", ("0x41", "0xd49"): "Neoverse-N2",
    ("0x41", "0xd4d"): "Cortex-A715", ("0x41", "0xd4e"): "Cortex-X3", ("0x41", "0xd4f"): "Neoverse-V2",
    ("0x4e", "0x003"): "Denver 2", ("0x4e", "0x004"): "Carmel",
}  # fmt: skip
# A Jetson's GPU, by the chip's name in the device tree: NVIDIA, "CUDA GPU Compute Capability".
_TEGRA = {
    "nvidia,tegra210": ("Tegra X1", "5.3"),
    "nvidia,tegra186": ("Tegra X2", "6.2"),
    "nvidia,tegra194": ("Xavier", "7.2"),
    "nvidia,tegra234": ("Orin", "8.7"),
}
_HEAT = 0b1110_0000_0000_0000_1110  # what of `vcgencmd get_throttled` is a slowed clock, now or since the start


class Python(msgspec.Struct, frozen=True):
    """An interpreter on the machine."""

    path: str
    version: str
    bits: int  # of a pointer
    venv: bool


class Cores(msgspec.Struct, frozen=True):
    """Physical cores of one kind that share a clock."""

    core: str
    cores: int
    threads_per_core: int
    max_mhz: float | None


class GraphicsProcessor(msgspec.Struct, frozen=True):
    """A GPU; `memory_bytes` is None where it shares the machine's RAM."""

    name: str
    compute_capability: str
    memory_bytes: int | None


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """A machine as it is now; None is what it could not say."""

    hostname: str
    model: str | None
    arch: str
    bits: int  # of its programs, which may be 32 on a 64-bit kernel
    cpu: str
    features: tuple[str, ...]
    clusters: tuple[Cores, ...]
    ram_bytes: int
    available_bytes: int
    swap_bytes: int
    os: str
    kernel: str
    glibc: str | None
    musl: bool
    python: Python | None  # the first of at least 3.10, or else the first
    governor: str | None
    temperature_c: float | None  # the hottest sensor
    throttle_count: int | None  # since it started, all cores together
    throttled: bool | None  # a Raspberry Pi: slowed now, or at some time since it started
    gpu: GraphicsProcessor | None
    disk: str | None  # the device that holds the home folder
    free_bytes: int | None  # there
    missing_tools: tuple[str, ...]


async def ask(machine: Machine) -> Facts:
    """Run the script on a machine and read its answer; raises `ReachError` when there is none to read."""
    script = files("mrl_edge.devices").joinpath("probe.sh").read_bytes()
    done = await machine.run(["sh", "-s"], stdin=script)
    if b"\n@@ end\n" not in done.out:
        raise ReachError(f"{machine.name} did not answer the probe: {done.reason}")
    try:
        return read(done.out.decode("utf-8", "replace"))
    except (KeyError, IndexError, ValueError) as error:
        raise ReachError(f"{machine.name} answered the probe with what cannot be read: {error!r}") from None


def read(answer: str) -> Facts:
    """Read the sections that the script prints. Raises `ReachError` for a machine that is no Linux."""
    answer = "".join(sign for sign in answer if sign.isprintable() or sign in "\n\t")  # no escapes for our terminal
    said = {name: text.strip() for name, text in re.findall(r"^@@ (\w+)\n(.*?)(?=^@@ |\Z)", answer, re.M | re.S)}
    arch, hostname, system, release = said["kernel"].splitlines()
    if system != "Linux":
        raise ReachError(f"{hostname} runs {system}: only Linux is probed")
    memory = {key: int(kib) * 1024 for key, kib in re.findall(r"^(\w+):\s+(\d+) kB", said["meminfo"], re.M)}
    processors = _processors(said["cpuinfo"])
    every = processors[0] if processors else {}
    disk, free = _disk(said["disk"])
    return Facts(
        hostname=hostname,
        model=said["model"] or None,
        arch=arch,
        bits=int(said["bits"] or (64 if arch in ("aarch64", "x86_64") else 32)),
        cpu=every.get("model name") or _core(every) or arch,
        features=_features(arch, processors),
        clusters=_clusters(processors, said["topology"]),
        ram_bytes=memory["MemTotal"],
        available_bytes=memory.get("MemAvailable", memory["MemFree"]),
        swap_bytes=memory.get("SwapTotal", 0),
        os=_field(said["os"], r'^PRETTY_NAME="?([^"\n]*)') or system,
        kernel=f"{system} {release}",
        glibc=_field(said["glibc"] or said["ldd"], r"^(?:glibc|ldd \(.*\)) (2\.[0-9]{1,3})\b"),
        musl="musl" in said["ldd"],
        python=_python(said["python"]),
        governor=" ".join(said["governor"].split()) or None,  # one line, for a comment is made of it
        temperature_c=max((int(line) / 1000 for line in _numbers(said["temperature"])), default=None),
        throttle_count=sum(map(int, counts)) if (counts := _numbers(said["throttle_count"])) else None,
        throttled=bool(int(bits, 16) & _HEAT) if (bits := _field(said["throttled"], r"^throttled=0x(\w+)")) else None,
        gpu=_gpu(said["gpu"], said["compatible"].splitlines()),
        disk=disk,
        free_bytes=free,
        missing_tools=tuple(said["tools"].split()),
    )


def _field(text: str, pattern: str) -> str | None:
    found = re.search(pattern, text, re.M)
    return found[1] if found else None


def _numbers(text: str) -> list[str]:
    return re.findall(r"^\d+$", text, re.M)


def _processors(cpuinfo: str) -> list[dict[str, str]]:
    """Return the fields of each logical processor, with names in small letters."""
    found: list[dict[str, str]] = []
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "processor":
            found.append({})
        if found and key.strip():
            found[-1][key.strip().lower()] = value.strip()
    return found


def _features(arch: str, processors: list[dict[str, str]]) -> tuple[str, ...]:
    """Return what every core has, since a program may run on any."""
    sets = [set((fields.get("flags") or fields.get("features") or "").split()) for fields in processors]
    return features_of(arch, set.intersection(*sets)) if sets else ()


def _core(fields: dict[str, str]) -> str | None:
    implementer, part = fields.get("cpu implementer"), fields.get("cpu part")
    if implementer is None or part is None:
        return None
    return _CORES.get((implementer, part), f"ARM implementer {implementer} part {part}")


def _clusters(processors: list[dict[str, str]], topology: str) -> tuple[Cores, ...]:
    """Group physical cores by kind and highest clock, the fastest first."""
    of = {fields["processor"]: fields for fields in processors}
    lines = [line.split() for line in topology.splitlines()]
    if not lines:  # no sysfs: count what /proc/cpuinfo lists
        lines = [[number, "0", number] for number in of]
    kinds: Counter[tuple[float, str, int]] = Counter()
    for number, khz, siblings in lines:
        fields = of.get(number, {})
        name = _core(fields) or fields.get("model name") or "unknown"
        kinds[(int(khz) / 1000, name, _count(siblings))] += 1
    return tuple(
        Cores(name, max(1, processors_of_kind // threads), threads, mhz or None)
        for (mhz, name, threads), processors_of_kind in sorted(kinds.items(), reverse=True)
    )


def _count(siblings: str) -> int:
    """Return how many processors a list as `0-1,4` names."""
    ranges = [part.split("-") for part in siblings.split(",")]
    return sum(int(part[-1]) - int(part[0]) + 1 for part in ranges)


def _python(lines: str) -> Python | None:
    found = []
    for line in lines.splitlines():
        version, wide, venv, path = line.split(" ", 3)
        found.append(Python(path, version, 64 if wide == "1" else 32, venv == "venv"))
    new = [python for python in found if version_of(python.version) >= (3, 10)]
    return next(iter(new or found), None)


def version_of(text: str) -> tuple[int, ...]:
    """Return a version as numbers that compare."""
    return tuple(int(part) for part in text.split("."))


def _gpu(listed: str, compatible: list[str]) -> GraphicsProcessor | None:
    for line in listed.splitlines():
        fields = [part.strip() for part in line.rsplit(",", 2)]  # without its driver nvidia-smi writes a sentence
        if len(fields) == 3 and re.fullmatch(r"\d+\.\d", fields[2]):
            name, memory, capability = fields
            return GraphicsProcessor(name, capability, int(memory) << 20 if memory.isdigit() else None)
    for chip in compatible:
        if chip in _TEGRA:
            return GraphicsProcessor(*_TEGRA[chip], memory_bytes=None)
    return None


def _disk(table: str) -> tuple[str | None, int | None]:
    """Return the device and the free bytes of `df -Pk`'s one row; spaces may stand in its first and its last name."""
    found = re.search(r"\n(.+?)\s+\d+\s+\d+\s+(\d+)\s+(?:\d+%|-)\s", table)
    return (found[1], int(found[2]) * 1024) if found else (None, None)
