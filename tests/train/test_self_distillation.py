"""Shorter prefixes learn from the full dimension's similarities, as much as `--self-distillation` says."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from scipy.special import softmax
from scipy.stats import entropy
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


WORDS = ["bell", "bow", "drum", "flute", "gong", "harp", "horn", "lute"]
PAIRS = {"query": [f"a {word} sounds" for word in WORDS], "positive": WORDS}


def divergence(first, second, dims, temperature):
    """Return what every dimension's cosines of rows [n, full] diverge by from the full one's, summed, by scipy."""
    cosines = [1 - cdist(first[:, :dim], second[:, :dim], "cosine") for dim in dims]
    if first is second:
        others = ~np.eye(len(first), dtype=bool)
        cosines = [values[others].reshape(len(first), -1) for values in cosines]
    shares = [softmax(values / temperature, axis=1) for values in cosines]
    return sum(entropy(shares[-1], share, axis=1).mean() for share in shares)


@pytest.mark.parametrize("text", [PAIRS["query"], [f"it is a {word}" for word in WORDS]], ids=["queries", "others"])
def test_texts_with_classes_are_compared_with_each_other_too(encoder, tmp_path, text):
    table = Table("both", {**PAIRS, "text": text, "label": ["struck", "bowed"] * 4})
    runs = [
        Run(
            Setup(encoder, table, table, settings_for(encoder, dims=(2, 4, 32), self_distillation=weight), tmp_path),
            silent,
        )
        for weight in (0.0, 1.0)
    ]
    random = torch.Generator().manual_seed(0)
    features = {role: torch.randn(1, 8, 32, generator=random) for role in runs[0].rows.texts}
    with torch.no_grad():
        plain, distilled = (run.model(features, run.rows.targets(range(8), "cpu"), [0]).item() for run in runs)
        rows = {role: runs[1].model.heads[-1].projection(given[0]).numpy() for role, given in features.items()}
    texts = rows.get("text", rows["query"])
    expected = divergence(rows["query"], rows["document"], (2, 4, 32), runs[0].settings.temperature)
    expected += divergence(texts, texts, (2, 4, 32), runs[0].settings.temperature)
    assert distilled - plain == pytest.approx(expected, rel=1e-3)
