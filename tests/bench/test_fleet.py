"""Several boards: a choice for each, or one for all by the worst figure that any has."""

import json

import msgspec
import pytest
from conftest import run_here, the_one_error_line
from mrl_edge.bench.results import IndexPlan, Process, write_results
from rows import measurement, results
from sizes import at


def on(name, *rows, **settings):
    content = results(*rows)
    device = msgspec.structs.replace(content.device, name=name, cpu=f"cpu of {name}")
    return msgspec.structs.replace(content, device=device, settings={**content.settings, **settings})


@pytest.fixture
def fleet(tmp_path):
    """A slow board and a fast one."""
    slow = on(
        "slow",
        measurement("int8", 64, encode_ms=8, rss_mb=100, ndcg=0.50),
        measurement("int8", 384, encode_ms=12, rss_mb=110, ndcg=0.56),
        measurement("fp32", 384, encode_ms=40, rss_mb=180, ndcg=0.57),
    )
    fast = on(
        "fast",
        measurement("int8", 64, encode_ms=2, rss_mb=120, ndcg=0.49),
        measurement("fp32", 384, encode_ms=9, rss_mb=185, ndcg=0.57),
        measurement("int4", 384, encode_ms=3, rss_mb=90, ndcg=0.55),
    )
    files = []
    for content in (slow, fast):
        files.append(tmp_path / f"{content.device.name}.json")
        write_results(files[-1], content)
    return files


def test_each_board_gets_its_own_choice(fleet):
    answer = json.loads(run_here("pick", *fleet, "--max-p50-ms", "15", "--json").stdout)["boards"]
    assert (answer["slow"]["precision"], answer["slow"]["dim"]) == ("int8", 384)
    assert (answer["fast"]["precision"], answer["fast"]["dim"]) == ("fp32", 384)
    text = run_here("pick", *fleet, "--max-p50-ms", "15").stdout
    assert text.index("slow") < text.index("int8 at dimension 384") < text.index("fast")


def test_one_for_all_is_what_every_board_can_run_by_its_worst(fleet, tmp_path):
    out = tmp_path / "choice.json"
    done = run_here("pick", *fleet, "--max-p50-ms", "15", "--one-for-all", "--json", "--out", out)
    answer = json.loads(done.stdout)
    assert answer == json.loads(out.read_bytes())
    assert (answer["configuration"]["precision"], answer["configuration"]["dim"]) == ("int8", 64)
    assert (answer["p50_ms"], answer["peak_rss_mb"], answer["ndcg_at_10"]) == pytest.approx((8, 120, 0.49))
    assert answer["bundle"] == {"name": "model", "sha256": "0" * 64}
    assert run_here("pick", *fleet, "--max-p50-ms", "5", "--one-for-all").returncode == 3


def test_files_of_one_machine_are_taken_together(tmp_path):
    for number, row in enumerate((measurement("int8", 64), measurement("int8", 384, ndcg=0.6, disk_mb=30))):
        write_results(tmp_path / f"{number}.json", on("board", row))
    answer = json.loads(run_here("pick", tmp_path / "0.json", tmp_path / "1.json", "--json").stdout)
    assert answer["dim"] == 384
    assert len(answer["pareto"]) == 2


def test_the_full_model_of_files_that_are_taken_together_is_that_of_the_largest_dimension_of_all(tmp_path):
    small = on("board", measurement("fp32", 64, ndcg=0.60), measurement("int8", 64, ndcg=0.59))
    for name, precision in (("fp32", "fp32"), ("int8", "int8")):
        write_results(tmp_path / f"{name}.json", on("board", measurement(precision, 384, ndcg=0.58)))
    write_results(tmp_path / "small.json", small)
    keep = ("--keep-quality", "ndcg_at_10=0.9", "--json")
    answer = json.loads(run_here("pick", tmp_path / "small.json", tmp_path / "fp32.json", *keep).stdout)
    assert (answer["full"]["dim"], answer["full"]["quality"]["ndcg_at_10"]) == (384, 0.58)
    done = run_here("pick", tmp_path / "small.json", tmp_path / "int8.json", *keep)
    assert "hold no fp32 at all layers and the largest dimension" in the_one_error_line(done)


def test_boards_that_differ_in_memory_by_a_page_are_one(tmp_path):
    for number, row in enumerate((measurement("int8", 64), measurement("int8", 384, ndcg=0.6, disk_mb=30))):
        content = on("board", row)
        device = msgspec.structs.replace(content.device, ram_bytes=content.device.ram_bytes + 4096 * number)
        write_results(tmp_path / f"{number}.json", msgspec.structs.replace(content, device=device))
    answer = json.loads(run_here("pick", tmp_path / "0.json", tmp_path / "1.json", "--json").stdout)
    assert len(answer["pareto"]) == 2


def test_a_board_and_itself_held_to_a_profile_of_its_name_each_get_a_choice(tmp_path):
    free = on("pi-5-8gb", measurement("int8", 64))
    held = msgspec.structs.replace(free, device=msgspec.structs.replace(free.device, capped_to="pi-5-8gb"))
    for name, content in (("free", free), ("held", held)):
        write_results(tmp_path / f"{name}.json", content)
    done = run_here("pick", tmp_path / "free.json", tmp_path / "held.json", "--json")
    assert [*json.loads(done.stdout)["boards"]] == [
        "pi-5-8gb (cpu of pi-5-8gb)",
        "pi-5-8gb (cpu of pi-5-8gb, held to it)",
    ]


