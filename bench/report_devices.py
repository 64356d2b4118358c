"""Results files as the devices that a page shows: what can be taken together is one, as `pick` takes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mrl_edge.bench.budget import Budget
from mrl_edge.bench.candidates import Candidate, candidates, measured, with_depths
from mrl_edge.bench.corpora import at_each, cautions
from mrl_edge.bench.fleet import Board, boards_of
from mrl_edge.bench.forecast import at_size
from mrl_edge.bench.limits import FullModel, best_full, full_models
from mrl_edge.bench.machines import machine_name
from mrl_edge.bench.pick import Choice, pick
from mrl_edge.bench.report_rows import Record, records
from mrl_edge.bench.results import Measurement, Results

from mrl_edge.errors import ResultsError


@dataclass(frozen=True)
class ResultsFile:
    """A results file, and its path as it was given."""

    path: str
    results: Results


@dataclass(frozen=True)
class Shown:
    """One machine with the results of one bundle and data on it, as a page shows it."""

    label: str
    files: tuple[ResultsFile, ...]
    compared: tuple[str, ...]  # paths of all files of this bundle and data, on whichever machine
    rows: list[Candidate]  # those that run fewer layers are named so over all devices of the bundle and data
    measurements: list[Measurement]  # of the rows
    records: list[Record]
    full: list[FullModel]  # what a share can be of
    full_elsewhere: bool  # it was measured on another machine
    choice: Choice  # within the budget that the page opens with
    corpora: tuple[int, ...]  # that the budget is of, the rows' own last; empty: as measured
    cautions: tuple[str, ...]  # of what is predicted

    @property
    def results(self) -> Results:
        """The first file's."""
        return self.files[0].results

    @property
    def shown_place(self) -> int:
        """Which row the choice is, or the nearest where nothing fits."""
        row = self.choice.chosen or self.choice.nearest
        return 0 if row is None else self.rows.index(row)

    @property
    def failures(self) -> list[Measurement]:
        """What could not be measured."""
        return [row for file in self.files for row in file.results.measurements if row.status != "ok"]


@dataclass(frozen=True)
class _Device:
    """One machine before its rows are those of a page."""

    board: Board
    files: tuple[ResultsFile, ...]
    pairs: list[tuple[Candidate, Measurement]]
    smaller: list[Candidate]  # the same rows in a smaller corpus
    cautions: tuple[str, ...]


def devices_of(files: Sequence[ResultsFile], budget: Budget, confidences: Sequence[float]) -> list[Shown]:
    """Return what a page shows of files, and each device's choice within a budget.

    Files of one machine, bundle and data are one device, a later file's rows in the place of an earlier one's. Where
    the budget has a corpus they are of whatever number of documents, and the rows are at its larger one. Raises
    `ResultsError` when a file holds nothing measured, and as `pick` and `at_size`.
    """
    for file in files:
        try:
            candidates(file.results)
        except ResultsError as error:
            raise ResultsError(f"{file.path}: {error}") from None
    alike: dict[tuple[object, ...], list[ResultsFile]] = {}
    for file in files:
        names = ("data", "queries", "texts") if budget.corpora else ("data_sha256",)
        told = (file.results.settings.get(name) for name in names)
        alike.setdefault((file.results.bundle.sha256, *told), []).append(file)
    groups = [
        [_device(board, group, budget.corpora) for board in boards_of([f.results for f in group])]
        for group in alike.values()
    ]
    labels = iter(_labels([device for group in groups for device in group]))
    return [_shown(device, group, next(labels), budget, confidences) for group in groups for device in group]


def _device(board: Board, files: Sequence[ResultsFile], corpora: Sequence[int]) -> _Device:
    own = tuple(file for file in files if any(file.results is one for one in board.results))
    if not corpora:
        return _Device(board, own, board.with_measurements(), [], ())
    sized = [at_size(board.results, items) for items in corpora]
    of = {(row.key, row.n_items): found for one in board.results for row, found in measured(one)}
    nearest = {key: found for (key, _), found in sorted(of.items(), key=lambda item: item[0][1] or 0)}
    pairs = [(row, of.get((row.key, row.n_items), nearest[row.key])) for row in sized[-1].rows]
    return _Device(board, own, pairs, sized[0].rows if len(sized) > 1 else [], tuple(cautions(sized[-1], corpora[-1])))


def _labels(devices: Sequence[_Device]) -> list[str]:
    """Name the machines; what is not one device of one machine is headed by its files."""
    names = []
    for device in devices:
        first = device.board.results[0]
        held = first.device.capped_to
        names.append(f"{machine_name(first)}, held to a {held}" if held else machine_name(first))
    return [
        f"{', '.join(file.path for file in device.files)} on {name}" if names.count(name) > 1 else name
        for device, name in zip(devices, names, strict=True)
    ]


def _shown(
    device: _Device, group: Sequence[_Device], label: str, budget: Budget, confidences: Sequence[float]
) -> Shown:
    every = with_depths([row for one in group for row, _ in one.pairs])
    before = group[: [one is device for one in group].index(True)]
    start = sum(len(one.pairs) for one in before)
    rows = every[start : start + len(device.pairs)]
    measurements = [measured for _, measured in device.pairs]
    documents = max(budget.corpora, default=None)
    own = full_models(rows, device.board.results, documents)
    full = own or full_models(every, [one for other in group for one in other.board.results], documents)
    return Shown(
        label=label,
        files=device.files,
        compared=tuple(file.path for one in group for file in one.files),
        rows=rows,
        measurements=measurements,
        records=records(rows, measurements, confidences, device.smaller),
        full=full,
        full_elsewhere=not own and bool(full),
        choice=at_each(
            pick(rows, budget, full=best_full(full, budget) if budget.keep else None), budget, device.smaller
        ),
        corpora=budget.corpora,
        cautions=device.cautions,
    )
