"""What the scripts of `bench/peers` say of promises, on figures that keep them, break them and leave them open."""

import msgspec
import numpy as np
import pytest
from peer_scripts import load
from rows import measurement


@pytest.fixture(scope="module")
def searching():
    return load("searching")


@pytest.fixture(scope="module")
def harness():
    return load("harness")


@pytest.mark.parametrize(
    ("interval", "limits", "verdict"),
    [
        ((0.9, 1.0), {"most": 1.0}, "kept"),
        ((0.9, 1.1), {"most": 1.0}, "UNDECIDED"),
        ((1.01, 1.1), {"most": 1.0}, "NOT KEPT"),
        ((2.0, 3.0), {"least": 2.0}, "kept"),
        ((1.9, 3.0), {"least": 2.0}, "UNDECIDED"),
        ((1.0, 1.9), {"least": 2.0}, "NOT KEPT"),
        ((0.97, 1.03), {"least": 0.97, "most": 1.03}, "kept"),
        ((0.9, 1.2), {"least": 0.97, "most": 1.03}, "UNDECIDED"),  # beyond both, and within as well
        ((1.04, 1.2), {"least": 0.97, "most": 1.03}, "NOT KEPT"),
        (None, {"most": 1.0}, "UNDECIDED"),
    ],
)
def test_a_promise_is_kept_by_the_whole_interval_and_broken_by_the_whole(interval, limits, verdict):
    assert load("verdicts").held(interval, **limits) == verdict


def test_loadgens_p90_is_within_10_percent_by_the_whole_interval():
    within = load("loadgen").within_tolerance
    assert [within(one) for one in ((0.95, 1.1), (1.013, 1.153), (1.11, 1.3), (0.7, 0.89), None)] == [
        "kept", "UNDECIDED", "NOT KEPT", "NOT KEPT", "UNDECIDED",
    ]  # fmt: skip


def test_each_ratio_of_training_has_its_own_side_and_limit():
    judged = load("training_promises").judged
    seen = {"fine_tune_step": (0.95, 1.41), "frozen_epoch": (1.58, 1.66), "peer_step": (2.18, 4.06)}
    verdicts = judged({name: {"ci95": interval} for name, interval in seen.items()})
    assert verdicts == {"fine_tune_step": "UNDECIDED", "frozen_epoch": "kept", "peer_step": "kept"}
    slow = {"fine_tune_step": (1.1, 1.2), "frozen_epoch": (2.1, 2.2), "peer_step": (1.0, 1.5)}
    assert set(judged({name: {"ci95": interval} for name, interval in slow.items()}).values()) == {"NOT KEPT"}


@pytest.mark.parametrize(
    ("int8", "peer", "said"),
    [
        ((2.8, 3.1), (0.6, 1.0), set()),
        ((2.7, 3.1), (0.6, 1.1), {"UNDECIDED"}),
        ((2.2, 2.7), (1.1, 1.2), {"NOT KEPT"}),
        (None, None, {"UNDECIDED"}),
    ],
)
def test_the_ladder_is_faster_by_the_whole_interval(monkeypatch, int8, peer, said):
    promises = load("ladder_promises")
    monkeypatch.setattr(promises, "has_vnni", lambda: True)
    recalls = {f"recall_at_10_d{dim}": 0.5 for dim in promises.DIMS}
    rows = [
        {"name": name, "disk_mb": 10, "faster": 3.0, "faster_ci95": int8, **recalls}
        for name in ("fp32", "int8", "int4")
    ]
    peers = [{"name": name, "faster_ci95": peer} for name in promises.PEERS]
    found = promises.shortfalls(rows, peers, [])
    assert {line.split(":")[0] for line in found} == said
    assert len(found) == (1 + len(peers) if said else 0)


