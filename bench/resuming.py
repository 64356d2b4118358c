"""One results file, one run at a time: what an interrupted run leaves, and what the next one takes up."""

from __future__ import annotations

import fcntl
import shutil
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from mrl_edge.bench.configuration import Configuration, configuration_of
from mrl_edge.bench.results import SCHEMA_VERSION, BundleRef, Measurement, Results, read_results
from mrl_edge.devices.local import Device

from mrl_edge.atomic import write_file
from mrl_edge.bundle import Bundle
from mrl_edge.errors import ResultsError


def work_folder(out: Path) -> Path:
    """Return where vectors and indexes lie while a results file is being made."""
    return out.absolute().parent / f".{out.name}.bench"


@contextmanager
def exclusive(out: Path) -> Iterator[None]:
    """Hold the work folder of a results file; it is removed when the sweep is complete, and kept for a resumption.

    Raises `ResultsError` when another process measures into the same file.
    """
    folder = work_folder(out)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ResultsError(f"another mrl-edge bench writes {out}: wait for it, or choose another --out") from None
        try:
            yield
        except BaseException:
            if [path.name for path in folder.iterdir()] == ["lock"]:  # nothing was done that could be continued
                shutil.rmtree(folder, ignore_errors=True)
            raise
        shutil.rmtree(folder, ignore_errors=True)


def discard(out: Path) -> None:
    """Remove a results file and what an interrupted run left beside it; raises as `exclusive` does."""
    with exclusive(out):
        out.unlink(missing_ok=True)


class Processes:
    """The rows that processes gave, by configuration, kept in a folder from which an interrupted run goes on."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._kept = folder, 0
        self._rows: dict[Configuration, list[Measurement]] = defaultdict(list)
        for path in sorted(folder.glob("*.json")):
            self._kept += 1
            row = msgspec.json.decode(path.read_bytes(), type=Measurement)
            self._rows[configuration_of(row)].append(row)

    def __iter__(self) -> Iterator[Configuration]:
        """Yield the configurations of which there are rows."""
        return iter(list(self._rows))

    def rows(self, configuration: Configuration) -> list[Measurement]:
        """Return the rows of one configuration, in the order of time."""
        return self._rows.get(configuration, [])

    def add(self, row: Measurement) -> None:
        """Add a row; one that failed is not kept for a resumption, which tries it again."""
        self._rows[configuration_of(row)].append(row)
        if row.status == "ok":
            self._kept += 1
            write_file(self._folder / f"{self._kept:06}.json", msgspec.json.encode(row))

    def wants(self, configuration: Configuration, number: int) -> bool:
        """Whether a configuration has yet to be measured in the process of that round; not once one has failed."""
        rows = self.rows(configuration)
        return len(rows) <= number and all(row.status == "ok" for row in rows)


def resume(out: Path, bundle: Bundle, device: Device, settings: dict[str, Any]) -> Results:
    """Return the results in `out`, or empty ones when there is no such file."""
    reference = BundleRef(bundle.manifest.name, bundle.identity(), bundle.manifest.training)
    fresh = Results(SCHEMA_VERSION, reference, device, settings, ())
    if not out.exists():
        return fresh
    there = read_results(out)
    if "like" in settings:  # whose rows say their parameters: what others are held beside them is no matter of theirs
        there = msgspec.structs.replace(there, settings={**there.settings, "like": settings["like"]})
    for name, ours, theirs in (
        ("bundle", fresh.bundle.sha256, there.bundle.sha256),
        ("machine", _kind(fresh.device), _kind(there.device)),
        ("data or settings", _compared(fresh.settings), _compared(there.settings)),
    ):
        if ours != theirs:
            raise ResultsError(f"{out} was measured with another {name}: choose another --out, or use --overwrite")
    if device.versions != there.device.versions:
        then, now = _differing(there.device.versions, device.versions)
        raise ResultsError(
            f"{out} was measured with {then}, and here is {now}: choose another --out, or use --overwrite"
        )
    return there


def _compared(settings: dict[str, Any]) -> dict[str, Any]:
    """Leave out what the same data are called, which files of earlier versions do not say."""
    return {name: value for name, value in settings.items() if name != "asked"}


def _differing(*versions: dict[str, str]) -> list[str]:
    """Name, of two machines, the packages whose versions are not the same."""
    names = dict.fromkeys(name for one in versions for name in one)
    return [
        ", ".join(f"{name} {one.get(name, 'unknown')}" for name in names if len({of.get(name) for of in versions}) > 1)
        for one in versions
    ]


def _kind(device: Device) -> tuple[object, ...]:
    """Return what must be the same of a machine for rows to stand in one file, beside its versions."""
    return device.cpu, device.capped_to and (device.capped_to, device.ram_bytes, device.cores)
