"""Which trunks an export makes, a precision and a group of targets each, and the making of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mrl_edge.export.precisions import check_precisions, targets_of
from mrl_edge.export.precisions.conversion import Job
from mrl_edge.export.precisions.judge import Agreement, Judge
from mrl_edge.export.precisions.mixed import Converted, convert

from mrl_edge.cpu import ANY, this_target
from mrl_edge.errors import UsageError
from mrl_edge.progress import Report, silent
from mrl_edge.tokens import Batch

MOST_CALIBRATION_TEXTS = 512  # ranges have settled long before, and a run is kept short


@dataclass(frozen=True)
class Choices:
    """How precisions are to be made; every field has what suits this machine."""

    targets: tuple[str, ...] = ()  # none: this machine's processor
    floor: Agreement | None = None  # of every precision; None: each has its own
    calibration: tuple[str, ...] = ()  # texts for `int8-static`; none: the model's sample texts


@dataclass(frozen=True)
class Plan:
    """One trunk to be made, and the folder of the bundle that it goes to."""

    precision: str
    target: str
    folder: str


def check_choices(precisions: Sequence[str], choices: Choices) -> list[Plan]:
    """Return what is to be made; `UsageError` for what does not exist.

    A precision made for one group of targets alone has its own name for a folder, as in `int8`; one that is made
    for several has theirs too, as in `int8-avx2`.
    """
    check_precisions(precisions)
    floor = choices.floor
    if floor and not 0 < floor.least <= floor.mean < 1:
        raise UsageError("--floor: expected cosines below 1, the mean and then the least, as in 0.98,0.95")
    here = this_target()
    wanted = choices.targets or ("avx2" if here == ANY else here,)  # avx2's flags are right everywhere
    plans = []
    for name in precisions:
        groups = targets_of(name, wanted)
        plans += [Plan(name, group, _folder(name, group) if len(groups) > 1 else name) for group in groups]
    return plans


def make(
    plan: Plan,
    trunk: Path,
    work: Path,
    judge: Judge,
    calibration: Sequence[Batch],
    floor: Agreement | None,
    report: Report = silent,
) -> Converted:
    """Convert the fp32 trunk as planned, in a folder of its own under `work`; errors as for `mixed.convert`."""
    folder = work / plan.folder
    folder.mkdir()
    target = plan.target.split(",")[0]  # one group has equal flags
    if target == ANY:  # what falls back to int8 does so for every processor
        target = "avx2"
    return convert(plan.precision, Job(trunk, folder, target, calibration), judge, floor, report)


def _folder(name: str, targets: str) -> str:
    return f"{name}-{targets.replace(',', '+')}"
