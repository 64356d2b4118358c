import pytest
import torch
import torch.nn.functional as F

from mrl_edge.train.model import MatryoshkaHeads
from mrl_edge.train.objectives import nested_contrastive, nested_cross_entropy

DIMS = (2, 4, 6)


def test_contrastive_loss_is_the_weighted_sum_of_each_prefix_loss():
    torch.manual_seed(0)
    a, b, none = torch.randn(5, 6), torch.randn(5, 6), torch.zeros(5, 5, dtype=torch.bool)
    weights = (1.0, 0.5, 2.0)
    expected = 0.0
    for dim, weight in zip(DIMS, weights, strict=True):
        for x, y in ((a, b), (b, a)):
            for i in range(5):
                scores = [F.cosine_similarity(x[i, :dim], y[j, :dim], dim=0).item() / 0.1 for j in range(5)]
                expected += weight * -torch.log_softmax(torch.tensor(scores), 0)[i].item() / 5
    assert nested_contrastive(a, b, none, DIMS, weights, 0.1).item() == pytest.approx(expected, rel=1e-4)


def test_equal_texts_in_a_batch_are_no_negatives_of_each_other():
    torch.manual_seed(0)
    a, b = torch.randn(4, 6), torch.randn(4, 6)
    same = torch.zeros(4, 4, dtype=torch.bool)
    same[0, 3] = same[3, 0] = True
    masked = nested_contrastive(a, b, same, DIMS, (1.0,) * 3, 0.1)
    b[3], a[3] = b[0], a[0]  # a row equal to another's positive would pull the loss up if it counted
    duplicated = nested_contrastive(a, b, same, DIMS, (1.0,) * 3, 0.1)
    open_loss = nested_contrastive(a, b, torch.zeros_like(same), DIMS, (1.0,) * 3, 0.1)
    assert torch.isfinite(masked)
    assert duplicated < open_loss


def test_classification_loss_is_the_weighted_sum_of_each_head_on_its_prefix():
    torch.manual_seed(0)
    heads = MatryoshkaHeads(width=8, dims=DIMS, classes=3)
    z, labels = torch.randn(5, 6), torch.tensor([0, 1, 2, 1, 0])
    weights = (3.0, 1.0, 0.0)
    loss = nested_cross_entropy(heads.logits(z), labels, weights)
    expected = 0.0
    for dim, weight in zip(DIMS, weights, strict=True):
        layer = heads.classifiers[str(dim)]
        logits = z[:, :dim] @ layer.weight.T + layer.bias
        expected += weight * F.cross_entropy(logits, labels)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
