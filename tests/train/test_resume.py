import pytest
import torch
from conftest import leftovers, run_here
from safetensors.torch import load_file
from train.commands import kill_when_it_says, tiny_command, train_tiny
from train.encoders import read_json, tiny_bert

from mrl_edge.cli import run
from mrl_edge.train import loop


def test_same_seed_gives_the_same_weights_and_another_seed_others(tmp_path, letters):
    encoder = tiny_bert(tmp_path / "bert")
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train_tiny(encoder, letters, tmp_path / name, "--text", "query", "--label", "label", "--seed", seed)
    a, b, c = (load_file(tmp_path / name / "2_Dense" / "model.safetensors")["linear.weight"] for name in "abc")
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


@pytest.mark.parametrize(
    "options", [(), ("--fine-tune", "--accumulate", "2")], ids=["frozen", "fine-tuned, two batches a step"]
)
def test_a_killed_training_resumes_to_the_same_weights(tmp_path, letters, options):
    encoder = tiny_bert(tmp_path / "bert")
    arguments = (encoder, letters, tmp_path / "resumed", "--query", "query", "--positive", "positive",
                 "--epochs", "20", "--batch-size", "20", *options)  # fmt: skip
    kill_when_it_says("epoch 3", *arguments)
    assert not (tmp_path / "resumed").exists()
    assert leftovers(tmp_path) == [".resumed.training"]
    again = run_here(*tiny_command(*arguments)[3:])
    assert again.returncode == 0, again.stderr
    assert "epoch 1:" not in again.stderr
    assert leftovers(tmp_path) == []
    train_tiny(arguments[0], arguments[1], tmp_path / "whole", *arguments[3:])
    for file in ("2_Dense/model.safetensors", "model.safetensors"):
        resumed, whole = load_file(tmp_path / "resumed" / file), load_file(tmp_path / "whole" / file)
        for name, value in whole.items():
            torch.testing.assert_close(resumed[name], value, atol=1e-6, rtol=0)
    assert len(read_json(tmp_path / "resumed" / "mrl.json")["history"]) == 20


def dying(at):
    """A step of the loop that is interrupted when it is called for the `at`-th time, and the count of its calls."""
    done = []

    def step(self, *given, step=loop.Loop.step):
        done.append(None)
        if len(done) == at:
            raise KeyboardInterrupt
        return step(self, *given)

    return step, done


@pytest.mark.parametrize(
    ("killed_at", "accumulate", "saved"),
    [(14, 1, 13), (14, 2, 12), (21, 1, 20), (23, 1, 22)],
    ids=["within an epoch", "between two batches of a step", "before the heads learn on alone", "while they do"],
)
def test_a_training_killed_at_a_step_resumes_to_the_same_weights(
    tmp_path, letters, monkeypatch, killed_at, accumulate, saved
):
    """In this process, so that a checkpoint can be made to fall due at every step."""
    encoder = tiny_bert(tmp_path / "bert")
    monkeypatch.setattr(loop, "_CHECKPOINT_SECONDS", 0.0)
    arguments = ("--query", "query", "--positive", "positive", "--epochs", "2", "--batch-size", "10", "--fine-tune",
                 "--depths", "1,2", "--sample-exits", "--weights", "learned", "--accumulate", accumulate)  # fmt: skip
    step, done = dying(killed_at)
    monkeypatch.setattr(loop.Loop, "step", step)
    command = tiny_command(encoder, letters, tmp_path / "resumed", *arguments)[3:]
    with pytest.raises(KeyboardInterrupt):
        run(command)
    steps = len(done)
    assert run(command) == 0
    # 107 training rows: two epochs of 10 batches, then the heads' 4 of one. What was saved last is not done again.
    assert len(done) - steps == 2 * 10 + 4 - saved
    monkeypatch.undo()
    train_tiny(encoder, letters, tmp_path / "whole", *arguments)
    for file in ("2_Dense/model.safetensors", "model.safetensors", "exits.safetensors"):
        resumed, whole = load_file(tmp_path / "resumed" / file), load_file(tmp_path / "whole" / file)
        for name, value in whole.items():
            torch.testing.assert_close(resumed[name], value, atol=1e-6, rtol=0)
    histories = [read_json(tmp_path / name / "mrl.json")["history"] for name in ("resumed", "whole")]
    assert [e["loss"] for e in histories[0]] == pytest.approx([e["loss"] for e in histories[1]], abs=1e-5)


@pytest.mark.parametrize("options", [(), ("--fine-tune",)], ids=["frozen", "fine-tuned"])
def test_models_of_one_dimension_are_kept_and_a_killed_run_continues_to_the_same(tmp_path, letters, options):
    encoder = tiny_bert(tmp_path / "bert")
    columns = ("--query", "query", "--positive", "positive", "--text", "query", "--label", "label", *options)
    arguments = (encoder, letters, tmp_path / "m", *columns, "--epochs", "12", "--fixed-out", tmp_path / "ff")
    kill_when_it_says("one dimension alone 2/2", *arguments)
    assert not (tmp_path / "ff").exists()
    assert not (tmp_path / "m").exists()
    again = run_here(*tiny_command(*arguments)[3:])
    assert again.returncode == 0, again.stderr
    assert "epoch 1:" not in again.stderr
    assert leftovers(tmp_path) == []
    assert sorted(path.name for path in (tmp_path / "ff").iterdir()) == ["d32", "d4"]
    train_tiny(encoder, letters, tmp_path / "alone", *columns, "--epochs", "12", "--dims", "4")
    for file in ("2_Dense/model.safetensors", "heads.safetensors", "model.safetensors"):
        kept, alone = load_file(tmp_path / "ff" / "d4" / file), load_file(tmp_path / "alone" / file)
        assert kept.keys() == alone.keys()
        for name, value in alone.items():
            torch.testing.assert_close(kept[name], value, atol=1e-6, rtol=0)
    assert read_json(tmp_path / "ff" / "d4" / "mrl.json")["dims"] == [4]
    assert set(read_json(tmp_path / "m" / "mrl.json")["quality"]["ff"]) == {"4", "32"}


def test_a_checkpoint_is_not_continued_with_another_truncation(tmp_path, letters, monkeypatch):
    encoder = tiny_bert(tmp_path / "bert")
    monkeypatch.setattr(loop, "_CHECKPOINT_SECONDS", 0.0)
    options = ("--query", "query", "--positive", "positive", "--epochs", "4", "--batch-size", "20")
    command = tiny_command(encoder, letters, tmp_path / "m", *options)[3:]
    step, done = dying(20)  # in the fourth epoch of 5 or 6 steps
    monkeypatch.setattr(loop.Loop, "step", step)
    with pytest.raises(KeyboardInterrupt):
        run(command)
    other = run_here(*command, "--max-tokens", "4")
    assert other.returncode == 0, other.stderr
    assert "epoch 1:" in other.stderr
    assert len(done) >= 20 + 4 * 5
