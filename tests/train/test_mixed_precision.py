"""bf16 is the trunk's alone, and fp16's losses are scaled; on the CPU, where Accelerate has the one and not the other.

A process trains in one precision, which Accelerate keeps for all: it is forgotten before and after each run here.
"""

import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file
from train.encoders import tiny_bert
from train.test_images import settings_for

from mrl_edge.datasets import Columns, read_table
from mrl_edge.progress import silent
from mrl_edge.train import loop
from mrl_edge.train.run import Run, Setup
from mrl_edge.train.source import read_encoder
from mrl_edge.train.training import train

EPOCHS, STEPS = 3, 3 * 6  # of 120 rows in batches of 20


@pytest.fixture(autouse=True)
def own_precision():
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture
def setup(tmp_path, letters):
    """A function of the settings of a short fine-tuning on pairs and classes."""
    spec = read_encoder(str(tiny_bert(tmp_path / "bert", dropout=0.0)))
    table = read_table(str(letters), Columns(query="query", positive="positive", text="query", label="label"))

    def make(**changes):
        settings = settings_for(spec, depths=(1, 2), fine_tune=True, epochs=EPOCHS, batch_size=20, **changes)
        return Setup(spec, table, table, settings, tmp_path / "cache")

    return make


def test_bfloat16_runs_in_the_trunk_alone_and_the_losses_are_those_of_fp32(setup, tmp_path):
    losses, outputs = {}, {}
    for precision in ("no", "bf16"):
        AcceleratorState._reset_state(reset_partial_state=True)
        run = Run(setup(mixed_precision=precision), silent)
        head = run.model.heads[0]
        parts = {
            "trunk": run.model.trunk.transformer.encoder.layer[1].output.dense,
            "projection": head.projection,
            "class head": head.classifiers.heads[0],
        }
        seen = outputs[precision] = {name: set() for name in parts}
        for name, part in parts.items():
            part.register_forward_hook(lambda _, given, gave, name=name, seen=seen: seen[name].add(gave.dtype))
        losses[precision] = [entry["loss"] for entry in run.fit(run.checkpoint(tmp_path / precision), list)]
        assert {value.dtype for value in run.model.parameters()} == {torch.float32}
    full, half = {torch.float32}, {torch.bfloat16}
    assert outputs["no"] == {"trunk": full, "projection": full, "class head": full}
    assert outputs["bf16"] == {"trunk": half, "projection": full, "class head": full}
    assert losses["bf16"] == pytest.approx(losses["no"], rel=0.02)
    assert losses["bf16"] != losses["no"]
    assert losses["bf16"][-1] < 0.9 * losses["bf16"][0]


@pytest.fixture
def scaled(monkeypatch):
    """A function that lets the next runs scale their losses, as Accelerate does for fp16 where there is a GPU."""
    plain = loop.accelerator_for

    def begin(scale, growth_interval=2000):
        scaler = torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=growth_interval)

        def accelerator(settings):
            made = plain(settings)
            made.scaler = scaler
            return made

        monkeypatch.setattr("mrl_edge.train.run.accelerator_for", accelerator)
        return scaler

    return begin


def weights(folder):
    files = sorted(folder.rglob("*.safetensors"))
    return {f"{file.name} {name}": value for file in files for name, value in load_file(file).items()}


def test_scaled_losses_train_the_same_weights(setup, tmp_path, scaled):
    """A scale of a power of two changes no digit: what is scaled and not divided again, or divided twice, would."""
    train(setup(), tmp_path / "plain", silent, list)
    scaler = scaled(2.0**10, growth_interval=4)
    train(setup(), tmp_path / "scaled", silent, list)
    assert scaler.get_scale() == 2.0 ** (10 + STEPS // 4)  # doubled after every fourth step
    plain = weights(tmp_path / "plain")
    for name, value in weights(tmp_path / "scaled").items():
        torch.testing.assert_close(value, plain[name], atol=1e-6, rtol=0, msg=name)


def test_a_step_that_overflows_changes_nothing_but_the_scale_and_a_killed_run_continues_with_it(
    setup, tmp_path, scaled, monkeypatch
):
    monkeypatch.setattr(loop, "_CHECKPOINT_SECONDS", 0.0)
    scales, unchanged = [], []

    def step(self, rows, number, total, step=loop.Loop.step):
        if dying and number == 10:
            raise KeyboardInterrupt
        before = {name: value.clone() for name, value in self._state.items()}
        loss = step(self, rows, number, total)
        scales.append(self._accelerator.scaler.get_scale())
        unchanged.append(all(torch.equal(before[name], value) for name, value in self._state.items()))
        return loss

    monkeypatch.setattr(loop.Loop, "step", step)
    dying = False
    scaled(2.0**124)
    train(setup(), tmp_path / "whole", silent, list)
    whole = list(scales)
    assert unchanged[0]
    assert unchanged.count(False) > STEPS / 2
    before = [2.0**124, *whole]
    assert whole == [scale / 2 if same else scale for scale, same in zip(before, unchanged, strict=False)]
    dying = True
    scales.clear()
    scaled(2.0**124)
    with pytest.raises(KeyboardInterrupt):
        train(setup(), tmp_path / "resumed", silent, list)
    assert len(scales) == 10
    dying = False
    scaled(2.0**124)  # a new process begins with the first scale, and reads the one that was saved
    train(setup(), tmp_path / "resumed", silent, list)
    assert scales == whole
    kept = weights(tmp_path / "whole")
    for name, value in weights(tmp_path / "resumed").items():
        torch.testing.assert_close(value, kept[name], atol=1e-6, rtol=0, msg=name)
