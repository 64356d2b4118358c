"""`mrl-edge tune` beside the whole sweep: the same choice, and the share of its time, for a few budgets in turn.

    python bench/peers/narrowing.py [--folder quickstart] [--precision fp32,int8] [--index annoy,scan,binary]

The sweep is measured once, in a fresh folder, and each budget is tuned in one of its own, by the same command lines
that a user types. Budgets are made of what the sweep saw, so that they rule something out on any machine. Exit code 1
where a choice differs, other than where an interval of the sweep's own choice straddles a limit or the two score the
same but for what an index that was tuned anew finds, or where it took more than a third of the sweep's time.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mrl_edge.bench.budget import Budget
from mrl_edge.bench.candidates import Candidate, candidates
from mrl_edge.bench.limits import Limits
from mrl_edge.bench.pick import pick
from mrl_edge.bench.results import read_results
from mrl_edge.bench.trades import straddled

from mrl_edge.cli import console
from mrl_edge.errors import MrlEdgeError

_MOST = 1 / 3  # of the sweep's time (issue 7)
_TIE = 0.002  # of the objective


@dataclass(frozen=True)
class Case:
    """A budget, as options and as what they mean."""

    options: tuple[str, ...]
    budget: Budget

    @classmethod
    def of(cls, keep: float | None = None, **limits: float) -> Case:
        """Return a case of some upper limits, and a share of the full model's nDCG@10."""
        named = {"p50_ms": "--max-p50-ms", "peak_rss_mb": "--max-rss-mb", "disk_mb": "--max-disk-mb"}
        rounded = {name: float(f"{value:.4g}") for name, value in limits.items()}
        options = [part for name, value in rounded.items() for part in (named[name], f"{value:g}")]
        shares = {} if keep is None else {"ndcg_at_10": keep}
        kept = [] if keep is None else ["--keep-quality", f"ndcg_at_10={keep:g}"]
        return cls((*options, *kept), Budget(max=rounded, keep=shares))


def cases(rows: Sequence[Candidate]) -> list[Case]:
    """Return budgets a little above the least that anything costs, and one that leaves all precisions in play."""
    least = {name: min(getattr(row, name) for row in rows) for name in ("p50_ms", "peak_rss_mb", "disk_mb")}
    most = max(row.p50_ms for row in rows)
    return [
        Case.of(p50_ms=1.5 * least["p50_ms"]),
        Case.of(peak_rss_mb=1.2 * least["peak_rss_mb"], disk_mb=1.1 * least["disk_mb"], keep=0.8),
        Case.of(p50_ms=1.5 * most),
    ]


def run(options: argparse.Namespace) -> bool:
    """Measure, print a line a budget, and say whether all was kept."""
    grid = [
        str(options.folder / "bundle"), "--data", options.data, "--query", options.query,
        "--positive", options.positive, "--index", options.index, "--max-seconds", str(options.max_seconds),
        *(part for name in ("precision", "dims", "depths") if (value := getattr(options, name))
          for part in (f"--{name}", value)),
    ]  # fmt: skip
    lines, kept = [], True
    with tempfile.TemporaryDirectory(prefix="narrowing-", dir=options.folder) as folder:
        out = Path(folder) / "sweep" / "results.json"
        sweep_s, _ = _timed("bench", *grid, "--tokens", "0", "--out", str(out))
        whole = candidates(read_results(out))
        print(f"the sweep: {len(whole)} configurations in {sweep_s:.0f} s", flush=True)
        for number, case in enumerate(cases(whole)):
            tuned = Path(folder) / str(number) / "tuned.json"
            seconds, answer = _timed("tune", *grid, *case.options, "--out", str(tuned), "--json")
            expected, verdict = _compared(whole, case.budget, answer)
            measured = len(read_results(tuned).measurements)
            ratio = seconds / sweep_s
            kept &= ratio <= _MOST and verdict != "another"
            said = " ".join(case.options)
            lines.append([said, _name(answer), expected, verdict, measured, seconds, sweep_s, ratio])
            print(f"{said}: {seconds:.0f} s, {ratio:.2f} × the sweep, {verdict}", flush=True)
    heads = ["budget", "tune's choice", "the sweep's", "", "measured", "s", "sweep s", "×"]
    console.print_table(f"tune beside the whole sweep of {len(whole)}", heads, lines)
    return kept


def _compared(whole: Sequence[Candidate], budget: Budget, answer: dict[str, Any]) -> tuple[str, str]:
    """Return the sweep's choice, and whether tuning's is the same, ties with it, or is another."""
    choice = pick(whole, budget)
    best = choice.chosen
    if best is None or not answer["fits"]:
        return (best.name if best else "nothing fits"), "the same" if best is None and not answer["fits"] else "another"
    names = ("precision", "depth", "dim", "threads", "index", "shortlist", "rerank_dim")
    if all(getattr(best, name) == answer[name] for name in names):
        return best.name, "the same"
    close = abs(choice.objective.value(best) - answer["value"]) <= _TIE
    limits = Limits(budget.max, budget.min, None)
    return best.name, "a tie" if close or straddled(best, limits) else "another"


def _name(answer: dict[str, Any]) -> str:
    return str(answer["name"]) if answer["fits"] else "nothing fits"


def _timed(*arguments: str) -> tuple[float, dict[str, Any]]:
    """Run a command line as a user does; return its seconds, and the JSON that it prints with --json."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "mrl_edge", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - started
    if done.returncode not in (0, 3):  # 3: nothing fits
        raise MrlEdgeError(f"mrl-edge {arguments[0]} ended with {done.returncode}: {done.stderr.strip()[-500:]}")
    return seconds, json.loads(done.stdout) if "--json" in arguments else {}


def main() -> None:
    """Exit 1 where a promise is not kept, 2 where a command fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("quickstart"), help="where mrl-edge quickstart wrote")
    parser.add_argument("--data", default="builtin:wordnet_nouns/dev")
    parser.add_argument("--query", default="gloss")
    parser.add_argument("--positive", default="lemmas")
    parser.add_argument("--precision", help="as for mrl-edge bench; all of the bundle's where it is left out")
    parser.add_argument("--dims", help="likewise")
    parser.add_argument("--depths", help="likewise")
    parser.add_argument("--index", default="annoy,scan,binary")
    parser.add_argument("--max-seconds", type=float, default=2.0)
    options = parser.parse_args()
    if not (options.folder / "bundle" / "bundle.json").is_file():
        sys.exit(f"{options.folder} holds no bundle: run `make quickstart` first")
    try:
        kept = run(options)
    except MrlEdgeError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
