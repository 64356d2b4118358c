"""What a device is before anyone has measured on it: one TOML file a device, ours beside this module, or your own.

Sizes are bytes and rates 10^9 or 10^6 a second; features are named as `/proc/cpuinfo` names them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from mrl_edge.devices.local import FEATURES

from mrl_edge.cpu import target_of
from mrl_edge.errors import DataError, UsageError

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

SUFFIX = ".toml"
_MAX_BYTES = 2**16  # ours are under 2,000; a link to a device or a data set by mistake is not read whole
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f-\x9f]*\Z")]
Name = Annotated[str, msgspec.Meta(max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*\Z")]
Count = Annotated[int, msgspec.Meta(gt=0, le=2**16)]
Bytes = Annotated[int, msgspec.Meta(gt=0, le=2**53)]
Provider = Literal["CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"]  # of onnxruntime
Rate = Annotated[float, msgspec.Meta(gt=0, le=1e6)]


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """A table of the file: a key that is none of its fields is refused."""


class Cluster(_Table, frozen=True):
    """Cores of one kind that share a clock, the fastest kind first."""

    core: Text  # the microarchitecture, as in `Cortex-A76`
    cores: Count
    threads_per_core: Count = 1
    max_mhz: Rate | None = None


class Cpu(_Table, frozen=True):
    """A processor; its features are those that every core has."""

    name: Text
    arch: Literal["aarch64", "x86_64"]  # as `platform.machine()` names it on Linux
    features: tuple[str, ...]  # of `local.FEATURES`
    clusters: Annotated[tuple[Cluster, ...], msgspec.Meta(min_length=1)]

    def __post_init__(self) -> None:
        unknown = sorted(set(self.features) - set(FEATURES))
        if unknown:
            raise ValueError(f"features: {unknown[0]!r} is none of {', '.join(FEATURES)}")

    @property
    def cores(self) -> int:
        """The number of physical cores."""
        return sum(cluster.cores for cluster in self.clusters)

    @property
    def logical_cores(self) -> int:
        """The number of processors that the operating system sees."""
        return sum(cluster.cores * cluster.threads_per_core for cluster in self.clusters)

    @property
    def target(self) -> str:
        """The target of a precision that suits it, one of `cpu.TARGETS`, or `cpu.ANY` for one that is none of them."""
        return target_of(self.arch, set(self.features))


class Memory(_Table, frozen=True):
    """The RAM; on a board whose GPU has none of its own, both use it."""

    ram_bytes: Bytes
    application_bytes: Bytes  # what is left beside the operating system
    kind: Text | None = None  # as in `LPDDR4-3200`
    bandwidth_gb_s: Rate | None = None  # 10^9 bytes a second, the interface's peak: data rate × width

    def __post_init__(self) -> None:
        if self.application_bytes >= self.ram_bytes:
            raise ValueError("application_bytes must be less than ram_bytes: the system needs some of it")


class Storage(_Table, frozen=True):
    """What the device starts from."""

    kind: Text  # as in `microSD`
    bus_mb_s: Rate | None = None  # 10^6 bytes a second, the interface's peak
    free_bytes: Bytes | None = None  # a probe's: what was free


class Gpu(_Table, frozen=True):
    """A GPU that onnxruntime has a provider for."""

    name: Text
    compute_capability: Annotated[str, msgspec.Meta(pattern=r"^[0-9]+\.[0-9]\Z")]
    memory_bytes: Bytes | None = None  # none: it shares the RAM
    bandwidth_gb_s: Rate | None = None  # of its own memory


class Software(_Table, frozen=True):
    """The operating system that the maker documents for it, or that a probe found."""

    os: Text
    python: Annotated[str, msgspec.Meta(pattern=r"^3\.[0-9]+(\.[0-9]+)?\Z")] | None = None  # the system's own
    glibc: Annotated[str, msgspec.Meta(pattern=r"^2\.[0-9]+\Z")] | None = None


class Profile(_Table, frozen=True):
    """A device. A card in a host of your choice has a GPU alone: no processor, no RAM, no storage."""

    schema_version: Literal[1]
    name: Name
    title: Text
    precision: Literal["fp32", "fp16", "int8", "int8-static", "int4"]  # what to try first on it
    providers: Annotated[tuple[Provider, ...], msgspec.Meta(min_length=1)]  # the first to try first
    cpu: Cpu | None = None
    memory: Memory | None = None
    storage: Storage | None = None
    gpu: Gpu | None = None
    software: Software | None = None

    def __post_init__(self) -> None:
        if (self.cpu is None) != (self.memory is None):
            raise ValueError("[cpu] and [memory] come together: give both, or neither for a card")
        if self.gpu is None and (self.cpu is None or self.providers != ("CPUExecutionProvider",)):
            raise ValueError("a device without [gpu] has [cpu] and [memory], and CPUExecutionProvider alone")
        if self.cpu is None and self.providers[0] == "CPUExecutionProvider":
            raise ValueError("a card without [cpu] names its own provider first, as in CUDAExecutionProvider")

    @property
    def target(self) -> str:
        """The target of a precision that suits its first provider: `cuda`, or its processor's."""
        if self.cpu is None or self.providers[0] != "CPUExecutionProvider":
            return "cuda"
        return self.cpu.target


