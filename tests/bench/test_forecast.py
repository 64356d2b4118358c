"""Predictions for other corpus sizes, against curves that are known and against numpy's own fit."""

import json
import math

import msgspec
import numpy as np
import pytest
from conftest import run_here, the_one_error_line
from mrl_edge.bench.forecast import _LINE, _LOGARITHM, _LOGISTIC, _POWER, at_size, fit
from mrl_edge.bench.results import IndexPlan, write_results
from rows import measurement, results

from mrl_edge.errors import UsageError

SIZES = (1000, 2000, 4000)
ENCODE_MS = 2.0


def truth(n, kind="scan"):
    """Search time, RSS, disk and nDCG of n documents, as a machine of our own making has them."""
    search_ms = 0.05 + n * 1e-4 if kind == "scan" else 0.1 * math.log(n)
    odds = math.exp(1.5 - 0.3 * math.log(n / 1000))
    return search_ms, 100 + n * 2e-3, 20 + n * 1.5e-3, odds / (1 + odds)


def at(n, kind="scan", noise=1.0):
    search_ms, rss, disk, ndcg = truth(n, kind)
    row = measurement("int8", 64, encode_ms=ENCODE_MS, search_ms=search_ms * noise, rss_mb=rss, disk_mb=disk, ndcg=ndcg)
    search = msgspec.structs.replace(row.search, n_items=n, index=kind)
    content = results(msgspec.structs.replace(row, search=search, plan=IndexPlan(kind)))
    return msgspec.structs.replace(content, settings={**content.settings, "data_sha256": str(n), "queries": 1000})


@pytest.mark.parametrize("kind", ["scan", "annoy"])
@pytest.mark.parametrize("wanted", [500, 3000, 20_000])
def test_what_follows_its_curve_is_foretold(kind, wanted):
    (row,) = at_size([at(n, kind) for n in SIZES], wanted)
    search_ms, rss, disk, ndcg = truth(wanted, kind)
    assert row.predicted
    assert row.n_items == wanted
    assert row.p50_ms == pytest.approx(ENCODE_MS + search_ms, rel=1e-3)
    assert row.p50_ci95_ms[0] <= row.p50_ms <= row.p50_ci95_ms[1]
    assert (row.peak_rss_mb, row.disk_mb) == pytest.approx((rss, disk), rel=1e-6)
    assert row.quality["ndcg_at_10"] == pytest.approx(ndcg, abs=1e-3)
    low, high = row.bounds["ndcg_at_10"]
    assert 0 <= low <= ndcg <= high <= 1


def test_a_size_that_was_measured_is_not_predicted():
    (row,) = at_size([at(n) for n in SIZES], 2000)
    assert not row.predicted
    assert row.search_p50_ms == truth(2000)[0]


def test_noise_widens_the_interval():
    noises = (1.0, 1.25, 0.9)
    (calm,) = at_size([at(n) for n in SIZES], 16_000)
    (noisy,) = at_size([at(n, noise=noise) for n, noise in zip(SIZES, noises, strict=True)], 16_000)
    widths = [row.p50_ci95_ms[1] - row.p50_ci95_ms[0] for row in (calm, noisy)]
    assert widths[1] > widths[0]
    assert noisy.p50_ci95_ms[0] <= ENCODE_MS + truth(16_000)[0] <= noisy.p50_ci95_ms[1]


@pytest.mark.parametrize(
    ("curve", "y", "said"),
    [
        (_LINE, [3.0, 5.0, 9.0], 17.0),
        (_LOGARITHM, [np.log(n) for n in SIZES], np.log(8000)),
        (_POWER, [n**0.5 for n in SIZES], 8000**0.5),
        (_LOGISTIC, [1 / (1 + n / 1000) for n in SIZES], 1 / 9),
    ],
)
def test_each_curve_goes_through_its_own_points(curve, y, said):
    assert fit(np.array(SIZES, float), np.array(y), (curve,), 8000).value == pytest.approx(said, rel=1e-6)


def test_two_lines_are_numpys_least_squares_of_shares():
    sizes, values = np.array(SIZES, float), np.array([3.1, 4.9, 9.4])
    slope, offset = np.polyfit(sizes, values, 1, w=1 / values)
    assert fit(sizes, values, (_LINE,), 8000).value == pytest.approx(offset + slope * 8000)


def test_one_size_foretells_nothing(tmp_path):
    with pytest.raises(UsageError, match="two corpus sizes at least"):
        at_size([at(1000)], 4000)
    write_results(tmp_path / "a.json", at(1000))
    line = the_one_error_line(run_here("pick", tmp_path / "a.json", "--corpus", "4000"))
    assert "--max-documents" in line


def test_pick_says_what_is_predicted(tmp_path):
    for n in SIZES:
        write_results(tmp_path / f"{n}.json", at(n))
    files = [tmp_path / f"{n}.json" for n in SIZES]
    assert "are of different data" in the_one_error_line(run_here("pick", *files))
    done = run_here("pick", *files, "--corpus", "20000", "--max-p50-ms", "5", "--json")
    answer = json.loads(done.stdout)
    assert answer["predicted"] is True
    assert answer["n_items"] == 20_000
    assert answer["p50_ms"] == pytest.approx(ENCODE_MS + truth(20_000)[0], rel=1e-3)
    assert "predicted" in run_here("pick", *files, "--corpus", "20000").stdout
    assert run_here("pick", *files, "--corpus", "20000", "--max-p50-ms", "3").returncode == 3
    tight = json.loads(run_here("pick", *files, "--corpus", "20000", "--max-p50-ms", "3", "--json").stdout)
    assert tight["relaxations"][0]["to"] == pytest.approx(ENCODE_MS + truth(20_000)[0], rel=1e-3)