def test_a_share_may_be_of_a_model_that_another_board_ran(fleet, tmp_path):
    small = tmp_path / "small.json"
    write_results(small, on("small", measurement("int8", 64, ndcg=0.5), measurement("int8", 384, ndcg=0.56)))
    done = run_here("pick", small, fleet[0], "--keep-quality", "ndcg_at_10=0.98", "--json")
    answer = json.loads(done.stdout)["boards"]["small"]
    assert (answer["dim"], answer["full"]["quality"]["ndcg_at_10"]) == (384, 0.57)


def test_what_cannot_be_compared_is_refused(fleet, tmp_path):
    other = tmp_path / "other.json"
    bundle = msgspec.structs.replace(results().bundle, sha256="1" * 64)
    write_results(other, msgspec.structs.replace(results(measurement("int8", 64)), bundle=bundle))
    assert "different bundles" in the_one_error_line(run_here("pick", fleet[0], other))
    same = tmp_path / "same.json"
    write_results(same, on("slow", measurement("int8", 64), data_sha256="another"))
    assert "different data" in the_one_error_line(run_here("pick", fleet[0], same))
    assert "--out writes one choice" in the_one_error_line(run_here("pick", *fleet, "--out", tmp_path / "c.json"))
    alone = tmp_path / "alone.json"
    write_results(alone, on("third", measurement("fp16", 8)))
    assert "no configuration was measured on all of" in the_one_error_line(
        run_here("pick", *fleet, alone, "--one-for-all")
    )


def test_a_share_is_of_the_boards_own_task_where_another_measured_other_data(tmp_path):
    easy = on("easy", measurement("fp32", 384, ndcg=0.9), data_sha256="a")
    hard = on("hard", measurement("fp32", 384, ndcg=0.6), measurement("int8", 384, ndcg=0.58), data_sha256="b")
    for content in (easy, hard):
        write_results(tmp_path / f"{content.device.name}.json", content)
    files = (tmp_path / "easy.json", tmp_path / "hard.json")
    answers = json.loads(run_here("pick", *files, "--keep-quality", "ndcg_at_10=0.9", "--json").stdout)["boards"]
    assert [answers[name]["full"]["quality"]["ndcg_at_10"] for name in ("easy", "hard")] == [0.9, 0.6]
    assert answers["hard"]["fits"]


def test_one_for_all_names_what_each_boards_precision_is_made_for(tmp_path):
    for target in ("avx2", "arm64"):
        row = msgspec.structs.replace(measurement("int8", 64), target=target)
        write_results(tmp_path / f"{target}.json", on(f"board of {target}", row))
    files = (tmp_path / "avx2.json", tmp_path / "arm64.json")
    (line,) = json.loads(run_here("pick", *files, "--one-for-all", "--json").stdout)["uncertain"]
    assert "avx2 on board of avx2, arm64 on board of arm64" in line


@pytest.mark.parametrize(("shortlists", "said"), [((50, 90), 1), ((50, 50), 0)])
def test_one_for_all_says_that_each_boards_index_was_tuned_to_other_parameters(tmp_path, shortlists, said):
    for shortlist, name in zip(shortlists, ("a", "b"), strict=True):
        row = measurement("int8", 64, search_ms=0.2)
        search = msgspec.structs.replace(row.search, index="scan", shortlist=shortlist, rerank_dim=384)
        row = msgspec.structs.replace(row, search=search, plan=IndexPlan("scan", tuned=True))
        write_results(tmp_path / f"{name}.json", on(name, row))
    files = (tmp_path / "a.json", tmp_path / "b.json")
    uncertain = json.loads(run_here("pick", *files, "--one-for-all", "--json").stdout)["uncertain"]
    assert [("tuned to other parameters" in line) for line in uncertain] == [True] * said


def test_one_for_all_says_that_a_board_saw_a_configuration_in_one_process_alone(tmp_path):
    row = measurement("int8", 64)
    files = []
    for name, seen in (("a", 3), ("b", 1)):
        encode = msgspec.structs.replace(row.encode, processes=(Process(1.0),) * seen)
        files.append(tmp_path / f"{name}.json")
        write_results(files[-1], on(name, msgspec.structs.replace(row, encode=encode), repeats=3))
    for order in (files, files[::-1]):
        assert json.loads(run_here("pick", *order, "--one-for-all", "--json").stdout)["processes"] == 1


def test_one_for_all_has_the_worst_ends_of_what_one_board_measured_and_another_foretells(tmp_path):
    files = []
    for name, sizes in (("a", (1000, 2000)), ("b", (1000, 4000))):  # of 2,000 documents b's are predicted
        for size in sizes:
            files.append(tmp_path / f"{name}-{size}.json")
            write_results(files[-1], on(name, *at(size).measurements, **at(size).settings))
    found = json.loads(run_here("pick", *files, "--one-for-all", "--corpus", "2000", "--json").stdout)["bounds"]
    assert found["encode_p50_ms"][0] == 2.0 < found["encode_p50_ms"][1]  # a's figure, and b's upper end
    assert all(None not in ends for ends in found.values())


def test_one_for_all_of_boards_that_have_not_all_runs_exits_with_3(fleet):
    assert run_here("pick", *fleet, "--max-p50-ms", "5").returncode == 3  # the slow one has nothing
