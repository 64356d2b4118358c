"""The table of `make peers`: who agrees with whom, and that a peer which cannot run is a line of it."""

import subprocess
import sys

import numpy as np
import pytest
from conftest import mrl_edge_here
from peer_scripts import PEERS, load
from train.encoders import sentence_transformer, tiny_bert

SCRIPT = PEERS / "compare.py"


@pytest.fixture(scope="module")
def script():
    return load("compare")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("peers")
    tiny = sentence_transformer(folder / "st", tiny_bert(folder / "bert"), pooling="mean")
    mrl_edge_here("export", tiny, "--out", folder / "bundle", "--precision", "fp32,int8", "--dims", "8,32")
    return folder


@pytest.fixture(scope="module")
def environments(tmp_path_factory):
    """An environment with all packages, one that pip could not fill, and none beside them."""
    there = tmp_path_factory.mktemp("environments")
    python = there / "onnxruntime" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    (there / "onnxruntime" / "installed").touch()
    (there / "fastembed").mkdir()
    (there / "fastembed" / "pip.txt").write_text("WARNING: slow\nERROR: No matching distribution found for mmh3\n")
    return there


@pytest.fixture(scope="module")
def rows(script, folder, environments):
    by_name = {peer.name: peer for peer in script.PEERS}
    broken = script.Peer("no graph", "optimum", "fp32", "onnxruntime")  # nothing was exported into the folder
    peers = [
        *(by_name[name] for name in ("mrl-edge int8", "mrl-edge fp32")),
        *(by_name[f"onnxruntime by hand, our {precision}"] for precision in ("int8", "fp32")),
        *(by_name[name] for name in ("fastembed fp32", "sentence-transformers torch fp32")),
        broken,
    ]
    return {row["peer"]: row for row in script.compare(folder, 8, 6, environments, peers)}


def test_the_same_graph_gives_the_same_vectors_whoever_runs_it(rows):
    for precision in ("int8", "fp32"):
        ours, by_hand = rows[f"mrl-edge {precision}"], rows[f"onnxruntime by hand, our {precision}"]
        assert by_hand["cosine_min"] == pytest.approx(ours["cosine_min"], abs=1e-6)
    assert rows["mrl-edge fp32"]["cosine_min"] == pytest.approx(1, abs=1e-6)
    assert 0.9 < rows["mrl-edge int8"]["cosine_min"] < 1


def test_ratios_are_to_ours_and_to_ours_in_the_same_precision(rows):
    assert rows["mrl-edge int8"]["time_ratio"] == rows["mrl-edge int8"]["rss_ratio"] == 1
    assert rows["mrl-edge fp32"]["same_precision_ratio"] == 1
    for precision in ("int8", "fp32"):
        row = rows[f"onnxruntime by hand, our {precision}"]
        low, high = row["same_precision_ratio_ci95"]
        assert low <= row["same_precision_ratio"] <= high
        assert row["peak_rss_mb"] / row["rss_ratio"] == pytest.approx(rows["mrl-edge int8"]["peak_rss_mb"])


def test_a_peer_that_cannot_run_is_a_line_with_its_reason(script, rows, capsys):
    assert rows["fastembed fp32"] == {
        "peer": "fastembed fp32",
        "failed": "not installed: ERROR: No matching distribution found for mmh3",
    }
    assert "run make peers" in rows["sentence-transformers torch fp32"]["failed"]
    assert "no graph ended with exit code 1" in rows["no graph"]["failed"]
    script.print_rows(list(rows.values()))
    printed = capsys.readouterr().out
    for row in rows.values():
        assert row["peer"] in printed
        assert row.get("failed", "") in printed


def test_a_promise_about_a_peer_that_did_not_run_is_not_kept(script, rows):
    found = script.shortfalls(list(rows.values()))
    assert sum("NOT CHECKED" in line and "torch" in line for line in found) == 2
    quick = {"peer": "sentence-transformers torch fp32", "time_ratio": 5.99, "rss_ratio": 4.0}
    slow_hand = {"peer": "onnxruntime by hand, our int8", "time_ratio": 1.0, "time_ratio_ci95": (0.92, 1.1)}
    (line,) = script.shortfalls([quick, slow_hand])
    assert line == "NOT KEPT: time_ratio of sentence-transformers torch fp32 is 5.99, promised is at least 6.00"
    *_, line = script.shortfalls([quick, {**slow_hand, "time_ratio_ci95": (0.8, 1.1)}])
    assert line == "UNDECIDED: time_ratio of onnxruntime by hand, our int8 is 1.00, promised is at least 0.91"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--dim", "63"), "mrl-edge int8 ended with exit code 1"),
        (("--rounds", "0"), "expected at least 6"),
        (("--folder", "nowhere"), "nowhere holds no bundle"),
    ],
)
def test_wrong_options_are_one_line_and_no_traceback(folder, tmp_path, options, said):
    command = [sys.executable, SCRIPT, "--folder", folder, *options]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_the_texts_are_real_and_all_different(script):
    texts = script._texts()
    assert len(texts) == len(set(texts)) == 64
    assert np.std([len(text) for text in texts]) > 10
