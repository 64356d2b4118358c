"""What one page says of several files and machines, and of what to doubt in them."""

import json

import msgspec
from conftest import run_here
from mrl_edge.bench.results import IndexPlan, Narrowing, System, write_results
from report_page import ROWS, on, page_of
from rows import measurement, results


def full_of(*files):
    return [[one["ndcg_at_10"] for one in device["full"]] for device in page_of(*files).data["devices"]]


def test_the_full_model_is_the_one_that_pick_takes_shares_of():
    assert full_of(results(*ROWS)) == [[ROWS[-1].quality.ndcg_at_10]]
    assert full_of(results(*ROWS[:3])) == [[]]
    too_large = msgspec.structs.replace(ROWS[-1], status="out_of_memory")  # fp32 at 64 is not the full model then
    assert full_of(results(*ROWS[:-1], too_large)) == [[]]
    tuned = results(*ROWS[:-1])
    known = Narrowing({"too slow": 3}, 6, 384, {"ndcg_at_10": 0.9})
    assert full_of(msgspec.structs.replace(tuned, narrowing=known)) == [[0.9]]
    assert full_of(msgspec.structs.replace(tuned, narrowing=Narrowing({"too slow": 3}))) == [[]]


def test_a_board_that_could_not_run_the_full_model_is_held_to_another_boards():
    both = page_of(results(*ROWS), on("pi4", *ROWS[:3]))
    assert full_of(results(*ROWS), on("pi4", *ROWS[:3])) == [[ROWS[-1].quality.ndcg_at_10]] * 2
    assert [device["full_elsewhere"] for device in both.data["devices"]] == [False, True]
    assert both.data["devices"][1]["pick_all"] == "mrl-edge pick device-0.json device-1.json"
    other = on("pi4", *ROWS[:3], data_sha256="another")
    assert full_of(results(*ROWS), other) == [[ROWS[-1].quality.ndcg_at_10], []]


def test_what_tune_left_out_is_said():
    tuned = msgspec.structs.replace(results(*ROWS[:2]), narrowing=Narrowing({"cannot be better than what fits": 7}))
    text = " ".join(page_of(tuned).cells)
    assert "mrl-edge tune measured device-0.json for one budget and left out 7 configurations" in text
    assert "cannot be better than what fits" in text


def test_devices_stand_side_by_side_and_what_differs_is_said():
    slower = [
        measurement(r.precision, r.dim, encode_ms=9.0, search_ms=0.2, ndcg=r.quality.ndcg_at_10) for r in ROWS[:4]
    ]
    both = page_of(results(*ROWS), on("pi4", *slower))
    assert [device["label"] for device in both.data["devices"]] == [results().device.cpu, "pi4"]
    text = " ".join(both.cells)
    assert "The 4 configurations that several devices measured" in text
    assert "9.20" in text
    assert "These files measured different" not in text
    board = on("pi4", *slower)
    other = msgspec.structs.replace(board, bundle=msgspec.structs.replace(board.bundle, name="other", sha256="1" * 64))
    text = " ".join(page_of(results(*ROWS), other).cells)
    assert "different bundles" in text
    assert "that several devices measured" not in text
    assert "model, other" in text


def test_a_configuration_is_paired_by_what_was_asked_and_named_over_all_boards():
    """One board ran three layers and six, the other three alone; each tuned its index to a shortlist of its own."""

    def row(depth, shortlist):
        made = measurement("int8", 8, search_ms=0.2, ndcg=0.5)
        search = msgspec.structs.replace(made.search, index="scan", shortlist=shortlist, rerank_dim=384)
        return msgspec.structs.replace(made, depth=depth, search=search, plan=IndexPlan("scan", tuned=True))

    page = page_of(on("a", row(3, 50), row(6, 60)), on("b", row(3, 90)))
    assert "The 1 configurations that several devices measured" in " ".join(page.cells)
    assert "int8 at dimension 8, stopped after layer 3, scan tuned search" in page.cells
    (alone,) = page.data["devices"][1]["rows"]
    assert alone["name"] == "int8 at dimension 8, stopped after layer 3, scan search, 90 hits reranked at 384"


def test_files_of_one_machine_are_one_device_as_pick_takes_them(tmp_path):
    again = measurement("fp32", 384, encode_ms=2.0, search_ms=0.2, rss_mb=180, ndcg=0.8)  # in the place of the first's
    (device,) = page_of(results(*ROWS), results(again)).data["devices"]
    assert len(device["rows"]) == len(ROWS)
    assert [row["p50_ms"] for row in device["rows"] if (row["precision"], row["dim"]) == ("fp32", 384)] == [2.2]
    for name, content in (("a.json", results(*ROWS)), ("b.json", results(again))):
        write_results(tmp_path / name, content)
    answer = json.loads(run_here("pick", tmp_path / "a.json", tmp_path / "b.json", "--json").stdout)
    best = max(device["rows"], key=lambda row: row["ndcg_at_10"])
    assert (answer["name"], answer["p50_ms"]) == (best["name"], best["p50_ms"])
    assert device["pick"] == "mrl-edge pick device-0.json device-1.json"


def test_files_of_one_machine_that_do_not_compare_stand_apart():
    large, small = (on("local", *ROWS, cpu="a cpu", data_sha256=str(n), documents=n) for n in (10_000, 1000))
    page = page_of(large, small)
    assert [device["label"] for device in page.data["devices"]] == ["device-0.json on a cpu", "device-1.json on a cpu"]
    text = " ".join(page.cells)
    assert "over 1,000 and 10,000 documents" in text
    assert "they do not compare, neither in quality nor in what a search takes of time, memory and disk" in text


def test_a_machine_held_to_a_board_is_itself():
    content = results(*ROWS)
    device = msgspec.structs.replace(content.device, name="pi-zero-2w", capped_to="pi-zero-2w", cpu="a cpu")
    page = page_of(msgspec.structs.replace(content, device=device))
    assert page.data["devices"][0]["label"] == "a cpu, held to a pi-zero-2w"
    assert "Its times are of this machine's processor" in " ".join(page.cells)


def test_why_latencies_are_in_doubt_and_a_slowed_or_busy_machine_is_said():
    def moved(row, *doubts, **seen):
        query = msgspec.structs.replace(row.query, stable=False, doubts=doubts)
        return msgspec.structs.replace(row, query=query, **seen)

    busy = System(61.0, 3.0)
    rows = [moved(ROWS[0], "bimodal"), moved(ROWS[1], "bimodal", "drift"), moved(ROWS[2], "few samples", system=busy)]
    text = " ".join(page_of(results(*rows, msgspec.structs.replace(ROWS[3], throttled=True), *ROWS[4:])).cells)
    assert "3 of 6 latencies" in text
    assert "2 at two speeds, 1 that drifted meanwhile, 1 of few samples" in text
    assert "was throttled during 1 of 6 measurements" in text
    assert "Other work took up to 61%" in text
    assert "just before 1 of 6" in text
    quiet = " ".join(page_of(results(*ROWS)).cells)
    for word in ("in doubt", "throttled", "Other work"):
        assert word not in quiet
