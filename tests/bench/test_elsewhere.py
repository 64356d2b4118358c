"""Boards that are not at hand, predicted from machines that are made by arithmetic here: only one real one is.

A machine that is exactly k times as fast must be predicted exactly; of others the sums are done again with numpy.
"""

import json
import random
from pathlib import Path

import msgspec
import numpy as np
import pytest
from conftest import run_here, the_one_error_line
from mrl_edge.bench.elsewhere import Prediction, as_target, board, leave_one_out, predict
from mrl_edge.bench.machines import machines_of
from mrl_edge.bench.results import Bandwidth, Ceilings, Roofline, SearchResult, Work, write_results
from mrl_edge.devices.profiles import read_profile, resolve
from rows import measurement, results

from mrl_edge import devices
from mrl_edge.errors import ResultsError, UsageError

FOLDER = Path(devices.__file__).parent
# What a Cortex-A76 of 1 GHz does at most by `devices/ceilings.py`, at 1 and 2 threads, with 10 GB/s of memory.
CEILINGS = tuple(Ceilings(n, 16.0 * n, 64.0 * n, (Bandwidth(1, 10.0),), "now") for n in (1, 2))
WORK = {
    "fp32": Work(7 * 10**8, 0, 0, 45 * 10**6),
    "int8": Work(7 * 10**8, 6 * 10**8, 0, 12 * 10**6),
    "int4": Work(7 * 10**8, 0, 6 * 10**8, 8 * 10**6),
    "fp16": Work(7 * 10**8, 0, 7 * 10**8, 23 * 10**6),
}
SEARCH_MS = 0.5
EMPTY = results()


def row(precision="fp32", dim=64, *, ms=100.0, threads=1, search_ms=SEARCH_MS, target="any"):
    made = measurement(
        precision, dim, threads=threads, encode_ms=ms, search_ms=search_ms, rss_mb=110, disk_mb=24, recall=0.6
    )
    return msgspec.structs.replace(made, target=target, roofline=Roofline(WORK[precision], 1.0, "compute", 0.5))


def machine(name, *rows, speed=1.0, arch="aarch64", features=("asimd", "asimdhp", "asimddp"), ceilings=CEILINGS):
    """Results of a machine that is `speed` times as fast as `rows` and `ceilings` say, in everything."""

    def faster(one):
        def timed(query):
            return msgspec.structs.replace(
                query,
                p50_ms=query.p50_ms / speed, p90_ms=query.p90_ms / speed, p99_ms=query.p99_ms / speed,
                ci95_ms=tuple(end / speed for end in query.ci95_ms),
            )  # fmt: skip

        search: SearchResult = one.search
        return msgspec.structs.replace(
            one,
            encode=timed(one.encode),
            query=timed(one.query),
            search=msgspec.structs.replace(search, p50_ms=search.p50_ms / speed, p99_ms=search.p99_ms / speed),
        )

    device = msgspec.structs.replace(EMPTY.device, cpu=name, arch=arch, features=tuple(features))
    rates = tuple(
        Ceilings(
            one.threads, one.fp32_gops * speed, one.int8_gops * speed,
            tuple(Bandwidth(b.bytes, b.gb_per_s * speed) for b in one.bandwidths), one.measured,
        )
        for one in ceilings
    )  # fmt: skip
    return msgspec.structs.replace(EMPTY, device=device, ceilings=rates, measurements=tuple(map(faster, rows)))


def read(*made, profiles=None):
    return machines_of(made, profiles or {})


def profile(tmp_path, **changes):
    """A Raspberry Pi 5 with other figures, as a file of a user's own."""
    text = (FOLDER / "pi-5-8gb.toml").read_text(encoding="utf-8")
    for before, after in changes.items():
        assert before in text
        text = text.replace(before, after)
    path = tmp_path / "myboard.toml"
    path.write_text(text, encoding="utf-8")
    return path


FLOOR = 1.1  # however well machines agree
ALL = (row("fp32", 64), row("fp32", 384, ms=101), row("int8", 64, ms=30), row("int8", 64, ms=18, threads=2))


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


