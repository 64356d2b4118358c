"""How far predictions for another corpus size are off, and how often their intervals hold what was then measured.

python bench/peers/forecasting.py --folder quickstart [--sizes 5000,10000,20000,40000] [--index scan,annoy,ivf]

Each size is foretold from the others, and the largest from the two smallest alone too. The sizes are measured in turn,
with the parameters that indexes were tuned to over the largest, as `mrl-edge bench --max-documents` does with several;
a second run goes by the first one's files, which lie in FOLDER/forecast. The documents are the built-in train table's,
those of a smaller size among those of a larger; its queries the model was trained on, so that its recall is no measure
of the model. Encoding depends on the size by the caches alone: one precision says what can be said. What a measured
row's own encoding is off the others' is shown too: so far the machine was slower or faster just then, which is in the
p50 that a forecast is held against and which none can know.
"""

from __future__ import annotations

import argparse
import math
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mrl_edge.bench.candidates import ENCODE_P50, SEARCH_P50, Candidate, candidates
from mrl_edge.bench.forecast import at_size
from mrl_edge.bench.results import Results, read_results
from rich.console import Console
from rich.table import Table

_RESULTS = "sized.json"
_WIDTH = 120
_HELD = 0.9  # of the rows, by the intervals of each figure that is judged


@dataclass(frozen=True)
class Figure:
    """A figure that is foretold; `most` is how far it may be off: a share of it, or an amount."""

    name: str
    title: str
    most: float | None = None  # None: it is shown, not judged
    is_share: bool = True

    def read(self, row: Candidate) -> float:
        """Return it of a row."""
        return row.quality[self.name] if self.name in row.quality else float(getattr(row, self.name))

    def interval(self, row: Candidate) -> tuple[float, float]:
        """Return where a prediction says that it lies."""
        return (row.p50_ci95_ms if self.name == "p50_ms" else row.bounds.get(self.name)) or (math.inf, -math.inf)


FIGURES = (
    Figure("p50_ms", "p50", 0.15),  # what issue 7 allows
    Figure(ENCODE_P50, "encoding alone"),
    Figure(SEARCH_P50, "search p50", 0.25),  # less than the p50 by encoding, which does not change
    Figure("peak_rss_mb", "peak RSS", 0.05),
    Figure("recall_at_10", "recall@10", 0.01, is_share=False),  # what issue 7 allows
    Figure("p99_ms", "p99"),
    Figure("cold_start_ms", "cold start"),
    Figure("disk_mb", "disk"),
)


@dataclass(frozen=True)
class Foretold:
    """A measured row beside what other sizes say of it; `far` where only sizes much smaller do."""

    size: int
    far: bool
    measured: Candidate
    guess: Candidate

    def off(self, figure: Figure) -> float:
        """Return by how much the prediction is above what was measured."""
        value, guess = figure.read(self.measured), figure.read(self.guess)
        return guess / value - 1 if figure.is_share else guess - value

    def held(self, figure: Figure) -> bool:
        """Whether the interval holds what was measured, to within rounding."""
        low, high = figure.interval(self.guess)
        value = figure.read(self.measured)
        return low * (1 - 1e-9) <= value <= high * (1 + 1e-9)


@dataclass(frozen=True)
class Verdict:
    """How one figure was foretold: the middle and the worst of the rows, and how many intervals hold."""

    figure: Figure
    middle: float
    worst: float
    held: int
    total: int

    @property
    def kept(self) -> bool:
        """Whether what is promised of it is true."""
        return self.figure.most is None or (self.worst <= self.figure.most and self.held >= _HELD * self.total)


def foretold(results: Sequence[Results], sizes: Sequence[int]) -> Iterator[Foretold]:
    """Yield every row, predicted from the other sizes; those of the last from the first two alone as well."""
    cases = [(size, [one for one in sizes if one != size], False) for size in sizes]
    if len(sizes) > 3:
        cases.append((sizes[-1], list(sizes[:2]), True))
    by_size = dict(zip(sizes, results, strict=True))
    for size, others, far in cases:
        guesses = {row.key: row for row in at_size([by_size[one] for one in others], size).rows}
        for row in candidates(by_size[size]):
            yield Foretold(size, far, row, guesses[row.key])


