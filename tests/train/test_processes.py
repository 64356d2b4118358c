"""Two processes with half a batch each do what one does with the whole (gloo, on this machine)."""

import csv
import subprocess
import sys

import pytest
import torch
from conftest import leftovers, mrl_edge_here, run_here, the_one_error_line
from safetensors.torch import load_file
from train.encoders import read_json, tiny_bert

from mrl_edge.train import loop, nested


def launch(processes, *arguments):
    """Run mrl-edge under torchrun, or alone."""
    several = ("-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}")
    command = [sys.executable, *(several if processes > 1 else ()), "-m", "mrl_edge", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture
def words(tmp_path):
    """Pairs with hard negatives and classes; some texts stand twice, in the halves of different processes."""
    path = tmp_path / "words.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["q", "p", "n", "c"])
        for number in range(96):
            word = f"{'abcdefgh'[number % 8]}{'klmnop'[number % 6]}{'rstu'[number % 4]}x"
            writer.writerow([word, word[::-1], f"{word}z", "low" if word[0] < "e" else "high"])
    return path


@pytest.mark.parametrize(
    "options",
    [
        ("--query", "q", "--positive", "p", "--negative", "n", "--fine-tune", "--depths", "1,2"),
        ("--query", "q", "--positive", "p", "--text", "q", "--label", "c", "--weights", "learned"),
        ("--text", "q", "--epochs", "2"),
        ("--text", "q", "--label", "c", "--fixed-baselines"),
    ],
    ids=[
        "contrastive, fine-tuned, nested depth",
        "pairs and classes, frozen, learned weights",
        "distillation",
        "classes, FF",
    ],
)
def test_two_processes_train_what_one_trains_with_the_doubled_batch(tmp_path, words, options):
    encoder = tiny_bert(tmp_path / "bert", dropout=0.0)
    for processes, batch in ((1, 16), (2, 8)):
        done = launch(
            processes, "train", "--encoder", encoder, "--data", words, "--dev", words, "--dims", "4,32",
            "--out", tmp_path / f"by{processes}", "--cache", tmp_path / "cache", "--batch-size", batch,
            "--mixed-precision", "no", *(() if "--epochs" in options else ("--epochs", "2")), *options,
        )  # fmt: skip
        assert done.stdout.count("model: ") == 1  # one of them speaks
    one, two = (read_json(tmp_path / f"by{processes}" / "mrl.json")["history"] for processes in (1, 2))
    assert [entry["loss"] for entry in two] == pytest.approx([entry["loss"] for entry in one], rel=1e-4)
    for file in ("model.safetensors", "2_Dense/model.safetensors"):
        alone, shared = (load_file(tmp_path / f"by{processes}" / file) for processes in (1, 2))
        for name, value in alone.items():
            torch.testing.assert_close(shared[name], value, atol=2e-4, rtol=1e-3)
    assert leftovers(tmp_path) == []


def test_processes_that_find_different_checkpoints_say_so_and_do_not_wait_for_each_other(tmp_path, words, monkeypatch):
    """As on two machines, each with a disk of its own; the other one is at step 5."""
    monkeypatch.setattr(loop, "gather", lambda steps: torch.cat([steps, steps + 5]))
    error = the_one_error_line(run_here(
        "train", "--encoder", tiny_bert(tmp_path / "bert"), "--data", words, "--text", "q", "--label", "c",
        "--out", tmp_path / "m", "--cache", tmp_path / "cache", "--mixed-precision", "no", "--dev", words,
    ))  # fmt: skip
    assert "differ (steps 0, 5): give --out in a folder that all of them share" in error


@pytest.mark.parametrize(("options", "gathers"), [((), False), (("--depths", "1"), True)], ids=["full", "an exit"])
def test_vectors_travel_between_processes_only_where_they_are_compared(tmp_path, words, monkeypatch, options, gathers):
    """Classes alone compare nothing, until an exit learns to find the same rows alike."""
    sent = []
    monkeypatch.setattr(nested, "gather_vectors", lambda rows: sent.append(rows) or rows)
    mrl_edge_here(
        "train", "--encoder", tiny_bert(tmp_path / "bert"), "--data", words, "--text", "q", "--label", "c",
        "--out", tmp_path / "m", "--cache", tmp_path / "cache", "--mixed-precision", "no", "--dev", words, *options,
    )  # fmt: skip
    assert bool(sent) == gathers


def test_accumulated_batches_are_one_step(tmp_path, words):
    """Classes alone: the loss of a batch is the mean over its rows, so two halves add up to the whole."""
    encoder = tiny_bert(tmp_path / "bert", dropout=0.0)
    for name, options in (("whole", ("--batch-size", 96)), ("halves", ("--batch-size", 48, "--accumulate", 2))):
        launch(
            1, "train", "--encoder", encoder, "--data", words, "--dev", words, "--dims", "4,32", "--epochs", 1,
            "--out", tmp_path / name, "--cache", tmp_path / "cache", "--text", "q", "--label", "c", *options,
            "--mixed-precision", "no", "--lr", "1e-4",
        )  # fmt: skip
    whole, halves = (load_file(tmp_path / name / "2_Dense" / "model.safetensors") for name in ("whole", "halves"))
    torch.testing.assert_close(whole["linear.weight"], halves["linear.weight"], atol=1e-5, rtol=0)
