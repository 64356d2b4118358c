"""Shorter prefixes learn from the full dimension's similarities and classes, as much as `--self-distillation` says."""

import numpy as np
import pytest
import torch
from scipy.special import softmax
from scipy.stats import entropy
from train.encoders import tiny_bert
from train.test_images import settings_for

from mrl_edge.datasets import Table
from mrl_edge.progress import silent
from mrl_edge.train.objectives.classification import class_divergence
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


def test_class_heads_of_shorter_prefixes_learn_from_the_full_ones():
    logits = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    divergence = class_divergence(logits)
    probabilities = softmax(logits.detach().numpy(), axis=2)
    expected = [np.mean([entropy(full, own) for full, own in zip(probabilities[-1], prefix, strict=True)])
                for prefix in probabilities]  # fmt: skip
    assert divergence.detach().numpy() == pytest.approx(expected, abs=1e-6)
    (gradient,) = torch.autograd.grad(divergence.sum(), logits)
    assert gradient[:2].abs().sum() > 0
    assert gradient[-1].abs().max() < 1e-6  # the teacher


def test_with_classes_their_divergence_counts_too(encoder, tmp_path):
    texts = ["a bell", "a bow", "a drum", "a flute", "a gong", "a harp", "a horn", "a lute"]
    classes = Table("classes", {"text": texts, "label": ["struck", "bowed", "struck", "blown"] * 2})
    pairs = Table("both", {**classes.roles, "query": texts, "positive": [text[2:] for text in texts]})

    def loss(table, weight, label_weight):
        settings = settings_for(
            encoder, dims=(2, 4, 32), self_distillation=weight, batch_size=8, label_weight=label_weight
        )
        run = Run(Setup(encoder, table, table, settings, tmp_path / "cache"), silent)
        loop = run.loop()
        with torch.no_grad():  # heads that start at zero agree at every dimension
            for number, head in enumerate(run.model.heads[-1].classifiers.parameters()):
                head.copy_(torch.sin(torch.arange(head.numel()) + number).reshape(head.shape))
        return loop.first_loss()

    shares = [loss(pairs, 1.0, weight) - loss(pairs, 0.0, weight) for weight in (0.0, 1.0, 2.0)]
    assert shares[1] > shares[0] + 1e-3
    assert shares[2] - shares[0] == pytest.approx(2 * (shares[1] - shares[0]), rel=1e-3)
    assert loss(classes, 1.0, 1.0) > loss(classes, 0.0, 1.0) + 1e-3
