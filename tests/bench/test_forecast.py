"""Predictions for other corpus sizes, against curves that are known and against numpy's own fit."""

import json
import math

import msgspec
import numpy as np
import pytest
from conftest import run_here, the_one_error_line
from mrl_edge.bench.forecast import at_size
from mrl_edge.bench.results import Disk, IndexPlan, OneProcess, Process, write_results
from mrl_edge.bench.rivals import COUNTS
from scipy.stats import binom
from sizes import ENCODE_MS, SIZES, at, changed, disturbed, truth

from mrl_edge.errors import ResultsError, UsageError
from mrl_edge.index.candidates import list_count
from mrl_edge.providers import PROVIDERS, short_name


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


@pytest.mark.parametrize(("sizes", "wanted"), [((1000, 2000), 10_000), (SIZES, 3000), (SIZES, 40_000)])
@pytest.mark.parametrize("kind", ["scan", "annoy"])
def test_the_intervals_hold_the_truth_and_what_would_be_measured(sizes, wanted, kind):
    random = np.random.default_rng(len(sizes) + wanted)
    draws = 60
    held = dict.fromkeys(("p50_ms", "search_p50_ms", "peak_rss_mb", "p99_ms", "cold_start_ms", "disk_mb"), 0)
    again = dict(held)
    search_ms, rss, disk, _ = truth(wanted, kind)
    true = {
        "p50_ms": ENCODE_MS + search_ms, "search_p50_ms": search_ms, "peak_rss_mb": rss,
        "p99_ms": ENCODE_MS + 3 * search_ms, "cold_start_ms": 300, "disk_mb": disk,
    }  # fmt: skip
    widths = []
    for _ in range(draws):
        (row,) = at_size([disturbed(n, random, kind) for n in sizes], wanted).rows
        (there,) = at_size([disturbed(n, random, kind) for n in (wanted,)], wanted).rows
        bounds = {**row.bounds, "p50_ms": row.p50_ci95_ms}
        for name, (low, high) in bounds.items():
            if name in held:
                held[name] += low * 0.999999 <= true[name] <= high * 1.000001
                again[name] += low * 0.999999 <= getattr(there, name) <= high * 1.000001
        widths.append((row.p50_ci95_ms[1] - row.p50_ci95_ms[0]) / row.p50_ms)
    assert min(held.values()) >= 0.93 * draws, held
    assert min(again.values()) >= 0.9 * draws, again
    assert np.median(widths) < (0.4 if wanted == 3000 else 1.1)  # of use


def test_noise_widens_the_interval():
    noises = (1.0, 1.25, 0.9)
    (calm,) = at_size([at(n) for n in SIZES], 16_000).rows
    (noisy,) = at_size([at(n, noise=noise) for n, noise in zip(SIZES, noises, strict=True)], 16_000).rows
    widths = [row.p50_ci95_ms[1] - row.p50_ci95_ms[0] for row in (calm, noisy)]
    assert widths[1] > widths[0]
    assert noisy.p50_ci95_ms[0] <= ENCODE_MS + truth(16_000)[0] <= noisy.p50_ci95_ms[1]


def test_one_size_foretells_nothing(tmp_path):
    with pytest.raises(UsageError, match="two corpus sizes at least"):
        at_size([at(1000)], 4000)
    write_results(tmp_path / "a.json", at(1000))
    line = the_one_error_line(run_here("pick", tmp_path / "a.json", "--corpus", "4000"))
    assert "--max-documents" in line


def remembering(n, rss_mb, kind="scan", dims=384):
    content = at(n, kind)
    memory = msgspec.structs.replace(content.measurements[0].memory, peak_rss_bytes=round(rss_mb * 1e6))
    return changed(content, memory=memory, disk=Disk(20_000_000, 0, 4 * (dims + 1) * n))


@pytest.mark.parametrize("kind", ["scan", "ivf"])
def test_memory_that_noise_shows_falling_grows_by_the_vectors_that_are_all_read(kind):
    (row,) = at_size([remembering(1000, 151, kind), remembering(2000, 150, kind)], 100_000).rows
    grown = 4 * 385 * (100_000 - 2000) / 1e6
    assert row.peak_rss_mb >= 150 + grown
    assert row.bounds["peak_rss_mb"][1] >= row.peak_rss_mb
    assert row.disk_mb == pytest.approx(20 + 4 * 385 * 0.1)
    low, high = row.bounds["disk_mb"]
    assert high - low < 0.1 * row.disk_mb


