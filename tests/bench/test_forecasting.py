"""The judge of `make forecast`: machines that follow their curves pass, and each promise that is broken is seen."""

import importlib.util
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
from mrl_edge.bench.results import OneProcess
from sizes import at, changed, disturbed

SIZES = (2500, 5000, 10_000, 20_000)


@pytest.fixture(scope="module")
def forecasting():
    path = Path(__file__).parents[2] / "bench" / "peers" / "forecasting.py"
    spec = importlib.util.spec_from_file_location("forecasting", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["forecasting"] = module  # as dataclasses want it
    spec.loader.exec_module(module)
    yield module
    del sys.modules["forecasting"]


def finding(content, recall):
    quality = msgspec.structs.replace(content.measurements[0].quality, recall_at_10=recall)
    return changed(content, quality=quality)


def judged(forecasting, contents):
    rows = list(forecasting.foretold(contents, SIZES))
    assert [(row.size, row.far) for row in rows] == [*((size, False) for size in SIZES), (SIZES[-1], True)]
    return {one.figure.name: one for one in forecasting.judge(rows)}


def test_what_follows_its_curves_is_kept(forecasting):
    found = judged(forecasting, [finding(at(n), 0.6) for n in SIZES])
    assert all(one.kept for one in found.values())
    assert {one.held for one in found.values()} == {5}
    noisy = [finding(disturbed(n, np.random.default_rng(n), noise=0.02), 0.6) for n in SIZES]
    assert judged(forecasting, noisy)["p50_ms"].kept


def test_a_promise_that_is_broken_is_seen(forecasting):
    contents = [finding(at(n), 0.6) for n in SIZES]

    def broken(place, **fields):
        files = list(contents)
        files[place] = changed(files[place], **fields)
        return {name for name, one in judged(forecasting, files).items() if not one.kept}

    row = contents[2].measurements[0]
    search = msgspec.structs.replace(row.search, p50_ms=2 * row.search.p50_ms)
    query = msgspec.structs.replace(row.query, p50_ms=1.3 * row.query.p50_ms)
    heavy = msgspec.structs.replace(row.memory, peak_rss_bytes=2 * row.memory.peak_rss_bytes)
    quality = msgspec.structs.replace(row.quality, recall_at_10=0.5)
    assert "search_p50_ms" in broken(2, search=search)
    assert "p50_ms" in broken(2, query=query)
    assert broken(2, memory=heavy) == {"peak_rss_mb"}
    assert "recall_at_10" in broken(2, quality=quality)
    assert broken(2, by_process=(OneProcess(None, None, None, None, None),)) == set()
