"""What loss weights and `--sample-exits` do, against the losses of PyTorch and SciPy at every exit and dimension."""

import pytest
import torch
import torch.nn.functional as F
from scipy.special import softmax
from scipy.stats import entropy
from train.encoders import tiny_bert
from train.test_images import settings_for

from mrl_edge.datasets import Table
from mrl_edge.progress import silent
from mrl_edge.train.features import embed
from mrl_edge.train.run import Run, Setup
from mrl_edge.train.source import read_encoder

DIMS = (2, 4, 32)
WORDS = ["bell", "bow", "drum", "flute", "gong", "harp", "horn", "lute"]
QUERIES = [f"a {word} sounds" for word in WORDS]
KINDS = ["struck", "bowed", "struck", "blown", "struck", "plucked", "blown", "plucked"]
TEMPERATURE = 0.05


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return read_encoder(str(tiny_bert(tmp_path_factory.mktemp("encoder"), layers=3, dropout=0.0)))


def started(encoder, tmp_path, **changes):
    """A run over the words as pairs and classes, before its first step, and its loop."""
    table = Table("words", {"query": QUERIES, "positive": WORDS, "text": QUERIES, "label": KINDS})
    settings = settings_for(encoder, **{"dims": DIMS, "batch_size": len(WORDS), **changes})
    run = Run(Setup(encoder, table, table, settings, tmp_path / "cache"), silent)
    return run, run.loop()


def projected(run, texts, exit):
    rows = embed(run.model.trunk, run.preprocessing.inputs, texts, bfloat16=False)[exit]
    return torch.from_numpy(rows) @ run.model.heads[exit].projection.weight.detach().T


def cosines(run, exit, dim):
    """Of every query with every word, [8, 8], before the softmax."""
    queries, words = (F.normalize(projected(run, texts, exit)[:, :dim], dim=1) for texts in (QUERIES, WORDS))
    return queries @ words.T / TEMPERATURE


def pairs_loss(run, exit):
    own = torch.arange(len(WORDS))
    scores = [cosines(run, exit, dim) for dim in DIMS]
    return sum(F.cross_entropy(table, own) + F.cross_entropy(table.T, own) for table in scores).item()


def class_loss(run, exit):
    labels = torch.tensor([sorted(set(KINDS)).index(kind) for kind in KINDS])
    vectors, classifiers = projected(run, QUERIES, exit), run.model.heads[exit].classifiers
    return sum(F.cross_entropy(F.linear(vectors[:, :dim], *classifiers.linear(dim)), labels) for dim in DIMS).item()


def divergence(run, exit):
    """Of which words each query finds alike, from what the last exit finds at its full dimension."""
    wanted = softmax(cosines(run, -1, DIMS[-1]).numpy(), axis=1)
    return sum(entropy(wanted, softmax(cosines(run, exit, dim).numpy(), axis=1), axis=1).mean() for dim in DIMS)


@pytest.mark.parametrize(
    ("exit_weight", "exit_distillation", "label_weight"),
    [(0.0, 0.0, 0.0), (0.5, 0.0, 1.0), (2.0, 0.0, 0.25), (0.0, 0.5, 1.0), (0.0, 3.0, 0.0), (0.15, 0.5, 2.0)],
)
def test_the_loss_is_the_sum_that_the_weights_say(encoder, tmp_path, exit_weight, exit_distillation, label_weight):
    weights = {"exit_weight": exit_weight, "exit_distillation": exit_distillation, "label_weight": label_weight}
    run, loop = started(encoder, tmp_path, depths=(1, 2, 3), **weights)
    expected = pairs_loss(run, 2) + label_weight * class_loss(run, 2)
    for exit in (0, 1):
        expected += exit_weight * (pairs_loss(run, exit) + label_weight * class_loss(run, exit))
        expected += exit_distillation * divergence(run, exit)
    assert loop.first_loss() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("sampled", [True, False], ids=["one exit a step", "all exits"])
def test_a_step_trains_the_full_depth_and_one_random_exit_or_all(encoder, tmp_path, sampled):
    run, loop = started(encoder, tmp_path, depths=(1, 2, 3), batch_size=4, sample_exits=sampled, fine_tune=True)
    steps, trained = 12, []
    for step in range(steps):
        before = [{name: value.clone() for name, value in head.state_dict().items()} for head in run.model.heads]
        loop.step(loop.batches(step)[0], step, steps)
        changed = [
            [not torch.equal(old[name], value) for name, value in head.state_dict().items()]
            for old, head in zip(before, run.model.heads, strict=True)
        ]
        assert all(any(head) == all(head) for head in changed)  # an exit learns in all its parts, or in none
        trained.append(tuple(place for place, head in enumerate(changed) if any(head)))
    assert set(trained) == ({(0, 2), (1, 2)} if sampled else {(0, 1, 2)})