def changed(content, *rows):
    return msgspec.structs.replace(content, measurements=rows)


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


@pytest.fixture
def files(tmp_path):
    paths = []
    for name, speed in (("a", 1), ("b", 3), ("c", 0.5)):
        paths.append(tmp_path / f"{name}.json")
        write_results(paths[-1], machine(name, *ALL, speed=speed))
    return paths


def test_pick_for_a_board_says_that_it_is_predicted_and_holds_its_memory(files, tmp_path):
    out = tmp_path / "choice.json"
    done = run_here("pick", *files[:2], "--board", "pi-5-8gb", "--max-p50-ms", "60", "--out", out, "--json")
    assert done.returncode == 0, done.stderr
    assert "Raspberry Pi 5, 8 GB is predicted from a, b; nothing ran on it" in done.stderr
    answer = json.loads(done.stdout)
    assert answer == json.loads(out.read_text())
    assert answer["predicted"]
    assert answer["p50_ms"] == pytest.approx(18 / 2.4 + 0.5 * 10 / 17)  # int8 with 2 threads: the quality is one
    assert answer["cold_start_ms"] is None
    assert answer["configuration"]["dim"] == 64
    small = profile(tmp_path, **{"application_bytes = 8_000_000_000": "application_bytes = 100_000_000"})
    assert run_here("pick", *files[:2], "--board", small).returncode == 3
    text = run_here("pick", *files[:2], "--board", "pi-5-8gb").stdout
    assert "int8 (predicted)" in text
    low, high = (18 / 2.4 + 0.5 * 10 / 24) / FLOOR, (18 / 2.4 + 0.5 * 10 / 17) * FLOOR
    assert f"That is predicted: a query's p50 of {low:.4g} to {high:.4g} ms." in text
    assert "a and b have the same instruction sets" in done.stderr
    cold = run_here("pick", *files[:2], "--board", "pi-5-8gb", "--max-cold-ms", "1000")
    assert cold.returncode == 3
    assert "cold start is not known" in cold.stdout


