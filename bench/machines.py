"""Measured machines as their ceilings and, for each configuration, its work: what another machine is predicted from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mrl_edge.bench.candidates import Candidate, measured
from mrl_edge.bench.fleet import check_bundles
from mrl_edge.bench.results import Bandwidth, Ceilings, Measurement, Results, Work, refuse_emulated
from mrl_edge.devices.ceilings import peak

from mrl_edge.errors import ResultsError, UsageError

if TYPE_CHECKING:
    from mrl_edge.devices.local import Device
    from mrl_edge.devices.profiles import Profile

_SAME_ARCH = {"arm64": "aarch64", "amd64": "x86_64"}  # as macOS and Windows name what Linux and profiles do
_Processor = tuple[str, str, tuple[str, ...]]


@dataclass(frozen=True)
class Row:
    """A measured configuration with what it computes and reads."""

    candidate: Candidate
    work: Work
    model_bytes: int
    search_bytes: int  # of the index and the vectors; at least 1


@dataclass(frozen=True)
class Machine:
    """One kind of processor, whatever number of boards have it."""

    name: str
    arch: str
    features: frozenset[str]
    rows: Mapping[tuple[object, ...], Row]  # by `Candidate.key`
    ceilings: Mapping[int, Ceilings]  # by threads


def machines_of(results: Sequence[Results], profiles: Mapping[int, Profile]) -> list[Machine]:
    """Return the machines that results are of, a later file's rows in the place of an earlier one's.

    `profiles` are of machines, by the place of their results: their ceilings are then the profile's, as the board's
    are, and not those that were measured. Raises `ResultsError` for results of an emulator, of different bundles or
    data, and without rooflines, and `UsageError` for a profile of another architecture, or that says too little.
    """
    _check_alike(results)
    for place, given in profiles.items():
        _check_arch(given, results[place].device)
    groups: dict[_Processor, list[int]] = {}
    for place, one in enumerate(results):
        refuse_emulated(one)
        device = one.device
        groups.setdefault((device.cpu, device.arch, device.features), []).append(place)
    names = [machine_name(results[places[0]]) for places in groups.values()]
    found = []
    for name, places in zip(names, groups.values(), strict=True):
        device = results[places[0]].device
        if names.count(name) > 1:
            name = f"{name} ({', '.join(device.features)})"
        profile = next((profiles[place] for place in places if place in profiles), None)
        found.append(_machine(name, [results[place] for place in places], profile))
    return found


def _check_arch(profile: Profile, device: Device) -> None:
    arch = _SAME_ARCH.get(device.arch.lower(), device.arch)
    if profile.cpu is not None and profile.cpu.arch != arch:
        raise UsageError(
            f"--profile: {profile.name} is {profile.cpu.arch}, and {device.cpu}, which was measured, is {arch}"
        )


def differing_features(profile: Profile, device: Device) -> list[str]:
    """Return the instruction sets that a profile and the machine that it is said to be of do not share."""
    return sorted({*(profile.cpu.features if profile.cpu else ())} ^ {*device.features})


def by_profile(profile: Profile, threads: int) -> Ceilings:
    """Return the ceilings of a board as if they had been measured; raises as `devices.ceilings.peak`."""
    most = peak(profile, threads)
    return Ceilings(threads, most.fp32_gops, most.int8_gops, (Bandwidth(1, most.bandwidth_gb_s),), "by its profile")


def _machine(name: str, results: Sequence[Results], profile: Profile | None) -> Machine:
    seen = {one.threads: one for content in results for one in content.ceilings if _is_possible(one)}
    rows: dict[tuple[object, ...], Row] = {}
    for content in results:
        for found, measurement in measured(content):
            row = _row(found, measurement)
            if row is not None and (profile is not None or found.threads in seen):
                rows[found.key] = row
    if not rows:
        raise ResultsError(
            f"the results of {name} hold no rooflines{_reason(results)}: run mrl-edge bench there again, which "
            "measures what the machine can do at most and counts what each configuration takes"
        )
    device = results[0].device
    threads = {row.candidate.threads for row in rows.values()}
    ceilings = {count: by_profile(profile, count) for count in threads} if profile else seen
    return Machine(name, device.arch, frozenset(device.features), rows, ceilings)


def _is_possible(ceilings: Ceilings) -> bool:
    rates = [one.gb_per_s for one in ceilings.bandwidths]
    return bool(rates) and min(ceilings.fp32_gops, ceilings.int8_gops, *rates) > 0


def _row(found: Candidate, measurement: Measurement) -> Row | None:
    """Return a row of one text at a time on a processor; None of others, and where its work was not counted."""
    alone = (measurement.provider, measurement.batch, measurement.callers) == ("CPUExecutionProvider", 1, 1)
    roofline, disk = measurement.roofline, measurement.disk
    if roofline is None or disk is None or not alone or roofline.work.operations <= 0 or found.p50_ms <= 0:
        return None
    return Row(found, roofline.work, disk.model_bytes, max(disk.index_bytes + disk.vectors_bytes, 1))


def _check_alike(results: Sequence[Results]) -> None:
    check_bundles(results)
    first = results[0]
    for one in results[1:]:
        if one.settings.get("data_sha256") != first.settings.get("data_sha256"):
            raise ResultsError(
                f"the results of {machine_name(first)} and of {machine_name(one)} are of different data, so that a "
                "query takes other work: predict from those of one"
            )


def _reason(results: Sequence[Results]) -> str:
    reasons = {row.null_because["roofline"] for one in results for row in one.measurements if _says_why(row)}
    return f" ({'; '.join(sorted(reasons))})" if reasons else ""


def _says_why(row: Measurement) -> bool:
    return row.tokens is None and "roofline" in row.null_because


def machine_name(results: Results) -> str:
    """Name the processor's machine; held to another's memory, it is itself."""
    device = results.device
    return device.cpu if device.name == "local" or device.capped_to else device.name