def test_of_a_scan_that_is_reranked_its_own_columns_alone_are_all_read():
    files = [remembering(1000, 151), remembering(2000, 150)]
    for place, content in enumerate(files):
        (row,) = content.measurements
        search = msgspec.structs.replace(row.search, shortlist=200, rerank_dim=384)
        files[place] = changed(content, search=search)
    (row,) = at_size(files, 100_000).rows
    assert row.peak_rss_mb == pytest.approx(150.5 + 64 / 384 * 4 * 385 * (100_000 - 1500) / 1e6, rel=0.02)


def test_another_cost_that_noise_shows_falling_may_still_grow_by_as_much_as_the_noise_allows():
    files = [changed(at(n), cold_start_ms=cold) for n, cold in ((1000, 305.0), (2000, 300.0))]
    (row,) = at_size(files, 100_000).rows
    assert 300 <= row.cold_start_ms <= 305
    low, high = row.bounds["cold_start_ms"]
    assert 0 <= low <= 300
    assert high > 2 * 305  # two sizes and 5% of noise say no better how fast it grows


def test_a_quality_does_not_rise_as_documents_are_added():
    def finding(n, ndcg):
        quality = msgspec.structs.replace(at(n).measurements[0].quality, ndcg_at_10=ndcg)
        return changed(at(n), quality=quality)

    (row,) = at_size([finding(1000, 0.700), finding(2000, 0.705)], 100_000).rows
    low, high = row.bounds["ndcg_at_10"]
    assert 0.700 <= row.quality["ndcg_at_10"] <= 0.705
    assert low < 0.70 <= 0.705 <= high


def test_processes_that_differ_widen_the_memory_and_the_cold_start():
    def seen(n, share):
        row = at(n).measurements[0]
        peaks = [round(row.memory.peak_rss_bytes * factor) for factor in (1 - share, 1, 1 + share)]
        each = [OneProcess(None, None, 300 * peak / peaks[1], peak, None) for peak in peaks]
        return changed(at(n), by_process=tuple(each))

    for name in ("peak_rss_mb", "cold_start_ms"):
        widths = []
        for share in (0.001, 0.2):
            (row,) = at_size([seen(n, share) for n in SIZES], 3000).rows
            low, high = row.bounds[name]
            widths.append(high - low)
        assert widths[1] > 2 * widths[0]


def test_parameters_that_were_tuned_at_each_size_are_none_of_another():
    def tuned(n, trees):
        search = msgspec.structs.replace(at(n, "annoy").measurements[0].search, parameters={"n_trees": trees})
        return changed(at(n, "annoy"), search=search)

    sized = at_size([tuned(1000, 10), tuned(2000, 20)], 10_000)
    assert (sized.rows[0].parameters, sized.retuned) == ({}, 1)
    sized = at_size([tuned(1000, 10), tuned(2000, 10)], 10_000)
    assert (sized.rows[0].parameters, sized.retuned) == ({"n_trees": 10}, 0)


def test_a_shortlist_that_was_tuned_at_each_size_leaves_more_open_than_one_that_was_held():
    """A scan has no other parameters: the shortlist alone says whether it was tuned anew."""

    def tuned(n, shortlist):
        search = msgspec.structs.replace(at(n).measurements[0].search, shortlist=shortlist, rerank_dim=384)
        return changed(at(n), search=search, plan=IndexPlan("scan", tuned=True))

    (held,) = at_size([tuned(1000, 90), tuned(2000, 90)], 10_000).rows
    (anew,) = at_size([tuned(1000, 50), tuned(2000, 90)], 10_000).rows
    for name in ("search_p50_ms", "ndcg_at_10"):
        (low, high), (lower, higher) = held.bounds[name], anew.bounds[name]
        assert higher - lower > 1.05 * (high - low), name


def test_a_p99_that_is_not_known_fits_no_limit():
    content = at(2000)
    query = msgspec.structs.replace(content.measurements[0].query, p99_ms=None)
    (row,) = at_size([at(1000), changed(content, query=query)], 10_000).rows
    assert row.p99_ms == math.inf
    assert "p99_ms" not in row.bounds


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

    def asked(n, column):
        content = at(n)
        named = {"--data": "dev.csv", "--query": "gloss", "--positive": column}
        return msgspec.structs.replace(content, settings={**content.settings, "asked": named})

    with pytest.raises(ResultsError, match="--positive is lemmas in one and label in another"):
        at_size([asked(1000, "lemmas"), asked(2000, "label")], 4000)
    assert at_size([asked(1000, "lemmas"), at(2000)], 4000).rows  # an older file does not say


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


