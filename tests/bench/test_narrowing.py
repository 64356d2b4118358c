"""`mrl-edge tune` beside the whole sweep: the same choice from fewer measurements."""

import json
import shlex

import msgspec
import pytest
from conftest import run_here, the_one_error_line
from jsonschema import Draft202012Validator
from mrl_edge.bench.budget import Budget
from mrl_edge.bench.candidates import candidates
from mrl_edge.bench.pick import pick
from mrl_edge.bench.reproduce import command_of
from mrl_edge.bench.results import HeldLimits, read_results
from mrl_edge.devices.energy import find_rapl
from mrl_edge.devices.power import find_power

from mrl_edge.cli.schema import File, json_schema

QUERIES = 60


@pytest.fixture(scope="module")
def arguments(tiny_bundle, dev, tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "task.jsonl"
    rows = zip(dev["query"][:QUERIES], dev["positive"][:QUERIES], strict=True)
    path.write_text("".join(json.dumps({"q": q, "p": p}) + "\n" for q, p in rows))
    return (
        tiny_bundle, "--data", path, "--query", "q", "--positive", "p", "--dims", "8,16,32", "--index", "scan",
        "--max-seconds", "0.3", "--repeats", "1",
    )  # fmt: skip


@pytest.fixture(scope="module")
def swept(arguments, tmp_path_factory):
    """Every row."""
    out = tmp_path_factory.mktemp("swept") / "all.json"
    done = run_here("bench", *arguments, "--tokens", "0", "--out", out)
    assert done.returncode == 0, done.stderr
    return candidates(read_results(out))


def tune(arguments, out, *options):
    done = run_here("tune", *arguments, "--out", out, *options, "--json")
    return done, json.loads(done.stdout) if done.stdout else {}


def test_the_choice_is_the_sweeps_and_less_is_measured(arguments, swept, tmp_path):
    int8 = max(row.disk_mb for row in swept if row.precision == "int8")
    done, answer = tune(arguments, tmp_path / "t.json", "--max-disk-mb", str(int8), "--max-p50-ms", "1000")
    assert done.returncode == 0, done.stderr
    wanted = pick(swept, Budget(max={"disk_mb": int8, "p50_ms": 1000})).chosen
    assert (answer["precision"], answer["dim"], answer["index"]) == (wanted.precision, wanted.dim, wanted.index)
    assert answer["ndcg_at_10"] == pytest.approx(wanted.quality["ndcg_at_10"])
    rows = read_results(tmp_path / "t.json").measurements
    assert {row.precision for row in rows} == {"int8"}
    assert len(rows) < len(swept) / 2


def test_a_share_is_of_the_full_model_though_it_is_not_measured(arguments, swept, tmp_path):
    int8 = max(row.disk_mb for row in swept if row.precision == "int8")
    limits = ("--max-disk-mb", str(int8), "--keep-quality", "ndcg_at_10=0.5")
    done, answer = tune(arguments, tmp_path / "t.json", *limits)
    assert done.returncode == 0, done.stderr
    (full,) = [row for row in swept if (row.precision, row.dim) == ("fp32", 32)]
    assert answer["full"]["quality"]["ndcg_at_10"] == pytest.approx(full.quality["ndcg_at_10"])
    assert answer["ndcg_at_10"] >= 0.5 * full.quality["ndcg_at_10"]


def test_what_is_over_a_limit_by_its_model_alone_is_not_even_run(arguments, tmp_path):
    done, answer = tune(arguments, tmp_path / "t.json", "--max-disk-mb", "0.001")
    assert done.returncode == 3
    assert answer["fits"] is False
    assert "glimpse" not in done.stderr
    assert "preparing" not in done.stderr
    written = read_results(tmp_path / "t.json")
    assert written.measurements == ()
    least = min(one.disk_mb for one in written.narrowing.unmeasured)
    (relaxation,) = answer["relaxations"]
    assert relaxation["to"] == pytest.approx(least, rel=1e-3)
    assert "at least" in relaxation["text"]
    assert answer["nearest"]["disk_mb"] == pytest.approx(least)


@pytest.fixture(scope="module")
def nothing_measured(arguments, tmp_path_factory):
    """A tuned file whose budget has room for nothing, and what was said of it."""
    out = tmp_path_factory.mktemp("nothing") / "t.json"
    return out, tune(arguments, out, "--max-disk-mb", "0.001")[1]


def test_pick_says_what_ruled_everything_out_where_nothing_was_measured(nothing_measured):
    out, answer = nothing_measured
    rows = read_results(out).narrowing.unmeasured
    least = min(row.disk_mb for row in rows)
    for limits in ((), ("--max-disk-mb", "0.001")):  # tune's own, where no other is asked for
        done = run_here("pick", out, *limits)
        assert done.returncode == 3
        first, second, *rest = done.stdout.splitlines()
        assert first == (f"mrl-edge tune measured none of {len(rows)} configurations: by bounds none fits its budget.")
        assert second == f"  {len(rows)} the model and its vectors alone: beyond the budget's disk_mb"
        assert f"the least disk {least:.2f} MB is {least - 0.001:.2f} MB over --max-disk-mb 0.001" in "".join(rest)
        again = json.loads(run_here("pick", out, *limits, "--json").stdout)
        assert again["relaxations"] == answer["relaxations"]
        (relaxation,) = again["relaxations"]
        assert least <= relaxation["to"] == pytest.approx(least, rel=1e-3)
    wide = run_here("pick", out, "--max-disk-mb", "1000")
    assert wide.returncode == 3
    assert "may be better within this budget" in wide.stdout
    assert "run mrl-edge tune with it" in wide.stdout


def test_a_file_in_which_nothing_was_measured_has_no_page(nothing_measured, tmp_path):
    out, _ = nothing_measured
    error = the_one_error_line(run_here("report", out, "--out", tmp_path / "page.html"))
    assert "t.json" in error
    assert "mrl-edge tune ruled all out beforehand" in error


@pytest.fixture(scope="module")
def int8_alone(arguments, swept, tmp_path_factory):
    """A tuned file whose budget has room for int8 alone, and what was said of it."""
    out = tmp_path_factory.mktemp("tuned") / "t.json"
    limit = str(max(row.disk_mb for row in swept if row.precision == "int8"))
    done, answer = tune(arguments, out, "--max-disk-mb", limit)
    assert done.returncode == 0, done.stderr
    return out, limit, answer


def test_what_was_not_measured_is_not_forgotten(int8_alone, swept):
    """fp32 scores more or less than int8 of random weights; what may be better is named, by bounds."""
    out, _, answer = int8_alone
    rows = read_results(out).narrowing.unmeasured
    assert {row.precision for row in rows} >= {"fp32"}
    whole = {(row.precision, row.dim): row for row in swept}
    for row in rows:
        assert row.disk_mb <= whole[row.precision, row.dim].disk_mb + 1e-9
    said = " ".join(answer["why"])
    assert "not measured" in said
    wide = run_here("pick", out, "--max-disk-mb", "1000")
    assert wide.returncode == 0
    assert "No configuration has a better" not in wide.stdout
    assert "may be better within this budget" in wide.stdout


def test_what_is_answered_is_a_choice_by_its_schema(int8_alone, nothing_measured):
    schema = Draft202012Validator(json_schema(File.choice))
    for answer in (int8_alone[2], nothing_measured[1]):
        assert list(schema.iter_errors(answer)) == []
        assert answer["left_out"]


def test_a_share_of_a_model_that_a_tuning_did_not_look_at_is_refused(int8_alone):
    out, _, _ = int8_alone
    error = the_one_error_line(run_here("pick", out, "--keep-quality", "ndcg_at_10=0.5"))
    assert "hold no fp32" in error


def test_the_same_command_again_measures_nothing(int8_alone, arguments):
    out, limit, answer = int8_alone
    before = out.read_bytes()
    done, again = tune(arguments, out, "--max-disk-mb", limit)
    assert "glimpse" not in done.stderr
    assert "measuring" not in done.stderr
    assert again == answer
    assert out.read_bytes() == before


def test_the_command_that_the_report_gives_asks_for_the_same(int8_alone, arguments, tmp_path):
    """So that it measures nothing again: of limits alone, and of all that can be asked for."""
    out, _, _ = int8_alone
    every, asked = tmp_path / "every.json", (
        "--max-disk-mb", "0.001", "--max-p99-ms", "0.25", "--max-p50-ms", 0.1 + 0.2,
        "--min-quality", "ndcg_at_10=0.125", "--confidence", "0.9", "--objective", "mrr_at_10",
        "--corpus", QUERIES - 1, "--corpus-now", "60",
        "--precision", "int8,fp32", "--threads", "2,1", "--index", "scan,annoy", "--rerank-dim", "32",
        "--shortlist", "20", "--runtime", "default,no-arena", "--vectors", "int8", "--recall", "0.9",
    )  # fmt: skip
    assert tune(arguments, every, *asked)[0].returncode == 3
    for file in (out, every):
        before = file.read_bytes()
        words = shlex.split(command_of(read_results(file), str(file)))
        words[2], words[words.index("--data") + 1] = arguments[0], arguments[2]  # their folders are not recorded
        again = run_here(*words[1:])
        assert again.returncode == (0 if file == out else 3), again.stderr
        assert "glimpse" not in again.stderr
        assert file.read_bytes() == before
    assert tune(arguments, every, *asked, "--threads", "1,2")[0].returncode == 3  # indexes are tuned with the first
    assert read_results(every).narrowing.threads == (1, 2)


@pytest.mark.parametrize(
    ("content", "objective"),
    [('objective = "mrr_at_10"', "mrr_at_10"), ("[utility]\nndcg_at_10 = 1.0\ndisk_mb = -0.01", "utility")],
)
def test_limits_that_pick_takes_over_come_with_what_was_to_be_maximised(arguments, tmp_path, content, objective):
    budget, out = tmp_path / "budget.toml", tmp_path / "t.json"
    budget.write_text(content)
    assert tune(arguments, out, "--budget", budget, "--max-disk-mb", "0.001")[1]["objective"] == objective
    assert json.loads(run_here("pick", out, "--json").stdout)["objective"] == objective
    other = run_here("pick", out, "--objective", "recall_at_10", "--json")
    assert json.loads(other.stdout)["objective"] == "recall_at_10"


def test_a_file_holds_all_that_a_budget_says():
    """Else a tuning would fail when all is measured."""
    ours, theirs = ({one.name: one.type for one in msgspec.structs.fields(kind)} for kind in (HeldLimits, Budget))
    assert ours == theirs


def test_a_sweep_completes_what_tuning_began(int8_alone, arguments, swept, tmp_path):
    out, _, _ = int8_alone
    copy = tmp_path / "all.json"
    copy.write_bytes(out.read_bytes())
    done = run_here("bench", *arguments, "--tokens", "0", "--out", copy)
    assert done.returncode == 0, done.stderr
    completed = read_results(copy)
    assert completed.narrowing is None
    assert {row.key for row in candidates(completed)} == {row.key for row in swept}


def test_tuning_needs_a_limit(arguments, tmp_path):
    assert "tune needs a limit" in the_one_error_line(run_here("tune", *arguments, "--out", tmp_path / "t.json"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--objective", "accuracy"), "objective accuracy: this task does not score it"),
        (("--min-quality", "accuracy=0.5"), "min accuracy: this task does not score it"),
        (("--keep-quality", "accuracy=0.5"), "keep accuracy: this task does not score it"),
    ],
)
def test_what_the_task_cannot_answer_is_refused_before_anything_runs(arguments, tmp_path, options, said):
    out = tmp_path / "t.json"
    done = run_here("tune", *arguments, "--out", out, "--max-disk-mb", "100", *options)
    assert said in the_one_error_line(done)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(
    not (isinstance(find_rapl(), str) and isinstance(find_power(), str)), reason="this machine says what it takes"
)
def test_energy_is_refused_where_no_sensor_is(arguments, tmp_path):
    done = run_here("tune", *arguments, "--out", tmp_path / "t.json", "--max-energy-mj", "5")
    assert "cannot say what a query takes of energy" in the_one_error_line(done)
    assert list(tmp_path.iterdir()) == []


def test_images_are_no_boards(tiny_bundle, tmp_path):
    done = run_here(
        "tune", tiny_bundle, "--data", "x.csv", "--image", "path", "--label", "label", "--max-p50-ms", "5",
        "--device", "pi@nowhere", "--out", tmp_path / "t.json",
    )  # fmt: skip
    assert "images are files of this machine" in the_one_error_line(done)
