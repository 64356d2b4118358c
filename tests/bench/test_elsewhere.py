"""Boards that are not at hand, predicted from machines that are made by arithmetic here: only one real one is.

A machine that is exactly k times as fast must be predicted exactly; of others the sums are done again with numpy.
"""

import random

import msgspec
import numpy as np
import pytest
from made_machines import ALL, CEILINGS, FLOOR, SEARCH_MS, WORK, changed, machine, profile, read, row
from mrl_edge.bench.elsewhere import Prediction, as_target, board, leave_one_out, predict
from mrl_edge.bench.machines import machines_of
from mrl_edge.bench.results import Bandwidth, Ceilings
from mrl_edge.devices.profiles import read_profile, resolve

from mrl_edge.errors import ResultsError, UsageError


@pytest.mark.parametrize("speed", [0.1, 1, 7.5])
def test_a_machine_k_times_as_fast_is_predicted_exactly(speed):
    calibrating = read(machine("a", *ALL), machine("b", *ALL, speed=3))
    (target,) = read(machine("c", *ALL, speed=speed))
    found = predict(calibrating, as_target(target))
    assert len(found.rows) == len(ALL)
    assert found.left_out == {}
    for one in found.rows:
        true = target.rows[one.key].candidate
        assert one.predicted
        assert one.p50_ms == pytest.approx(true.p50_ms)
        assert one.p99_ms == pytest.approx(true.p99_ms)
        assert one.search_p50_ms == pytest.approx(true.search_p50_ms)
        assert one.encode_p50_ms == pytest.approx(true.encode_p50_ms)
        assert one.p50_ci95_ms == pytest.approx((true.p50_ms / FLOOR, true.p50_ms * FLOOR))
        assert (one.peak_rss_mb, one.disk_mb, one.quality) == (true.peak_rss_mb, true.disk_mb, true.quality)
        assert one.bounds["peak_rss_mb"] == (110, 110)


def test_a_board_is_as_fast_as_the_clock_and_the_memory_of_its_profile(tmp_path):
    """2.4 GHz and 24 GB/s, where 1 GHz and 10 GB/s were measured: 2.4 times as fast, with 2 threads as with 1."""
    path = profile(tmp_path, **{"bandwidth_gb_s = 17.0": "bandwidth_gb_s = 24.0"})
    calibrating = read(machine("a", *ALL), machine("b", *ALL, speed=0.5))
    found = predict(calibrating, board(read_profile(path), calibrating))
    slow = {(one.precision, one.dim, one.threads): one for one in predict(calibrating, as_target(calibrating[0])).rows}
    for one in found.rows:
        assert one.p50_ms == pytest.approx(slow[one.precision, one.dim, one.threads].p50_ms / 2.4)


def unlike(seed, count=3, rows_each=3):
    """Machines that reach shares of their ceilings drawn at random, and the shares [machine, row]."""
    rng = np.random.default_rng(seed)
    shares = np.exp(rng.normal(np.log(0.4), 0.3, (count, rows_each)))
    made = []
    for place in range(count):
        fp32, int8, read_gb = rng.uniform(5, 50), rng.uniform(20, 200), rng.uniform(2, 40)
        rates = (Ceilings(1, fp32, int8, (Bandwidth(1, read_gb),), "now"),)
        rows = []
        for dim, share in zip((64, 128, 384), shares[place], strict=False):
            work = WORK["int8"]
            least = max(1e8 / fp32 / 1e6 + 6e8 / int8 / 1e6, 12e6 / read_gb / 1e6)
            rows.append(row("int8", dim, ms=least / share, search_ms=1e-9))
            assert rows[-1].roofline.work == work
        made.append(machine(f"cpu {place}", *rows, ceilings=rates))
    return read(*made), shares


@pytest.mark.parametrize("seed", range(8))
def test_the_least_time_is_divided_by_the_share_that_the_machines_reached(seed):
    found, shares = unlike(seed)
    target = board(resolve("pi-5-8gb"), found)
    least = max(1e8 / (2.4 * 16) / 1e6 + 6e8 / (2.4 * 64) / 1e6, 12e6 / 17 / 1e6)
    logs = np.log(shares)
    others = np.stack([np.delete(logs, place, 0).mean(0) for place in range(3)])
    miss = np.abs(others - logs).max()
    for place, one in enumerate(sorted(predict(found, target).rows, key=lambda one: one.dim)):
        said = least / shares[:, place]
        assert one.p50_ms == pytest.approx(np.exp(np.log(said).mean()))
        assert one.p50_ci95_ms == pytest.approx((said.min() * np.exp(-miss), said.max() * np.exp(miss)))