def hurried(n, speeds, kind="scan"):
    """A size as processes saw it between which the machine's speed changed, for encoding and searching alike."""
    content = at(n, kind)
    row, search_ms = content.measurements[0], truth(n, kind)[0]
    whole = [Process((ENCODE_MS + search_ms) * speed) for speed in speeds]
    each = [OneProcess(None, search_ms * speed, None, None, None) for speed in speeds]
    middle = float(np.median(speeds))
    query = msgspec.structs.replace(
        row.query, p50_ms=(ENCODE_MS + search_ms) * middle, processes=tuple(whole), ci95_ms=None
    )
    search = msgspec.structs.replace(row.search, p50_ms=search_ms * middle)
    return changed(content, query=query, search=search, by_process=tuple(each))


@pytest.mark.parametrize("kind", ["scan", "annoy"])
def test_the_speed_of_the_machine_is_no_matter_of_the_size(kind):
    speeds = [(1.0, 1.3, 1.1), (0.9, 0.7, 0.8), (1.4, 1.0, 1.2)]
    (row,) = at_size([hurried(n, each, kind) for n, each in zip(SIZES, speeds, strict=True)], 20_000).rows
    speed = np.mean([np.median(each) for each in speeds])
    assert row.encode_p50_ms == pytest.approx(ENCODE_MS * speed, rel=0.05)
    assert row.search_p50_ms / row.encode_p50_ms == pytest.approx(truth(20_000, kind)[0] / ENCODE_MS, rel=1e-3)
    assert row.p50_ms == pytest.approx(row.encode_p50_ms + row.search_p50_ms)
    low, high = row.bounds["encode_p50_ms"]
    assert low < 0.9 * ENCODE_MS
    assert high > 1.2 * ENCODE_MS
    assert row.p50_ci95_ms[1] - row.p50_ci95_ms[0] > high - low


def test_encoding_slows_down_as_the_search_leaves_less_of_the_model_in_the_caches():
    def seen(n):
        rows = []
        for dim, more in ((64, 1.0), (128, 4.0), (384, 16.0)):
            search_ms = truth(n, "scan")[0] * more
            encode_ms = ENCODE_MS * (search_ms / ENCODE_MS) ** 0.08
            (row,) = at(n).measurements
            query = msgspec.structs.replace(row.query, p50_ms=encode_ms + search_ms, ci95_ms=None)
            search = msgspec.structs.replace(row.search, p50_ms=search_ms)
            rows.append(msgspec.structs.replace(row, dim=dim, query=query, search=search))
        return msgspec.structs.replace(at(n), measurements=tuple(rows))

    small, large = at_size([seen(n) for n in SIZES], 500).rows, at_size([seen(n) for n in SIZES], 20_000).rows
    for rows, n in ((small, 500), (large, 20_000)):
        for row, more in zip(rows, (1.0, 4.0, 16.0), strict=True):
            truly = ENCODE_MS * (truth(n, "scan")[0] * more / ENCODE_MS) ** 0.08
            assert row.encode_p50_ms == pytest.approx(truly, rel=0.08)
            assert row.bounds["encode_p50_ms"][0] < truly < row.bounds["encode_p50_ms"][1]
    assert large[2].encode_p50_ms > 1.2 * small[0].encode_p50_ms


def test_encoding_is_one_figure_of_all_rows_that_encode_and_search_alike():
    def both(n, slow):
        (row,) = at(n).measurements
        query = msgspec.structs.replace(row.query, p50_ms=row.query.p50_ms + slow)
        other = msgspec.structs.replace(row, dim=384, query=query)
        wider = msgspec.structs.replace(row, precision="fp32", query=query)
        on_gpu = msgspec.structs.replace(wider, provider=PROVIDERS["cuda"], query=row.query)
        return msgspec.structs.replace(at(n), measurements=(row, other, wider, on_gpu))

    rows = at_size([both(1000, 0.4), both(2000, 0.8)], 8000).rows
    found = {(row.precision, row.dim, short_name(row.provider)): row for row in rows}
    assert found["int8", 64, "cpu"].encode_p50_ms == found["int8", 384, "cpu"].encode_p50_ms
    assert found["int8", 64, "cpu"].encode_p50_ms == pytest.approx(ENCODE_MS + 0.3, rel=0.05)
    assert found["fp32", 64, "cpu"].encode_p50_ms == pytest.approx(ENCODE_MS + 0.6, rel=0.08)
    assert found["fp32", 64, "cuda"].encode_p50_ms == pytest.approx(ENCODE_MS, rel=0.05)


