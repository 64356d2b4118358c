"""What configurations would cost on a board that is not at hand, always as predicted.

A configuration takes the least time that its work can take by the ceilings of the board, divided by the share of
their own ceilings that the machines reached which measured it. Those shares differ between machines: two at least are
needed, the interval spans what each of them says, and is wider by how far each is missed when the others predict it,
and by what their own measurements leave open.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from statistics import fmean
from typing import TYPE_CHECKING

import msgspec
from mrl_edge.bench.budget import MOST_CONFIDENCE
from mrl_edge.bench.candidates import Candidate, with_depths
from mrl_edge.bench.machines import Machine, Row, by_profile
from mrl_edge.bench.results import Ceilings, Work
from mrl_edge.bench.roofline import least_ms
from mrl_edge.bench.search_roofline import bandwidth
from mrl_edge.devices.ceilings import processor

from mrl_edge.cpu import fitness
from mrl_edge.errors import UsageError

if TYPE_CHECKING:
    from mrl_edge.devices.profiles import Profile

_LEAST_MACHINES = 2
# How often the interval of so many machines holds another, if its shares are drawn as theirs (a test draws them).
_HOLDS = {2: 0.665, 3: 0.845, 4: 0.91, 5: 0.945}
_LEAST_MISS = math.log(1.1)  # machines that agree by chance, or are of one kind, do not foretell a third exactly
_UNKNOWN = 0.1  # what a p50 without an interval leaves open, as a share
_FP16 = "asimdhp"  # onnxruntime computes fp16 on these; elsewhere it computes in fp32 between casts
_Key = tuple[object, ...]


@dataclass(frozen=True)
class Target:
    """The machine that is predicted, by what it can do at most with each number of threads."""

    name: str
    arch: str
    features: frozenset[str]
    ceilings: Mapping[int, Ceilings]
    suits: str | None = None  # the target of a precision that suits it; None: any may be asked of it


@dataclass(frozen=True)
class Prediction:
    """The configurations as they would be on the target, and what was left out, why and how often."""

    rows: list[Candidate]
    left_out: dict[str, int]
    machines: int  # that say each of the rows, at least

    @property
    def most_confidence(self) -> float:
        """The highest confidence of one end of an interval that so many machines support."""
        return min(1 - (1 - _HOLDS.get(self.machines, 1.0)) / 2, MOST_CONFIDENCE)


@dataclass(frozen=True)
class Check:
    """A measured configuration beside what other machines say of it."""

    machine: str
    predicted: Candidate
    measured_ms: float

    @property
    def held(self) -> bool:
        """Whether the interval holds what was measured, to within rounding."""
        low, high = self.predicted.p50_ci95_ms or (math.inf, -math.inf)
        return low * (1 - 1e-9) <= self.measured_ms <= high * (1 + 1e-9)


@dataclass(frozen=True)
class _Scaled:
    """What one machine's row would take on the target."""

    row: Row
    arch: str
    value_ms: float
    low_ms: float
    high_ms: float
    search_ms: float


def board(profile: Profile, machines: Iterable[Machine]) -> Target:
    """Return a board by its profile, with ceilings for the numbers of threads that were measured and that it has."""
    cpu = processor(profile)
    threads = {row.candidate.threads for machine in machines for row in machine.rows.values()}
    ceilings = {count: by_profile(profile, count) for count in sorted({1, *threads}) if count <= cpu.logical_cores}
    return Target(profile.name, cpu.arch, frozenset(cpu.features), ceilings, cpu.target)


