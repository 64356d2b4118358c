"""Shorter prefixes learn from the full dimension's similarities, as much as `--self-distillation` says."""

import pytest
import torch
from train.encoders import tiny_bert
from train.test_images import settings_for

from mrl_edge.datasets import Table
from mrl_edge.progress import silent
from mrl_edge.train.run import Run, Setup
from mrl_edge.train.source import read_encoder


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return read_encoder(str(tiny_bert(tmp_path_factory.mktemp("encoder"))))


def first_loss(encoder, tmp_path, dims, weight):
    words = ["bell", "bow", "drum", "flute", "gong", "harp", "horn", "lute"]
    pairs = Table("pairs", {"query": [f"a {word} sounds" for word in words], "positive": words})
    settings = settings_for(encoder, dims=dims, self_distillation=weight, batch_size=8)
    return Run(Setup(encoder, pairs, pairs, settings, tmp_path / "cache"), silent).loop().first_loss()


def test_every_shorter_prefix_adds_its_divergence_times_the_weight(encoder, tmp_path):
    none, once, twice = (first_loss(encoder, tmp_path, (2, 4, 32), weight) for weight in (0.0, 1.0, 2.0))
    assert once > none + 1e-3
    assert twice - none == pytest.approx(2 * (once - none), rel=1e-3)


def test_the_full_dimension_has_nothing_to_learn_from_itself(encoder, tmp_path):
    plain, distilled = (first_loss(encoder, tmp_path, (32,), weight) for weight in (0.0, 1.0))
    assert distilled == pytest.approx(plain, abs=1e-6)


def test_texts_with_classes_are_compared_with_each_other_too(encoder, tmp_path):
    words = ["bell", "bow", "drum", "flute", "gong", "harp", "horn", "lute"]
    table = Table("both", {"query": words, "positive": words, "text": words, "label": ["struck", "bowed"] * 4})
    settings = settings_for(encoder, dims=(2, 4, 32), self_distillation=1.0)
    model = Run(Setup(encoder, table, table, settings, tmp_path / "cache"), silent).model
    random = torch.Generator().manual_seed(0)
    vectors = {role: torch.randn(1, 8, 32, generator=random) for role in ("query", "document", "text")}
    pairs = {role: vectors[role] for role in ("query", "document")}
    apart = [float(model._self_distillation(some, 0)) for some in (pairs, {"text": vectors["text"]})]
    assert min(apart) > 1e-3
    assert float(model._self_distillation(vectors, 0)) == pytest.approx(sum(apart), rel=1e-5)
