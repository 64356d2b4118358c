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

_OPTIONS = {
    "contrastive, fine-tuned, nested depth": (
        "--query", "q", "--positive", "p", "--negative", "n", "--fine-tune", "--depths", "1,2",
    ),
    "pairs and classes, frozen, learned weights": (
        "--query", "q", "--positive", "p", "--text", "q", "--label", "c", "--weights", "learned",
    ),
    "distillation": ("--text", "q"),
    "classes, FF": ("--text", "q", "--label", "c", "--fixed-baselines"),
}  # fmt: skip


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """Pairs with hard negatives and classes; some texts stand twice, in the halves of different processes."""
    path = tmp_path_factory.mktemp("words") / "words.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["q", "p", "n", "c"])
        for number in range(96):
            word = f"{'abcdefgh'[number % 8]}{'klmnop'[number % 6]}{'rstu'[number % 4]}x"
            writer.writerow([word, word[::-1], f"{word}z", "low" if word[0] < "e" else "high"])
    return path


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return tiny_bert(tmp_path_factory.mktemp("encoder") / "bert", dropout=0.0)


def command(encoder, words, out, batch, options):
    """Return the arguments of two epochs of training."""
    given = (
        "train", "--encoder", encoder, "--data", words, "--dev", words, "--dims", "4,32", "--out", out,
        "--cache", out.parent / "cache", "--batch-size", batch, "--mixed-precision", "no", "--epochs", "2",
    )  # fmt: skip
    return [*map(str, given), *options]


@pytest.mark.parametrize("options", _OPTIONS.values(), ids=_OPTIONS)
def test_two_processes_train_what_one_trains_with_the_doubled_batch(encoder, words, tmp_path, options):
    mrl_edge_here(*command(encoder, words, tmp_path / "one", 16, options))
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "mrl_edge")
    by_two = command(encoder, words, tmp_path / "two", 8, options)
    done = subprocess.run([*torchrun, *by_two], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("model: ") == 1  # one of them speaks
    one, two = (read_json(tmp_path / name / "mrl.json")["history"] for name in ("one", "two"))
    assert [entry["loss"] for entry in two] == pytest.approx([entry["loss"] for entry in one], rel=1e-4)
    for file in ("model.safetensors", "2_Dense/model.safetensors"):
        alone, shared = (load_file(tmp_path / name / file) for name in ("one", "two"))
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


def test_accumulated_batches_are_one_step(encoder, words, tmp_path):
    """Classes alone: the loss of a batch is the mean over its rows, so two halves add up to the whole."""
    for name, batch, options in (("whole", 96, ()), ("halves", 48, ("--accumulate", "2"))):
        columns = ("--text", "q", "--label", "c", "--lr", "1e-4", "--epochs", "1", *options)
        mrl_edge_here(*command(encoder, words, tmp_path / name, batch, columns))
    whole, halves = (load_file(tmp_path / name / "2_Dense" / "model.safetensors") for name in ("whole", "halves"))
    torch.testing.assert_close(whole["linear.weight"], halves["linear.weight"], atol=1e-5, rtol=0)