def predict(machines: Sequence[Machine], target: Target) -> Prediction:
    """Return every configuration that two machines or more measured, predicted for the target.

    Raises `UsageError` for fewer machines, and where no configuration is left.
    """
    if len(machines) < _LEAST_MACHINES:
        raise UsageError(
            f"{target.name}: predicting needs the results of two machines at least, and these are of {machines[0].name}"
            " alone: what share of its ceilings a machine reaches differs, and one does not say by how much"
        )
    misses = _misses(machines, target)
    rows, left_out = [], Counter[str]()
    least = len(machines)
    for key in dict.fromkeys(key for machine in machines for key in machine.rows):
        there = _measured(machines, key, target)
        if isinstance(there, str):
            left_out[there] += 1
        else:
            miss = misses.get(there[0].row.candidate.precision, 0.0)
            rows.append(_predicted(there, target, max(miss, _LEAST_MISS)))
            least = min(least, len(there))
    if not rows:
        why = "; ".join(f"{count} × {reason}" for reason, count in left_out.items())
        raise UsageError(f"{target.name}: no configuration can be predicted: {why}")
    return Prediction(with_depths(rows), dict(left_out), least)


def leave_one_out(machines: Sequence[Machine]) -> list[Check]:
    """Return each machine's configurations beside what the others say of them.

    Of two machines each is predicted by both, itself among them: that it is then held says nothing. Raises
    `UsageError` for one.
    """
    checks = []
    for machine in machines:
        others = [one for one in machines if one is not machine]
        target = as_target(machine)
        try:
            found = predict(others if len(others) >= _LEAST_MACHINES else machines, target)
        except UsageError:
            if len(machines) < _LEAST_MACHINES:
                raise
            continue  # the others have no configuration of this one's in common
        for row in found.rows:
            mine = machine.rows.get(row.key)
            if mine is not None:
                checks.append(Check(machine.name, row, mine.candidate.p50_ms))
    if not checks:
        raise UsageError("the machines have no configuration in common: bench them with one --dims, --threads, …")
    return checks


def as_target(machine: Machine) -> Target:
    """Return a measured machine as if it were not at hand."""
    return Target(machine.name, machine.arch, machine.features, machine.ceilings)


def _measured(machines: Sequence[Machine], key: _Key, target: Target) -> list[_Scaled] | str:
    """Return what each machine that measured a configuration says of it, or why that is not enough."""
    first = next(machine.rows[key].candidate for machine in machines if key in machine.rows)
    there = _saying(machines, key, target)
    if first.threads not in target.ceilings:
        return f"{target.name} has no {first.threads} cores"
    if len(there) < _LEAST_MACHINES:
        if len(there) < sum(key in machine.rows for machine in machines):
            return f"{target.name} computes fp16, or casts it to fp32, otherwise than the machines that measured it"
        return "measured on one machine alone"
    if target.suits and not any(fitness(machine.rows[key].candidate.target, target.suits) for machine in there):
        return f"made for {first.target}: its sums may saturate on {target.name}"
    to = target.ceilings[first.threads]
    return [_scaled(machine.rows[key], machine.ceilings[first.threads], to, machine.arch) for machine in there]


def _saying(machines: Sequence[Machine], key: _Key, target: Target) -> list[Machine]:
    """Return the machines that measured a configuration; of fp16 those that compute it as the target does."""
    there = [machine for machine in machines if key in machine.rows]
    if there and there[0].rows[key].candidate.precision == "fp16":
        return [machine for machine in there if (_FP16 in machine.features) == (_FP16 in target.features)]
    return there


def _scaled(row: Row, of: Ceilings, to: Ceilings, arch: str) -> _Scaled:
    """Return a row as other ceilings have it.

    Encoding takes the least time by them over the share reached of its own. Searching goes with the rate at which so
    many bytes are read; as a small index may be bound by arithmetic instead, the interval spans that too. What the
    row's own interval leaves open stands at both ends.
    """
    shares = [
        max(least_ms(row.work, there)) / max(least_ms(row.work, here))
        for here, there in product(_readings(row.work, of), _readings(row.work, to))
    ]
    search, p50 = row.candidate.search_p50_ms, row.candidate.p50_ms
    rest = max(p50 - search, 0.0)
    low, high = row.candidate.p50_ci95_ms or (p50 * (1 - _UNKNOWN), p50 * (1 + _UNKNOWN))
    reading = bandwidth(of, row.search_bytes) / bandwidth(to, row.search_bytes)
    rates = (reading, of.fp32_gops / to.fp32_gops)
    return _Scaled(
        row,
        arch,
        rest * shares[0] + search * reading,
        (rest * min(shares) + search * min(rates)) * min(low / p50, 1.0),
        (rest * max(shares) + search * max(rates)) * max(high / p50, 1.0),
        search * reading,
    )