@pytest.mark.parametrize(("machines", "share"), [(2, 2 / 3), (3, 0.85), (4, 0.91), (5, 0.95), (6, 0.96)])
def test_how_often_the_interval_holds_a_machine_that_is_drawn_as_the_others_were(machines, share):
    """Of two it is 2/3, by Student's distribution of one degree of freedom: no 95%, and the docs say so."""
    logs = np.random.default_rng(0).normal(0, 2, (100_000, machines + 1))
    others = logs[:, :-1]
    means = (others.sum(1, keepdims=True) - others) / (machines - 1)
    miss = np.maximum(np.abs(means - others).max(1), np.log(FLOOR))
    held = np.abs(logs[:, -1] - (others.max(1) + others.min(1)) / 2) <= miss + (others.max(1) - others.min(1)) / 2
    print(f"of {machines} machines the interval holds another in {held.mean():.1%}")
    assert held.mean() == pytest.approx(share, abs=0.01)
    assert Prediction([], {}, machines).most_confidence <= min(1 - (1 - held.mean()) / 2, 0.975) + 1e-9
    assert Prediction([], {}, machines).most_confidence > 1 - (1 - share) / 2 - 0.02
    for drawn, expected in zip(logs[:40], held[:40], strict=True):
        made = (row("int8", ms=30 / np.exp(one), search_ms=1e-9) for one in drawn)
        found = read(*(machine(f"cpu {place}", one) for place, one in enumerate(made)))
        (one,) = predict(found[:-1], as_target(found[-1])).rows
        (true,) = [row.candidate.p50_ms for row in found[-1].rows.values()]
        assert (one.p50_ci95_ms[0] <= true <= one.p50_ci95_ms[1]) == expected


def test_what_the_measured_intervals_leave_open_stands_in_the_predicted_one():
    wide = row("int8", ms=30)
    whole = wide.query.p50_ms
    wide = msgspec.structs.replace(wide, query=msgspec.structs.replace(wide.query, ci95_ms=(0.7 * whole, 1.4 * whole)))
    calibrating = read(machine("a", wide), machine("b", wide, speed=3))
    (one,) = predict(calibrating, as_target(calibrating[0])).rows
    assert one.p50_ci95_ms == pytest.approx((whole * 0.7 / FLOOR, whole * 1.4 * FLOOR))
    unknown = msgspec.structs.replace(wide, query=msgspec.structs.replace(wide.query, ci95_ms=None))
    calibrating = machines_of([machine("a", wide), changed(machine("b", wide), unknown)], {})
    (one,) = predict(calibrating, as_target(calibrating[0])).rows
    assert one.p50_ci95_ms == pytest.approx((whole * 0.7 / FLOOR, whole * 1.4 * FLOOR))


def test_leaving_one_out_predicts_each_from_the_others_alone():
    found, shares = unlike(1)
    checks = leave_one_out(found)
    assert len(checks) == 9
    for place, one in enumerate(found):
        ours = [check for check in checks if check.machine == one.name]
        others = np.delete(shares, place, 0)
        for check, theirs, mine in zip(ours, others.T, shares[place], strict=True):
            assert check.predicted.p50_ms / check.measured_ms == pytest.approx(mine / np.exp(np.log(theirs).mean()))
            low, high = check.predicted.p50_ci95_ms
            assert check.held == (low <= check.measured_ms <= high)
    spread = np.log(others := np.delete(shares, 0, 0))
    miss = np.abs(spread[0] - spread[1]).max()
    low, high = checks[0].predicted.p50_ci95_ms
    assert high / low == pytest.approx(others[:, 0].max() / others[:, 0].min() * np.exp(2 * miss))


def test_of_two_machines_each_is_among_what_predicts_it_and_is_held():
    found, _ = unlike(2, 2)
    checks = leave_one_out(found)
    assert len(checks) == 6
    assert all(check.held for check in checks)
    with pytest.raises(UsageError, match="two machines at least"):
        leave_one_out(found[:1])


def test_one_kind_of_processor_is_one_machine_however_many_boards_have_it():
    two = (machine("same", *ALL), machine("same", *ALL, speed=2))
    with pytest.raises(UsageError, match="these are of same alone"):
        predict(read(*two), as_target(read(*two)[0]))
    capped = [
        msgspec.structs.replace(one, device=msgspec.structs.replace(one.device, name="pi-zero-2w", capped_to=name))
        for one, name in zip(two, ("pi-zero-2w", "pi-3b-plus"), strict=True)
    ]
    (one,) = read(*capped)  # held to a board's RAM and cores: its times are this machine's
    assert one.name == "same"
    other = machine("same", *ALL, features=("asimd",))
    assert len({one.name for one in read(two[0], other)}) == 2


def test_searching_goes_with_the_rate_of_the_index_and_its_interval_with_arithmetic_too():
    slow_memory = (Ceilings(1, 16.0, 64.0, (Bandwidth(1, 2.0),), "now"),)
    first = machine("a", row("int8", ms=30, search_ms=8.0), ceilings=slow_memory)
    second = msgspec.structs.replace(first, device=msgspec.structs.replace(first.device, cpu="b"))
    calibrating = read(first, second)
    (target,) = read(machine("c", row("int8", ms=30), ceilings=CEILINGS))  # arithmetic alike, memory 5 times as fast
    (one,) = predict(calibrating, as_target(target)).rows
    assert one.search_p50_ms == pytest.approx(8.0 / 5)
    assert one.p50_ms == pytest.approx(30 + 8.0 / 5)  # its encoding is bound by arithmetic on both
    assert one.p50_ci95_ms == pytest.approx(((30 + 8.0 / 5) / FLOOR, (30 + 8.0) * FLOOR))