def known() -> tuple[Profile, ...]:
    """Return the profiles that come with mrl-edge, by name."""
    return tuple(_decode(path.read_bytes(), path.name) for path in sorted(_shipped(), key=_by_number))


def names() -> tuple[str, ...]:
    """Return the names of the profiles that come with mrl-edge, without reading them."""
    return tuple(path.name.removesuffix(SUFFIX) for path in sorted(_shipped(), key=_by_number))


def resolve(device: str) -> Profile:
    """Return the profile of a device: one of ours by name, or any file by its path, which ends in `.toml`.

    Raises `UsageError` for a name that is none of ours and for a file that is missing or is no file, and `DataError`
    for a file that is no profile; the message names the file, the field and what to do.
    """
    if device.endswith(SUFFIX):
        return read_profile(Path(device))
    paths = {path.name.removesuffix(SUFFIX): path for path in _shipped()}
    if device in paths:
        return _decode(paths[device].read_bytes(), paths[device].name)
    near = get_close_matches(device.lower(), paths, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    rest = f"mrl-edge devices list shows all; a file of your own ends in {SUFFIX}"
    raise UsageError(f"no device is named {device[:64]!r}: {hint}{rest}")


def is_known(name: str) -> bool:
    """Whether one of our profiles has this name."""
    return any(path.name == f"{name}{SUFFIX}" for path in _shipped())


def read_profile(path: Path) -> Profile:
    """Read and validate one file; raises as `resolve`."""
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{_printable(str(path))} cannot be read: {error.strerror}") from None
    if len(content) > _MAX_BYTES:
        raise DataError(f"{_printable(str(path))} is no profile: it has more than {_MAX_BYTES} bytes")
    return _decode(content, str(path))


def _shipped() -> Iterator[Traversable]:
    return (path for path in files("mrl_edge.devices").iterdir() if path.name.endswith(SUFFIX))


def _by_number(path: Traversable) -> list[str | int]:
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", path.name)]  # 4gb before 16gb


def _decode(content: bytes, where: str) -> Profile:
    where = _printable(where)
    try:
        return msgspec.toml.decode(content, type=Profile)
    except msgspec.ValidationError as error:
        what, _, field = str(error).partition(" - at `$")
        field = field.strip("`").lstrip(".") or "the file"
        advice = "correct it: mrl-edge devices show jetson-orin-nano --json has every table right"
        raise DataError(f"{where}: {_printable(field)}: {_printable(what)}; {advice}") from None
    except (msgspec.DecodeError, ValueError, RecursionError) as error:  # not UTF-8; a number of thousands of digits
        raise DataError(f"{where} is no TOML: {_printable(str(error))}; correct that line") from None


def _printable(text: str) -> str:
    """A file may come from a device that someone else holds: nothing in it or its name reaches a terminal raw."""
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)[:300]