def _readings(work: Work, ceilings: Ceilings) -> list[Ceilings]:
    """Return the ceilings, and as slower ones might be meant: what no processor has arithmetic of its own for.

    Products on weights in 4-bit blocks are computed in 8 bits by one kernel and in 32 by another.
    """
    if not work.unrated_operations:
        return [ceilings]
    return [ceilings, msgspec.structs.replace(ceilings, int8_gops=min(ceilings.int8_gops, ceilings.fp32_gops))]


def _misses(machines: Sequence[Machine], target: Target) -> dict[str, float]:
    """Return for each precision the most by which the others miss a machine, as a difference of logarithms."""
    found: dict[str, float] = {}
    for key in dict.fromkeys(key for machine in machines for key in machine.rows):
        there = _saying(machines, key, target)
        for machine in there:
            mine = machine.rows[key].candidate
            said = [
                _scaled(one.rows[key], one.ceilings[mine.threads], machine.ceilings[mine.threads], one.arch).value_ms
                for one in there
                if one is not machine
            ]
            if said:
                missed = abs(math.log(_middle(said) / mine.p50_ms))
                found[mine.precision] = max(found.get(mine.precision, 0.0), missed)
    return found


def _middle(values: Sequence[float]) -> float:
    """Return the geometric mean, infinite where one of them is."""
    return math.exp(fmean(math.log(value) for value in values))


def _predicted(there: Sequence[_Scaled], target: Target, miss: float) -> Candidate:
    rows = [one.row.candidate for one in there]
    nearest = max(there, key=lambda one: (_fits(one, target), one.arch == target.arch)).row.candidate
    p50 = _middle([one.value_ms for one in there])
    low = min(one.low_ms for one in there) * math.exp(-miss)
    high = max(one.high_ms for one in there) * math.exp(miss)
    search = p50 * fmean(one.search_ms / one.value_ms for one in there)
    tails = [row.p99_ms / row.p50_ms for row in rows]
    rss, rss_bounds = _memory(there, target)
    tail = {} if math.inf in tails else {"p99_ms": (low * min(tails), high * max(tails))}
    return replace(
        nearest,
        p50_ms=p50,
        p99_ms=p50 * _middle(tails),
        encode_p50_ms=p50 - search,
        search_p50_ms=search,
        cold_start_ms=math.inf,  # of the storage, and of all that a process imports: neither is in the ceilings
        peak_rss_mb=rss,
        energy_mj=None,
        stable=all(row.stable for row in rows),
        p50_ci95_ms=(low, high),
        predicted=True,
        bounds={
            **tail,
            "peak_rss_mb": rss_bounds,
            "disk_mb": (min(row.disk_mb for row in rows), max(row.disk_mb for row in rows)),
        },
    )


def _fits(one: _Scaled, target: Target) -> int:
    return fitness(one.row.candidate.target, target.suits) if target.suits else 0


def _memory(there: Sequence[_Scaled], target: Target) -> tuple[float, tuple[float, float]]:
    """Return the peak RSS in 10^6 bytes, the highest that was measured, and what it may be.

    Machines of the target's architecture alone count, where there are any. Of others the kernels may keep a copy of
    the weights in an order of their own where the target's keep none, or the other way round.
    """
    alike = [one for one in there if one.arch == target.arch]
    seen = [one.row.candidate.peak_rss_mb for one in alike or there]
    copy = 0.0 if alike else max(one.row.model_bytes for one in there) / 1e6
    return max(seen), (max(min(seen) - copy, 0.0), max(seen) + copy)
