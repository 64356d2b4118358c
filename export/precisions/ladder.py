"""Which trunks an export makes, a precision and a group of targets each, and the making of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mrl_edge.export.precisions import PRECISIONS, check_precisions, targets_of
from mrl_edge.export.precisions.conversion import Job
from mrl_edge.export.precisions.fusion import Shape, fuse, speedup
from mrl_edge.export.precisions.judge import Agreement, Judge
from mrl_edge.export.precisions.mixed import Converted, convert, holds

from mrl_edge.cpu import ANY, this_target
from mrl_edge.errors import UsageError
from mrl_edge.progress import Report, silent
from mrl_edge.tokens import Batch

MOST_CALIBRATION_TEXTS = 512  # ranges have settled long before, and a run is kept short
MOST_CALIBRATION_IMAGES = 128  # whose pixels are held in memory


@dataclass(frozen=True)
class Choices:
    """How precisions are to be made; every field has what suits this machine."""

    targets: tuple[str, ...] = ()  # none: this machine's processor
    floor: Agreement | None = None  # of every precision; None: each has its own
    optimise: bool = False  # try onnxruntime's fusions, and keep them where they measure faster here
    calibration: tuple[str, ...] = ()  # texts for `int8-static`; none: the model's sample texts


@dataclass(frozen=True)
class Plan:
    """One trunk to be made, and the folder of the bundle that it goes to."""

    precision: str
    target: str
    folder: str


def plans_for(precisions: Sequence[str], choices: Choices) -> list[Plan]:
    """Return what is to be made; `UsageError` for what does not exist.

    A precision made for one group of targets alone has its own name for a folder, as in `int8`; one that is made
    for several has theirs too, as in `int8-avx2`.
    """
    check_precisions(precisions)
    floor = choices.floor
    if floor and not 0 < floor.least <= floor.mean < 1:
        raise UsageError("--floor: expected cosines below 1, the mean and then the least, as in 0.98,0.95")
    if floor and set(precisions) == {"fp32"}:
        raise UsageError("--floor is for the other precisions: fp32 is PyTorch's to 1e-4")
    if choices.calibration and "int8-static" not in precisions:
        raise UsageError("--calibration is for int8-static: name it in --precision")
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
    fusable: Shape | None = None,
    report: Report = silent,
) -> Converted:
    """Convert the fp32 trunk as planned, in a folder of its own under `work`; errors as for `mixed.convert`.

    With `fusable` a fused trunk is tried too, and kept where it holds the floor and measures faster; `settings`
    say which it was and the ratio.
    """
    folder = work / plan.folder
    folder.mkdir()
    target = plan.target.split(",")[0]  # one group has equal flags
    if target == ANY:  # what falls back to int8 does so for every processor
        target = "avx2"
    plain = convert(plan.precision, Job(trunk, folder, target, calibration), judge, floor, report)
    if fusable is None:
        return plain
    report(f"trying fusions in {plan.precision}", 0, 1)
    chosen = _faster(plan, plain, Job(trunk, folder / "fused", target, calibration), judge, floor, fusable)
    report(f"trying fusions in {plan.precision}", 1, 1)
    return chosen


def _faster(plan: Plan, plain: Converted, job: Job, judge: Judge, floor: Agreement | None, shape: Shape) -> Converted:
    """Return the plain trunk or the fused one, with the ratio in its settings."""
    job.folder.mkdir()
    fused_trunk = fuse(job.trunk, shape, job.folder, attention=plan.precision in ("fp32", "fp16"))
    if fused_trunk is None:
        return replace(plain, settings={**plain.settings, "fusions": "none for this encoder"})
    least = floor or PRECISIONS[plan.precision].floor
    candidate = next((c for c in PRECISIONS[plan.precision].candidates if dict(c.settings) == plain.settings), None)
    path = candidate.convert(replace(job, trunk=fused_trunk), {}) if candidate else fused_trunk
    agreement = judge.measure(path, job.target)
    # fp32's own floor is PyTorch to 1e-4, which every graph is held to afterwards.
    if candidate and not holds(agreement, least):
        return replace(plain, settings={**plain.settings, "fusions": "not kept, below the floor"})
    ratio = speedup(plain.path, path, job.calibration)
    if ratio.low < 1:
        return replace(plain, settings={**plain.settings, "fusions": f"not kept, {ratio} as fast"})
    return Converted(path, agreement, {**plain.settings, "fusions": f"kept, {ratio} as fast"}, {})


def _folder(name: str, targets: str) -> str:
    return f"{name}-{targets.replace(',', '+')}"