def test_what_no_processor_has_arithmetic_for_is_wider_by_the_two_ways_of_computing_it():
    calibrating = read(machine("a", row("int4", search_ms=1e-9)), machine("b", row("int4", search_ms=1e-9), speed=2))
    (one,) = predict(calibrating, as_target(calibrating[0])).rows
    fast, slow = 1e8 / 16 + 6e8 / 64, 7e8 / 16
    assert one.p50_ms == pytest.approx(100)
    assert one.p50_ci95_ms == pytest.approx((100 * fast / slow / FLOOR, 100 * slow / fast * FLOOR))


def test_fp16_is_predicted_only_from_machines_that_compute_it_alike(tmp_path):
    without = {"features": ("avx2",), "arch": "x86_64"}
    rows = (row("fp16"), row("int8", ms=30))
    two = read(machine("x", *rows, **without), machine("y", *rows, **without, speed=2))
    found = predict(two, board(resolve("pi-5-8gb"), two))
    assert [one.precision for one in found.rows] == ["int8"]
    assert any("fp16" in reason and "otherwise" in reason for reason in found.left_out)
    older = predict(two, board(resolve("pi-4-4gb"), two))
    assert {one.precision for one in older.rows} == {"fp16", "int8"}


def test_another_architecture_may_keep_a_copy_of_the_weights_more_or_less():
    x86 = {"features": ("avx2",), "arch": "x86_64"}
    two = read(machine("x", *ALL, **x86), machine("y", *ALL, **x86, speed=2))
    one = predict(two, board(resolve("pi-5-8gb"), two)).rows[0]
    assert one.peak_rss_mb == 110
    assert one.bounds["peak_rss_mb"] == pytest.approx((110 - 24, 110 + 24))
    three = read(machine("x", *ALL, **x86), machine("y", *ALL, **x86, speed=2), machine("z", *ALL, speed=3))
    one = predict(three, board(resolve("pi-5-8gb"), three)).rows[0]
    assert one.bounds["peak_rss_mb"] == (110, 110)


def test_what_is_left_out_is_counted_with_its_reason():
    vnni = row("int8", 384, ms=30, target="avx512-vnni")
    first = machine("a", *ALL, row("int8", 8, ms=30), vnni)
    two = read(first, machine("b", *ALL, vnni, speed=2))
    old = msgspec.structs.replace(resolve("intel-n100"), name="old")
    old = msgspec.structs.replace(old, cpu=msgspec.structs.replace(old.cpu, features=("avx2",)))
    clusters = (msgspec.structs.replace(old.cpu.clusters[0], cores=1),)
    old = msgspec.structs.replace(old, cpu=msgspec.structs.replace(old.cpu, clusters=clusters))
    found = predict(two, board(old, two))
    assert found.left_out == {
        "old has no 2 cores": 1,
        "measured on one machine alone": 1,
        "made for avx512-vnni: its sums may saturate on old": 1,
    }
    assert len(found.rows) == 3
    nothing_shared = read(machine("a", row("int8", 8)), machine("b", row("fp32", 8)))
    with pytest.raises(UsageError, match="no configuration can be predicted: 2 × measured on one machine alone"):
        predict(nothing_shared, as_target(two[0]))
    with pytest.raises(UsageError, match="no configuration in common"):
        leave_one_out(nothing_shared)


def test_a_profile_stands_for_the_ceilings_of_a_machine_that_was_measured():
    """From a Pi 4's profile to a Pi 5's: twice the width and 2.4 / 1.8 of the clock; its memory 17 / 12.8."""
    made = (machine("a", *ALL, ceilings=()), machine("b", *ALL, ceilings=()))
    pi4 = resolve("pi-4-4gb")
    found = read(*made, profiles={0: pi4, 1: pi4})
    for one in predict(found, board(resolve("pi-5-8gb"), found)).rows:
        if one.precision == "fp32":  # products bind on both: 48.6 ms at least on a Pi 4, its weights 3.5
            true = 100.0 if one.dim == 64 else 101.0
            assert one.p50_ms == pytest.approx(true / (2 * 2.4 / 1.8) + SEARCH_MS * 12.8 / 17)
    with pytest.raises(ResultsError, match="hold no rooflines"):
        read(*made)


def test_a_random_choice_of_options_never_predicts_below_the_least_time():
    """No share is above 1, so no configuration may be said to beat its roofline on the board."""
    rng = random.Random(3)
    for _ in range(20):
        speeds = [rng.uniform(0.2, 5) for _ in range(3)]
        found = read(*(machine(f"m{place}", *ALL, speed=speed) for place, speed in enumerate(speeds)))
        for one in predict(found, board(resolve("pi-zero-2w"), found)).rows:
            work, threads = WORK[one.precision], one.threads
            products = (work.operations - work.int8_operations) / 8 + work.int8_operations / 16
            assert one.p50_ms > max(products / threads / 1e6, work.bytes / 3.6 / 1e6)
