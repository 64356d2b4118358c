"""`mrl-edge pick` for a board that is not at hand, and how well machines foretell each other, as a user asks."""

import json

import msgspec
import pytest
from conftest import run_here, the_one_error_line
from made_machines import ALL, FLOOR, machine, profile, row
from mrl_edge.bench.results import Bandwidth, Ceilings, write_results


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
    done = run_here("pick", *files, "--board", "pi-5-8gb", "--keep-quality", "ndcg_at_10=0.9", "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["full"]["depth"], answer["full"]["dim"], answer["configuration"]["depth"]) == (6, 384, 6)
    names = {one["name"] for one in answer["pareto"]}
    assert any("stopped after layer 3" in name for name in names)
    assert len(names) == len(answer["pareto"])
    too_much = run_here("pick", *files, "--board", "pi-5-8gb", "--keep-quality", "ndcg_at_10=0.9", "--max-p50-ms", "1")
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
        (("--board", "pi-5-8gb", "--max-energy-mj", "5"), "nothing foretells the energy"),
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
