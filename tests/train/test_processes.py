"""Two processes with half a batch each do what one does with the whole (gloo, on this machine)."""

import csv
import os
import socket
import subprocess
import sys

import pytest
import torch
from conftest import leftovers, mrl_edge_here, run_here, the_one_error_line
from safetensors.torch import load_file
from train.encoders import read_json, tiny_bert

from mrl_edge.train import loop, nested

_TORCHRUN = ("-m", "torch.distributed.run")


def by_torchrun(arguments):
    """Return the command of two processes on one machine."""
    return [[sys.executable, *_TORCHRUN, "--standalone", "--nproc_per_node=2", "-m", "mrl_edge", *arguments]]


def by_accelerate(arguments):
    """Return the same by Accelerate's launcher, which takes it from here that there is no GPU."""
    launch = ("-m", "accelerate.commands.accelerate_cli", "launch", "--multi_gpu", "--num_processes", "2")
    rest = ("--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0")
    return [[sys.executable, *launch, *rest, "-m", "mrl_edge", *arguments]]


def by_two_machines(arguments):
    """Return the commands of one process on each of two machines, both of which are this one."""
    place = ("--nnodes=2", "--nproc_per_node=1", "--master_addr=127.0.0.1", f"--master_port={free_port()}")
    return [
        [sys.executable, *_TORCHRUN, *place, f"--node_rank={rank}", "-m", "mrl_edge", *arguments] for rank in range(2)
    ]


_CASES = {
    "contrastive, fine-tuned, nested depth": (
        by_torchrun, ("--query", "q", "--positive", "p", "--negative", "n", "--fine-tune", "--depths", "1,2"),
    ),
    "pairs and classes, frozen, learned weights": (
        by_accelerate, ("--query", "q", "--positive", "p", "--text", "q", "--label", "c", "--weights", "learned"),
    ),
    "classes, FF": (by_torchrun, ("--text", "q", "--label", "c", "--fixed-out", "{out}-ff")),
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
    return [*map(str, given), *(option.format(out=out) for option in options)]


def finished(commands):
    """Run commands at once, expect success, and return what they said on standard output and on standard error."""
    started = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for command in commands
    ]
    try:
        said = [process.communicate(timeout=300) for process in started]
    finally:
        for process in started:
            process.kill()
    assert not any(process.returncode for process in started), said
    return ["".join(texts) for texts in zip(*said, strict=True)]


def kill_both_when_the_first_says(words, arguments):
    """Start one process on each of two machines, as a launcher would, and kill both (SIGKILL)."""
    place = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "1", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1"}
    given = {**os.environ, **place, "MASTER_PORT": free_port()}
    first, second = (
        subprocess.Popen(
            [sys.executable, "-m", "mrl_edge", *arguments], env={**given, "RANK": str(rank)},
            stdout=subprocess.DEVNULL, stderr=errors, text=True,
        )
        for rank, errors in enumerate((subprocess.PIPE, subprocess.DEVNULL))
    )  # fmt: skip
    said = any(words in line for line in first.stderr)
    for process in (first, second):
        process.kill()
        process.wait()
    assert said


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return str(server.getsockname()[1])


def assert_alike(one, two):
    """Compare every weight of two model folders, or folders of them, and the losses of the epochs."""
    files = sorted(path.relative_to(one) for path in one.rglob("*.safetensors"))
    assert files == sorted(path.relative_to(two) for path in two.rglob("*.safetensors"))
    for file in files:
        alone, shared = load_file(one / file), load_file(two / file)
        for name, value in alone.items():
            torch.testing.assert_close(shared[name], value, atol=2e-4, rtol=1e-3, msg=f"{file} {name}")
    for record in one.rglob("mrl.json"):
        alone, shared = (read_json(path)["history"] for path in (record, two / record.relative_to(one)))
        assert [entry["loss"] for entry in shared] == pytest.approx([entry["loss"] for entry in alone], rel=1e-4)


@pytest.mark.parametrize(("launched", "options"), _CASES.values(), ids=_CASES)
def test_two_processes_train_what_one_trains_with_the_doubled_batch(encoder, words, tmp_path, launched, options):
    mrl_edge_here(*command(encoder, words, tmp_path / "one", 16, options))
    said, _ = finished(launched(command(encoder, words, tmp_path / "two", 8, options)))
    assert said.count("model: ") == 1  # one of them speaks
    assert_alike(tmp_path / "one", tmp_path / "two")
    assert leftovers(tmp_path) == []
    if "--fixed-out" in options:
        assert sorted(path.name for path in (tmp_path / "two-ff").iterdir()) == ["d32", "d4"]
        assert_alike(tmp_path / "one-ff", tmp_path / "two-ff")


def test_two_machines_continue_after_a_kill_to_what_one_trains_with_the_doubled_batch(encoder, words, tmp_path):
    """Distillation, with two batches a step."""
    options = ("--text", "q", "--fine-tune", "--accumulate", "2", "--epochs", "8")
    mrl_edge_here(*command(encoder, words, tmp_path / "one", 16, options))
    by_both = command(encoder, words, tmp_path / "two", 8, options)
    kill_both_when_the_first_says("epoch 3", by_both)
    assert leftovers(tmp_path) == [".two.training"]
    said, errors = finished(by_two_machines(by_both))
    assert said.count("model: ") == 1
    assert "epoch 1:" not in errors
    assert "epoch 8:" in errors
    assert_alike(tmp_path / "one", tmp_path / "two")
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
