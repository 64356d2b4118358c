"""What a run is resumed from, and what decides that it may be."""

import pytest
import torch
from train.encoders import sentence_transformer, tiny_bert

from mrl_edge.train.checkpoint import Checkpoint, Progress
from mrl_edge.train.features import encoder_key
from mrl_edge.train.source import read_encoder


@pytest.fixture
def weight():
    return torch.nn.Parameter(torch.tensor([1.0, 2.0]))


def test_the_scale_of_fp16_losses_is_that_of_the_killed_run(tmp_path, weight):
    optimizer, scaler = torch.optim.AdamW([weight]), torch.amp.GradScaler("cpu", init_scale=1024, growth_interval=3)
    for slope in (1.0, 1.0, float("inf"), 1.0):  # the overflow halves the scale, and one step after it counts
        optimizer.zero_grad()
        scaler.scale((weight * slope).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
    stored = Checkpoint(tmp_path / "model", {})
    stored.save(Progress(step=4), {"w": weight}, optimizer, scaler)
    resumed = torch.amp.GradScaler("cpu", init_scale=1024, growth_interval=3)
    assert stored.restore({"w": weight}, optimizer, resumed).step == 4
    assert resumed.state_dict() == scaler.state_dict()
    assert resumed.state_dict() | {"scale": 512.0, "_growth_tracker": 1} == resumed.state_dict()


def test_the_history_of_a_resumed_run_is_the_one_that_was_saved(tmp_path, weight):
    history = [{"epoch": 1, "loss": 0.5, "dev": {8: {"recall_at_10": 0.25}, 32: {"recall_at_10": 0.5}}}]
    optimizer, stored = torch.optim.AdamW([weight]), Checkpoint(tmp_path / "model", {})
    stored.save(Progress(3, [0.5], history), {"w": weight}, optimizer)
    assert stored.restore({"w": weight}, optimizer) == Progress(3, [0.5], history)


def test_what_else_lies_in_an_encoders_folder_is_not_part_of_it(tmp_path):
    folder = sentence_transformer(tmp_path / "st", tiny_bert(tmp_path / "bert"), pooling="mean", dense=16)
    before = encoder_key(read_encoder(str(folder)))
    stored = Checkpoint(folder / "model", {})
    weight = torch.nn.Parameter(torch.zeros(2))
    stored.save(Progress(), {"w": weight}, torch.optim.AdamW([weight]))
    (folder / "model").mkdir()
    (folder / "model" / "mrl.json").write_text("{}")
    assert encoder_key(read_encoder(str(folder))) == before


@pytest.mark.parametrize("name", ["tokenizer.json", "model.safetensors", "2_Dense/model.safetensors"])
def test_another_file_of_an_encoder_makes_it_another_encoder(tmp_path, name):
    folder = sentence_transformer(tmp_path / "st", tiny_bert(tmp_path / "bert"), pooling="mean", dense=16)
    spec = read_encoder(str(folder))
    before = encoder_key(spec)
    with (folder / name).open("ab") as file:
        file.write(b" ")
    assert encoder_key(spec) != before