def test_a_share_of_the_full_model_and_depths_are_of_what_was_measured(tmp_path):
    deep = (row("fp32", 384, ms=100), row("int8", 64, ms=30))
    shallow = tuple(
        msgspec.structs.replace(one, depth=3, quality=msgspec.structs.replace(one.quality, ndcg_at_10=0.3))
        for one in (row("fp32", 384, ms=50), row("int8", 64, ms=15))
    )
    files = []
    for name, speed, rows in (("a", 1, (*deep, *shallow)), ("b", 3, (deep[1], *shallow))):  # fp32 on the first alone
        files.append(tmp_path / f"{name}.json")
        write_results(files[-1], machine(name, *rows, speed=speed))
    done = run_here("pick", *files, "--board", "pi-5-8gb", "--keep-ndcg", "0.9", "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["full"]["depth"], answer["full"]["dim"], answer["configuration"]["depth"]) == (6, 384, 6)
    names = {one["name"] for one in answer["pareto"]}
    assert any("stopped after layer 3" in name for name in names)
    assert len(names) == len(answer["pareto"])
    too_much = run_here("pick", *files, "--board", "pi-5-8gb", "--keep-ndcg", "0.9", "--max-p50-ms", "1")
    assert too_much.returncode == 3


def test_no_more_confidence_is_given_than_the_machines_support(files):
    line = the_one_error_line(run_here("pick", *files[:2], "--board", "pi-5-8gb", "--confidence", "0.95"))
    assert "the interval of 2 machines is good for 0.83 at most" in line
    assert run_here("pick", *files[:2], "--board", "pi-5-8gb", "--confidence", "0.83").returncode == 0
    assert run_here("pick", *files, "--board", "pi-5-8gb", "--confidence", "0.92").returncode == 0


def test_a_profile_is_of_the_machine_that_it_is_given_for(files, tmp_path):
    other = tmp_path / "x86.json"
    write_results(other, machine("x", *ALL, arch="x86_64", features=("avx2",)))
    line = the_one_error_line(
        run_here("pick", files[0], other, "--board", "pi-5-8gb", "--profile", f"{other}=pi-zero-2w")
    )
    assert "pi-zero-2w is aarch64, and x, which was measured, is x86_64" in line
    done = run_here("pick", *files[:2], "--board", "pi-5-8gb", "--profile", f"{files[0]}=pi-4-4gb")
    assert done.returncode == 0
    assert "differs from pi-4-4gb in asimddp, asimdhp" in done.stderr
    write_results(other, machine("x", *ALL, arch="arm64"))  # as macOS names it
    assert run_here("pick", files[0], other, "--board", "pi-5-8gb", "--profile", f"{other}=pi-5-8gb").returncode == 0


def test_leaving_one_out_is_printed_and_is_json(files):
    answer = json.loads(run_here("pick", *files, "--leave-one-out", "--json").stdout)
    assert (answer["held"], answer["of"], answer["left_out"]) == (12, 12, True)
    for check in answer["checks"]:
        assert check["predicted_p50_ms"] == pytest.approx(check["measured_p50_ms"])
    text = run_here("pick", *files, "--leave-one-out").stdout
    assert "c, predicted from the others" in text
    assert "The intervals hold 12 of 12." in text
    assert "says nothing" in run_here("pick", *files[:2], "--leave-one-out").stdout
    assert run_here("pick", *files, "--leave-one-out", "--profile", f"{files[0]}=pi-4-4gb").returncode == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--board", "pi-6"), "no device is named 'pi-6'"),
        (("--board", "t4"), "t4 is a card"),
        (("--board", "laptop"), "laptop: its profile does not say how fast its memory is read"),
        (("--board", "pi-5-8gb", "--corpus", "1000"), "--corpus another number of documents"),
        (("--board", "pi-5-8gb", "--one-for-all"), "--one-for-all"),
        (("--board", "pi-5-8gb", "--leave-one-out"), "give one"),
        (("--profile", "a.json=pi-4-4gb"), "give --board or --leave-one-out"),
        (("--board", "pi-5-8gb", "--profile", "none.json=pi-4-4gb"), "expected one of the results files"),
        (("--board", "pi-5-8gb", "--profile", "pi-4-4gb"), "expected one of the results files"),
    ],
)
def test_what_cannot_be_predicted_is_one_line(files, options, said):
    assert said in the_one_error_line(run_here("pick", *files, *options))


def test_results_that_nothing_can_be_predicted_from_are_one_line(files, tmp_path):
    assert "these are of a alone" in the_one_error_line(run_here("pick", files[0], "--board", "pi-5-8gb"))

    def refused(**changes):
        other = machine("d", *changes.pop("rows", ALL), speed=2)
        device = msgspec.structs.replace(other.device, **changes.pop("device", {}))
        write_results(tmp_path / "d.json", msgspec.structs.replace(other, device=device, **changes))
        return the_one_error_line(run_here("pick", files[0], tmp_path / "d.json", "--board", "pi-5-8gb"))

    assert "emulated machine" in refused(device={"emulated": True})
    assert "different data" in refused(settings={"data_sha256": "another"})
    assert "hold no rooflines" in refused(ceilings=())
    assert "hold no rooflines" in refused(ceilings=(Ceilings(1, 0.0, 1.0, (Bandwidth(1, 1.0),), ""),))
    bare = msgspec.structs.replace(ALL[0], roofline=None, null_because={"roofline": "measuring the ceilings: killed"})
    assert "hold no rooflines (measuring the ceilings: killed)" in refused(rows=[bare])
    assert "no rooflines" in refused(rows=[msgspec.structs.replace(ALL[0], provider="CUDAExecutionProvider")])
    bundle = msgspec.structs.replace(machine("d").bundle, sha256="1" * 64)
    assert "different bundles" in refused(bundle=bundle)


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