def judge(rows: Sequence[Foretold]) -> list[Verdict]:
    """Return for each figure how far it was off, the far ones left out, and how often its interval held."""
    verdicts = []
    for figure in FIGURES:
        off = [abs(row.off(figure)) for row in rows if not row.far]
        held = sum(row.held(figure) for row in rows)
        verdicts.append(Verdict(figure, statistics.median(off), max(off), held, len(rows)))
    return verdicts


def main() -> int:
    """Measure every size, foretell each, print two tables; 1 where a promise is not kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("quickstart"), help="folder with a bundle")
    parser.add_argument("--sizes", default="5000,10000,20000,40000", help="documents, three sizes or more")
    parser.add_argument("--queries", type=int, default=4500, help="the smallest size must hold their answers")
    parser.add_argument("--dims", default="64,384")
    parser.add_argument("--index", default="scan,annoy,ivf")
    parser.add_argument("--repeats", type=int, default=7, help="processes of a configuration and size")
    options = parser.parse_args()
    bundle, work = options.folder / "bundle", options.folder / "forecast"
    if not bundle.is_dir():
        parser.error(f"{options.folder} holds no bundle: run make quickstart")
    sizes = sorted({int(part) for part in options.sizes.split(",")})
    if len(sizes) < 3:
        parser.error("--sizes: each is foretold from two others at least")
    work.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(_command(bundle, sizes, options, work / _RESULTS), stdout=subprocess.DEVNULL)
    if done.returncode:
        return done.returncode  # what is wrong it said itself
    results = [read_results((work / _RESULTS).with_stem(f"{Path(_RESULTS).stem}-{size}")) for size in sizes]
    rows = list(foretold(results, sizes))
    verdicts = judge(rows)
    console = Console(width=_WIDTH)
    console.print(_rows(rows))
    console.print(_summary(verdicts))
    return int(not all(verdict.kept for verdict in verdicts))


def _rows(rows: Sequence[Foretold]) -> Table:
    judged = [figure for figure in FIGURES if figure.most is not None]
    table = Table("foretold", "configuration", "p50 ms", "interval", *(one.title for one in judged), box=None)
    for row in rows:
        low, high = row.guess.p50_ci95_ms or (math.nan, math.nan)
        size = f"{row.size:,}{' from afar' if row.far else ''}"
        offs = (f"{_say(row.off(figure), figure)}{'' if row.held(figure) else ' not held'}" for figure in judged)
        name = f"{row.measured.dim} {row.measured.plan}"
        table.add_row(size, name, f"{row.measured.p50_ms:.2f}", f"{low:.2f} to {high:.2f}", *offs)
    return table


def _summary(verdicts: Sequence[Verdict]) -> Table:
    table = Table("figure", "middle", "worst", "promised", "intervals hold", "", box=None)
    for one in verdicts:
        most = "" if one.figure.most is None else _say(one.figure.most, one.figure).lstrip("+")
        held = f"{one.held} of {one.total}"
        middle, worst = (_say(off, one.figure).lstrip("+") for off in (one.middle, one.worst))
        table.add_row(one.figure.title, middle, worst, most, held, "" if one.kept else "NOT KEPT")
    return table


def _say(off: float, figure: Figure) -> str:
    return f"{off:+.1%}" if figure.is_share else f"{100 * off:+.2f} points"


def _command(bundle: Path, sizes: Sequence[int], options: argparse.Namespace, out: Path) -> list[str]:
    return [
        sys.executable, "-m", "mrl_edge", "bench", str(bundle), "--data", "builtin:wordnet_nouns/train",
        "--query", "gloss", "--positive", "lemmas", "--max-queries", str(options.queries),
        "--max-documents", ",".join(map(str, sizes)), "--precision", "int8", "--dims", options.dims,
        "--index", options.index, "--tokens", "0", "--max-seconds", "4", "--repeats", str(options.repeats),
        "--out", str(out),
    ]  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
