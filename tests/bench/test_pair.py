"""Two configurations in turn, as the command line measures them."""

import json

import psutil
import pytest
from conftest import mrl_edge_here, run_here, the_one_error_line
from mrl_edge.bench.jobs import EncodeConfiguration
from mrl_edge.bench.pair import PairResult, Side
from mrl_edge.bench.processes import Living

from mrl_edge.cli.pair import verdict
from mrl_edge.errors import ResultsError


@pytest.fixture(scope="module")
def compare(bundle):
    """The arguments before the two names."""
    data = ("--data", "builtin:wordnet_nouns/dev", "--query", "gloss")
    return ("bench", bundle, *data, "--max-seconds", "4", "--compare")


def test_int8_beside_fp32_is_one_ratio_with_its_interval(compare):
    found = json.loads(mrl_edge_here(*compare, "int8:d64", "fp32:d384", "--json"))
    low, high = found["ratio_ci95"]
    assert low <= found["ratio"] <= high < 1
    assert found["ratio"] == pytest.approx(
        found["a"]["p50_ms"] / found["b"]["p50_ms"], rel=0.3
    )  # medians of times taken in turn
    assert found["a"]["configuration"] == {"precision": "int8", "depth": 6, "dim": 64, "threads": 1, "provider": "cpu"}
    assert (found["a"]["name"], found["b"]["name"]) == ("int8:d64-L6", "fp32:d384-L6")
    assert found["a"]["rss_bytes"] < 0.8 * found["b"]["rss_bytes"]
    assert found["rounds"] >= 2


def test_two_dimensions_of_one_precision_take_the_same_time(compare):
    """A slice of the output does not make the trunk cheaper: the interval says so, on a noisy machine too."""
    found = json.loads(mrl_edge_here(*compare, "int8:d8", "int8:d384", "--json"))
    low, high = found["ratio_ci95"]
    assert low <= 1.05
    assert high >= 0.95
    assert "× the time of" in mrl_edge_here(*compare, "int8:d8", "int8:d384:t2", "--max-seconds", "0.5")


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("int8:d64", "int8:d64-L6"), "are one configuration"),
        (("int8:d65", "fp32"), "the bundle has dimension 8, 16"),
        (("int8-L4", "fp32"), "the bundle has depth 6"),
        (("int8:64", "fp32"), "expected a configuration as in"),
        (("int3", "fp32"), "it has fp32"),
        (("int8:t0", "fp32"), "expected a configuration as in"),
        (("int8",), "requires 2 arguments"),
        (("int8", "fp32", "--dims", "64"), "--dims does nothing with --compare"),
        (("int8", "fp32", "--overwrite"), "--overwrite does nothing with --compare"),
        (("int8", "fp32", "--threads", "1"), "--threads does nothing with --compare"),  # its default, but said
        (("int8", "fp32", "--runtime", "no-arena"), "--runtime does nothing with --compare"),
        (("int8", "fp32", "--pin"), "--pin does nothing with --compare"),
        (("int8", "fp32", "--batches", "8"), "--batches does nothing with --compare"),
        (("int8", "fp32", "--concurrency", "2"), "--concurrency does nothing with --compare"),
        (("int8", "fp32", "--p99-limit-ms", "5"), "--p99-limit-ms does nothing with --compare"),
        (("int8", "fp32", "--tokens", "8"), "--tokens does nothing with --compare"),
        (("int8", "fp32", "--index", "scan"), "--index does nothing with --compare"),
        (("int8", "fp32", "--shortlist", "20"), "--shortlist does nothing with --compare"),
        (("int8", "fp32", "--recall", "0.9"), "--recall does nothing with --compare"),
        (("int8", "fp32", "--max-queries", "20"), "--max-queries does nothing with --compare"),
        (("int8", "fp32", "--out", "results.json"), "--out does nothing with --compare"),
        (("int8", "fp32", "--baseline", "b.json"), "--baseline does nothing with --compare"),
        (("int8", "fp32", "--positive", "lemmas"), "--positive does nothing with --compare"),
    ],
)
def test_comparisons_that_make_no_sense(compare, names, said):
    assert said in the_one_error_line(run_here(*compare, *names))


@pytest.mark.parametrize(
    ("interval", "doubts", "said"),
    [
        ((0.5, 0.6), (), "faster"),
        ((1.1, 1.2), (), "slower"),
        ((0.22, 0.29), ("interval",), "faster"),  # not known to 2%, and yet no matter of chance
        ((1.1, 1.9), ("few samples", "interval"), "slower"),
        ((0.99, 1.01), (), "neither is shown to be faster"),
        ((0.8, 1.1), ("interval",), "undecided"),
        ((0.5, 0.6), ("drift",), "undecided"),
        ((0.5, 0.6), ("interval", "drift"), "undecided"),
        (None, ("few samples",), "undecided"),
    ],
)
def test_a_verdict_needs_an_interval_beside_1_and_no_drift(interval, doubts, said):
    side = Side(EncodeConfiguration("int8", 6, 64, 1), "int8:d64-L6", 1.0, (1, 1), 1)
    assert verdict(PairResult(side, side, 0.55, interval, 5, not doubts, doubts)) == said


def test_a_living_process_that_ends_is_one_error_with_what_it_said():
    with Living("it", ("-c", "import sys; input(); sys.exit('no such model')")) as process:
        with pytest.raises(ResultsError, match="it ended with exit code 1: no such model"):
            process.ask("pass")
        with pytest.raises(ResultsError, match="it ended"):
            process.ask("pass")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import sys; input(); sys.stdout.write('{\"ms\": [1')", "it ended with exit code 0"),
        ("import sys; input(); sys.stderr.buffer.write(b'no \\xff model'); sys.exit(3)", "exit code 3: no . model"),
    ],
)
def test_a_living_process_that_ends_amid_a_line_or_says_odd_bytes_is_one_error(code, said):
    with Living("it", ("-c", code)) as process, pytest.raises(ResultsError, match=said):
        process.ask("pass")


def test_a_living_process_is_gone_afterwards():
    script = "import json, os\nwhile True:\n input(); print(json.dumps({'pid': os.getpid()}), flush=True)"
    with Living("it", ("-c", script)) as process:
        pid = process.ask("pass")["pid"]
        assert process.ask("pass")["pid"] == pid
    assert not psutil.pid_exists(pid)