def row(name, time, cpu=None, recall=0.984, memory=0.24):
    return {
        "index": name, "recall_at_10": recall, "memory_ratio": memory,
        "time_ratio_ci95": time, "cpu_ratio_ci95": cpu or time,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "verdict", "keeper"),
    [
        ([row("ours: binary", (0.16, 0.19))], "kept", "ours: binary"),
        ([row("ours: scan", (0.16, 0.24)), row("ours: binary", (0.16, 0.19))], "kept", "ours: binary"),
        ([row("ours: scan", (0.16, 0.24))], "UNDECIDED", "ours: scan"),
        ([row("ours: scan", (0.16, 0.19), cpu=(0.16, 0.24))], "UNDECIDED", "ours: scan"),
        ([row("ours: scan", (0.16, 0.19), cpu=(0.21, 0.24))], "NOT KEPT", None),
        ([row("ours: scan", None)], "UNDECIDED", "ours: scan"),
        ([row("ours: scan", (0.1, 0.11), recall=0.979)], "NOT KEPT", None),
        ([row("ours: hnsw", (0.08, 0.09), memory=0.68)], "NOT KEPT", None),
        ([row("hnswlib", (0.02, 0.03))], "NOT KEPT", None),  # not ours
    ],
)
def test_some_configuration_of_ours_keeps_all_parts_of_the_promise_or_may(searching, rows, verdict, keeper):
    found, by = searching.judge(rows, 100_000)
    assert (found, by and by["index"]) == (verdict, keeper)


def test_a_million_items_promise_less_time(searching):
    rows = [row("ours: ivf", (0.068, 0.0714))]
    assert searching.judge(rows, 1_000_000)[0] == "kept"
    assert searching.judge([row("ours: ivf", (0.068, 0.1))], 1_000_000)[0] == "UNDECIDED"
    assert searching.judge([row("ours: ivf", (0.15, 0.16))], 1_000_000)[0] == "NOT KEPT"


def test_ratios_are_to_our_scan_and_to_the_fastest_search_that_is_exact(searching, capsys):
    """Twelve rounds in which the machine slows down: within a round the ratios are always the same."""
    pace = np.linspace(1, 3, 12)[:, None]
    wall = pace * np.array([20.0, 10.0, 4.0, 1.0])  # the scan, a faster one that is exact, ours, and a graph
    cpu = pace * np.array([16.0, 10.0, 4.0, 1.0])
    names = ("our scan", "faiss flat", "ours: binary", "hnswlib")
    rows = [
        {"index": name, "exact": exact, "resident_mb": mb, "recall_at_10": 0.99, "disk_mb": 1.0, "build_s": 1.0}
        for name, exact, mb in zip(names, (True, True, False, False), (100, 100, 25, 120), strict=True)
    ]
    found = searching.with_times(rows, np.array([wall, cpu]))
    assert [one["time_ratio"] for one in found] == pytest.approx([1, 0.5, 0.2, 0.05])
    assert [one["cpu_ratio"] for one in found] == pytest.approx([1, 10 / 16, 0.25, 1 / 16])
    assert [one["fastest_exact_ratio"] for one in found] == pytest.approx([2, 1, 0.4, 0.1])
    assert found[2]["fastest_exact_ratio_ci95"] == pytest.approx((0.4, 0.4))
    assert [one["memory_ratio"] for one in found] == [1, 1, 0.25, 1.2]
    assert {one["fastest_exact"] for one in found} == {"faiss flat"}
    searching.print_rows(found, "100 items")
    printed = capsys.readouterr().out
    assert "× fastest exact" in printed
    assert "0.400 to 0.400" in printed


def encode(doubts=(), ci95=(1.0, 1.1)):
    row = measurement("int8", 64).encode
    return msgspec.structs.replace(row, ci95_ms=ci95, stable=not doubts, doubts=doubts)


@pytest.mark.parametrize(
    ("alone", "beside", "verdict"),
    [
        ((), ("busy",), "kept"),
        (("interval",), ("interval", "busy"), "kept"),
        (("interval",), ("interval",), "NOT KEPT"),  # unstable as it was, and not because of the loop
        ((), (), "NOT KEPT"),
        (("busy",), ("busy",), "UNDECIDED"),
        (("busy",), (), "NOT KEPT"),
    ],
)
def test_a_disturbance_is_seen_by_its_cause_and_only_where_it_is(harness, alone, beside, verdict):
    assert harness.disturbance(encode(alone), encode(beside)).verdict == verdict


@pytest.mark.parametrize(("apart", "verdict"), [(0, "kept"), (1, "kept"), (2, "NOT KEPT")])
def test_nine_pairs_of_ten_agree(harness, apart, verdict):
    runs = [encode(ci95=(2.0, 2.2) if number < apart else (1.0, 1.1)) for number in range(10)]
    pairs = [run for one in runs for run in (encode(), one)]
    found = harness.agreement(pairs)
    assert found.verdict == verdict
    assert f"{10 - apart} of 10" in found.seen
