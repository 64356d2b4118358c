"""A trunk in one precision that holds its floor: the best candidate, and what must fall back for it.

Which nodes are sensitive is measured, never guessed: each group of nodes is kept from falling below fp32 in turn,
with all others converted, and what that gains is what the group costs. The number of measurements is bounded and
no clock decides, so that the same model with the same versions gives the same bytes.
"""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import onnx
from mrl_edge.export.precisions import PRECISIONS
from mrl_edge.export.precisions.conversion import Candidate, Job, weighted_nodes
from mrl_edge.export.precisions.judge import Agreement, Judge

from mrl_edge.errors import FidelityError
from mrl_edge.progress import Report, silent

_MOST_GROUPS = 48  # measured apart; a deeper encoder's nodes are measured several together


@dataclass(frozen=True)
class Converted:
    """A trunk that holds the floor, and how it came to be."""

    path: Path
    agreement: Agreement
    settings: dict[str, str | int]
    fell_back: dict[str, str]  # node → the precision that it is in instead


def convert(name: str, job: Job, judge: Judge, floor: Agreement | None, report: Report = silent) -> Converted:
    """Convert the job's trunk to a precision that keeps at least `floor` (None: the precision's own).

    Of several candidates the smallest that holds the floor is taken, of equal sizes the nearest to fp32. When
    none holds it, the most sensitive nodes of the nearest fall back, a step at a time, as few as will do. Raises
    `FidelityError` when that would leave nothing of the precision.
    """
    precision = PRECISIONS[name]
    if not precision.candidates:
        return Converted(job.trunk, Agreement(1.0, 1.0), {}, {})
    least = floor or precision.floor
    tried = []
    for number, candidate in enumerate(precision.candidates):
        report(f"choosing {name}", number, len(precision.candidates))
        path = _kept(candidate.convert(job, {}), job.folder / f"candidate{number}.onnx")
        tried.append((judge.measure(path, job.target), path, candidate))
    report(f"choosing {name}", len(precision.candidates), len(precision.candidates))
    holding = [one for one in tried if holds(one[0], least)]
    if not holding:
        nearest = max(tried, key=lambda one: (_number(one[0].mean), one[0].least))
        return _fall_back(name, job, judge, nearest[2], nearest[0], least, report)
    agreement, path, candidate = min(holding, key=lambda one: (_size_class(one[1]), -one[0].mean))
    return Converted(path, agreement, dict(candidate.settings), {})


def holds(agreement: Agreement, floor: Agreement) -> bool:
    """Return whether both the mean and the least cosine reach the floor; NaN does not."""
    return agreement.mean >= floor.mean and agreement.least >= floor.least


def groups_of(trunk: Path) -> list[list[str]]:
    """Return the names of the nodes that hold weights, at most `_MOST_GROUPS` groups of neighbours."""
    names = [node.name for node in weighted_nodes(onnx.load(trunk, load_external_data=False))]
    if len(names) <= _MOST_GROUPS:
        return [[name] for name in names]
    by_block: dict[str, list[str]] = {}
    for name in names:  # …/layer.3/attention/… and …/layer.3/output/… are one group
        match = re.match(r".*?\.\d+(?=/)", name)
        by_block.setdefault(match.group() if match else name, []).append(name)
    groups = list(by_block.values())
    together = math.ceil(len(groups) / _MOST_GROUPS)
    return [list(chain(*groups[i : i + together])) for i in range(0, len(groups), together)]


def _fall_back(
    name: str, job: Job, judge: Judge, candidate: Candidate, before: Agreement, floor: Agreement, report: Report
) -> Converted:
    order = _by_sensitivity(name, job, judge, candidate, report)
    steps = [(group, level) for level in PRECISIONS[name].fall_back for group in order]
    if steps:
        steps.pop()  # with the last one nothing would be left of the precision

    def levels(count: int) -> dict[str, str]:
        return {node: level for group, level in steps[:count] for node in group}

    def measured(count: int) -> Agreement:
        report(f"{name}: falling back", count, len(steps))
        return judge.measure(candidate.convert(job, levels(count)), job.target)

    if not steps or not holds(best := measured(len(steps)), floor):
        reached = best if steps else before
        raise FidelityError(
            f"{name} cannot keep mean and least cosine {floor.mean:g} and {floor.least:g} to fp32: with all but one "
            f"group of nodes fallen back they are {reached.mean:.6g} and {reached.least:.6g}; lower --floor"
        )
    count = _fewest(len(steps), lambda n: holds(measured(n), floor))
    path = candidate.convert(job, levels(count))
    report(f"{name}: falling back", len(steps), len(steps))
    return Converted(path, judge.measure(path, job.target), dict(candidate.settings), levels(count))


def _by_sensitivity(name: str, job: Job, judge: Judge, candidate: Candidate, report: Report) -> list[list[str]]:
    """Return the groups of nodes, that first whose falling back to fp32 gains the most mean cosine."""
    groups = groups_of(job.trunk)
    gains = []
    for number, group in enumerate(groups):
        report(f"{name}: measuring nodes", number, len(groups))
        without = candidate.convert(job, dict.fromkeys(group, "fp32"))
        gains.append(_number(judge.measure(without, job.target).mean))
    report(f"{name}: measuring nodes", len(groups), len(groups))
    return [groups[i] for i in sorted(range(len(groups)), key=lambda i: (-gains[i], i))]


def _fewest(most: int, enough: Callable[[int], bool]) -> int:
    """Return the smallest count that is enough, where `most` is: by bisection, as more never keeps less."""
    low, high = 0, most  # 0 is not enough
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _kept(path: Path, place: Path) -> Path:
    """Copy a trunk that the next candidate would overwrite."""
    return Path(shutil.copyfile(path, place))


def _size_class(path: Path) -> int:
    """Return the size in steps of a hundredth: names of nodes are no difference."""
    return round(math.log(path.stat().st_size) / math.log(1.01))


def _number(value: float) -> float:
    return -math.inf if math.isnan(value) else value
