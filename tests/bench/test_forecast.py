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

from mrl_edge.errors import ResultsError, UsageError

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
    (row,) = at_size([at(n, kind) for n in SIZES], wanted).rows
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
    (row,) = at_size([at(n) for n in SIZES], 2000).rows
    assert not row.predicted
    assert row.search_p50_ms == truth(2000)[0]


def test_noise_widens_the_interval():
    noises = (1.0, 1.25, 0.9)
    (calm,) = at_size([at(n) for n in SIZES], 16_000).rows
    (noisy,) = at_size([at(n, noise=noise) for n, noise in zip(SIZES, noises, strict=True)], 16_000).rows
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


def test_a_cost_that_was_seen_to_fall_stays_and_none_is_negative():
    files = [at(n) for n in (1000, 2000)]
    fewer = msgspec.structs.replace(files[1].measurements[0].memory, peak_rss_bytes=90_000_000)
    row = msgspec.structs.replace(files[1].measurements[0], memory=fewer)
    (found,) = at_size([files[0], msgspec.structs.replace(files[1], measurements=(row,))], 1_000_000).rows
    assert 90 <= found.peak_rss_mb <= 102
    low, high = found.bounds["peak_rss_mb"]
    assert low == pytest.approx(90)
    assert high >= 102


def test_a_p99_grows_as_the_search_does_and_energy_is_fitted_or_unknown():
    def with_tail(n, energy):
        content = at(n)
        row = content.measurements[0]
        tail = ENCODE_MS + 3 * row.search.p50_ms
        row = msgspec.structs.replace(row, query=msgspec.structs.replace(row.query, p99_ms=tail), energy_mj=energy)
        return msgspec.structs.replace(content, measurements=(row,))

    (row,) = at_size([with_tail(n, n / 100) for n in SIZES], 40_000).rows
    assert row.p99_ms == pytest.approx(ENCODE_MS + 3 * truth(40_000)[0], rel=1e-3)
    assert row.energy_mj == pytest.approx(400, rel=1e-3)
    (row,) = at_size([with_tail(1000, 10.0), with_tail(2000, None)], 40_000).rows
    assert row.energy_mj is None


def test_files_of_another_task_are_not_one_curve():
    other = at(2000)
    with pytest.raises(ResultsError, match="queries is 1000 in one and 500"):
        at_size([at(1000), msgspec.structs.replace(other, settings={**other.settings, "queries": 500})], 4000)


def test_storages_are_curves_of_their_own():
    def stored(n, vectors, mb):
        content = at(n)
        row = content.measurements[0]
        disk = msgspec.structs.replace(row.disk, model_bytes=round(mb * n * 1e3))
        search = msgspec.structs.replace(row.search, vectors=vectors)
        return msgspec.structs.replace(content, measurements=(msgspec.structs.replace(row, search=search, disk=disk),))

    files = [stored(n, vectors, mb) for n in (1000, 2000) for vectors, mb in (("fp32", 4), ("int8", 1))]
    found = {row.vectors: row.disk_mb for row in at_size(files, 10_000).rows}
    assert found == pytest.approx({"fp32": 40, "int8": 10})


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