def test_what_an_index_keeps_is_a_curve_of_its_own():
    """Exact search finds what chances say, and the forest a share of it, whose odds halve as the documents double."""
    chances = 10 ** np.random.default_rng(2).normal(-3.2, 1.0, 4000)

    def recall(n, count=10):
        return float(binom.cdf(count - 1, n, np.minimum(chances, 1)).mean())

    def share(n):
        return 1 / (1 + n / 50_000)

    def finding(n):
        (row,) = at(n, "annoy").measurements
        within = {count: recall(n, count) for count in COUNTS}
        search = msgspec.structs.replace(row.search, exact={"recall_at_10": recall(n)}, exact_within=within)
        quality = msgspec.structs.replace(row.quality, recall_at_10=recall(n) * share(n), ndcg_at_10=None)
        return changed(at(n, "annoy"), search=search, quality=quality)

    files = [finding(n) for n in (1000, 2000, 4000)]
    for wanted in (500, 3000, 16_000):
        (row,) = at_size(files, wanted).rows
        low, high = row.bounds["recall_at_10"]
        assert row.quality["recall_at_10"] == pytest.approx(recall(wanted) * share(wanted), abs=0.01)
        assert low < row.quality["recall_at_10"] < high < low + 0.3


def test_what_held_lists_cost_goes_by_the_lists_and_rows_that_are_read():
    """Lists double with the documents or stay as many: no curve over the documents goes through that."""

    def search_ms(probes, lists, n):
        return 0.05 + probes * (0.004 + 2e-6 * 64 * n / lists / 2)

    def held(n, lists):
        (row,) = at(n, "ivf").measurements
        probes = lists // 8
        found = {"lists": lists, "cluster_dim": 64, "probes": probes}
        search = msgspec.structs.replace(row.search, parameters=found, p50_ms=search_ms(probes, lists, n))
        whole = msgspec.structs.replace(row.query, p50_ms=ENCODE_MS + search.p50_ms, ci95_ms=None)
        return changed(at(n, "ivf"), search=search, query=whole)

    files = [held(n, list_count(n)) for n in (5000, 10_000, 40_000)]
    (row,) = at_size(files, 20_000).rows
    lists = list_count(20_000)
    assert lists == list_count(10_000)
    assert row.search_p50_ms == pytest.approx(search_ms(lists // 8, lists, 20_000), rel=0.05)


@pytest.mark.parametrize("kind", ["scan", "annoy", "ivf"])
@pytest.mark.filterwarnings("error")
def test_an_index_that_finds_nothing_in_no_time_is_foretold_to_do_so(kind):
    def empty(n):
        (row,) = at(n, kind).measurements
        parameters = {"lists": 64, "cluster_dim": 64, "probes": 1} if kind == "ivf" else {}
        within = dict.fromkeys(COUNTS, 0.5)
        search = msgspec.structs.replace(
            row.search, parameters=parameters, p50_ms=0.0, exact={"recall_at_10": 0.5}, exact_within=within
        )
        quality = msgspec.structs.replace(row.quality, recall_at_10=0.0, ndcg_at_10=None)
        return changed(at(n, kind), search=search, quality=quality)

    (row,) = at_size([empty(n) for n in SIZES], 20_000).rows
    assert row.quality["recall_at_10"] == pytest.approx(0.0, abs=1e-3)
    assert all(np.isfinite(bound) for pair in row.bounds.values() for bound in pair)


def test_parameters_that_were_held_are_those_of_another_size():
    def held(n, lists):
        found = {"lists": lists, "cluster_dim": 64, "probes": lists // 8}
        search = msgspec.structs.replace(at(n, "ivf").measurements[0].search, parameters=found)
        return changed(at(n, "ivf"), search=search)

    sized = at_size([held(1000, 64), held(4000, 256)], 40_000)
    lists = list_count(40_000)
    assert sized.rows[0].parameters == {"lists": lists, "cluster_dim": 64, "probes": lists // 8}
    assert sized.retuned == 0
