"""Texts go through the trunk in groups of like length, and come out as if they had not."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from train.encoders import tiny_bert

from mrl_edge.train.lengths import embed_by_length, group_sizes
from mrl_edge.train.preprocessing import load_preprocessing
from mrl_edge.train.source import read_encoder
from mrl_edge.train.trunk import Trunk


def cost(lengths, sizes, pass_tokens):
    ends = np.cumsum([0, *sizes])
    return sum((end - start) * max(lengths[start:end]) + pass_tokens for start, end in pairwise(ends))


def every_division(count):
    if count == 0:
        yield []
    for first in range(1, count + 1):
        for rest in every_division(count - first):
            yield [first, *rest]


@pytest.mark.parametrize("pass_tokens", [0, 3, 1000])
def test_groups_cost_the_least_of_all_that_there_could_be(pass_tokens):
    lengths = [2, 2, 3, 3, 9, 9, 10, 14, 30]
    sizes = group_sizes(lengths, pass_tokens)
    assert sum(sizes) == len(lengths)
    assert cost(lengths, sizes, pass_tokens) == min(
        cost(lengths, other, pass_tokens) for other in every_division(len(lengths))
    )
    assert (len(sizes) == 1) == (pass_tokens == 1000)


def test_vectors_and_gradients_are_those_of_one_padded_batch(tmp_path, monkeypatch):
    monkeypatch.setattr("mrl_edge.train.lengths.PASS_TOKENS", 2)
    encoder = read_encoder(str(tiny_bert(tmp_path)))
    trunk, inputs = Trunk(encoder, (1, encoder.layers)).eval(), load_preprocessing(encoder).inputs
    texts = {
        "query": inputs(["a bell", "a drum of brass and of wood", "an old lute that sounds " * 4, "harp"]),
        "document": inputs(["horn", "a bow", "gong"]),
    }
    passes, plain = [], trunk.forward
    monkeypatch.setattr(trunk, "forward", lambda given: passes.append(given["input_ids"].shape) or plain(given))
    grouped = embed_by_length(trunk, texts)
    assert len(passes) > 2
    assert sum(rows * tokens for rows, tokens in passes) < sum(given["input_ids"].numel() for given in texts.values())
    weight = next(layer.weight for layer in trunk.modules() if isinstance(layer, torch.nn.Linear))
    for role, given in texts.items():
        expected = plain(given)
        assert torch.allclose(grouped[role], expected, atol=1e-5)
        ours, theirs = (
            torch.autograd.grad(out.square().sum(), weight, retain_graph=True)[0] for out in (grouped[role], expected)
        )
        assert torch.allclose(ours, theirs, rtol=1e-3, atol=1e-5)
