"""Every objective against its definition written out in loops, or against scikit-learn and SciPy."""

import numpy as np
import pytest
import torch
from scipy.stats import entropy
from sklearn.metrics import log_loss

from mrl_edge.train.objectives import Batch
from mrl_edge.train.objectives.classification import Classification, SeparateHeads, TiedHead
from mrl_edge.train.objectives.contrastive import Contrastive, Distillation, similarity_divergence
from mrl_edge.train.objectives.graded import Graded
from mrl_edge.train.objectives.prefixes import paired_prefix_cosines, prefix_cosines
from mrl_edge.train.weighting import FixedWeights, LearnedWeights

DIMS = (2, 4, 6)
TEMPERATURE = 0.1


def vectors(*roles, rows=5, seed=0):
    random = np.random.default_rng(seed)
    return {role: torch.tensor(random.normal(size=(rows, 6)), dtype=torch.float32) for role in roles}


def batch(parts, ids=None, scores=None, teacher=None):
    rows = len(next(iter(parts.values())))
    distinct = {role: torch.arange(rows) + (100 if role == "negative" else 0) for role in parts}
    return Batch(parts, distinct | (ids or {}), scores, teacher or {})


def cosine(a, b, dim):
    a, b = a[:dim].double().numpy(), b[:dim].double().numpy()
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


def cross_entropy(scores, right):
    scores = np.array(scores) / TEMPERATURE
    return np.log(np.exp(scores).sum()) - scores[right]


def test_cosines_of_every_prefix_are_those_of_the_prefixes():
    parts = vectors("a", "b")
    together = prefix_cosines(parts["a"], parts["b"], DIMS)
    paired = paired_prefix_cosines(parts["a"], parts["b"], DIMS)
    for place, dim in enumerate(DIMS):
        wanted = [[cosine(a, b, dim) for b in parts["b"]] for a in parts["a"]]
        np.testing.assert_allclose(together[place], wanted, atol=1e-6)
        np.testing.assert_allclose(paired[place], np.diag(wanted), atol=1e-6)


def test_contrastive_loss_is_the_cross_entropy_of_the_own_document_and_of_the_own_query():
    parts = vectors("query", "document")
    losses = Contrastive(DIMS, TEMPERATURE)(batch(parts))
    for place, dim in enumerate(DIMS):
        wanted = np.mean(
            [
                cross_entropy([cosine(x[i], y[j], dim) for j in range(5)], i)
                for x, y in ((parts["query"], parts["document"]), (parts["document"], parts["query"]))
                for i in range(5)
            ]
        )
        assert losses[place].item() == pytest.approx(2 * wanted, rel=1e-4)


def test_hard_negatives_are_more_documents_that_answer_no_query():
    parts = vectors("query", "document", "negative")
    losses = Contrastive(DIMS, TEMPERATURE)(batch(parts))
    documents = [*parts["document"], *parts["negative"]]
    for place, dim in enumerate(DIMS):
        to_documents = [cross_entropy([cosine(q, d, dim) for d in documents], i) for i, q in enumerate(parts["query"])]
        to_queries = [
            cross_entropy([cosine(q, d, dim) for q in parts["query"]], i) for i, d in enumerate(parts["document"])
        ]
        assert losses[place].item() == pytest.approx(np.mean(to_documents) + np.mean(to_queries), rel=1e-4)


@pytest.mark.parametrize("role", ["query", "document"])
def test_equal_texts_in_a_batch_are_no_negatives_of_each_other(role):
    parts = vectors("query", "document")
    ids = {role: torch.tensor([0, 1, 2, 0, 4])}
    with_equals = Contrastive(DIMS, TEMPERATURE)(batch(parts, ids))
    for place, dim in enumerate(DIMS):
        wanted = 0.0
        for x, y in ((parts["query"], parts["document"]), (parts["document"], parts["query"])):
            for i in range(5):
                others = [j for j in range(5) if j == i or {i, j} != {0, 3}]
                wanted += cross_entropy([cosine(x[i], y[j], dim) for j in others], others.index(i)) / 5
        assert with_equals[place].item() == pytest.approx(wanted, rel=1e-4)


def test_a_negative_that_is_another_rows_answer_is_no_negative_of_that_row():
    parts = vectors("query", "document", "negative")
    ids = {"document": torch.arange(5), "negative": torch.tensor([1, 101, 102, 103, 104])}
    counted = Contrastive(DIMS, TEMPERATURE)(batch(parts))
    masked = Contrastive(DIMS, TEMPERATURE)(batch(parts, ids))
    for place, dim in enumerate(DIMS):
        own = [*(cosine(parts["query"][1], d, dim) for d in parts["document"])]
        negatives = [cosine(parts["query"][1], n, dim) for n in parts["negative"]]
        change = cross_entropy(own + negatives, 1) - cross_entropy(own + negatives[1:], 1)
        assert (counted - masked)[place].item() == pytest.approx(change / 5, abs=1e-5)


def test_separate_heads_are_a_classifier_on_each_prefix():
    torch.manual_seed(0)
    heads, z = SeparateHeads(DIMS, 3), torch.randn(5, 6)
    labels = torch.tensor([0, 1, 2, 1, 0])
    losses = Classification()(Batch({}, {}, None, {}, heads(z), labels))
    for place, dim in enumerate(DIMS):
        weight, bias = (part.numpy() for part in heads.linear(dim))
        assert weight.shape == (3, dim)
        logits = z[:, :dim].numpy() @ weight.T + bias
        shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        assert losses[place].item() == pytest.approx(
            log_loss(labels, shares.astype(float) / shares.sum(axis=1, keepdims=True, dtype=float)), rel=1e-4
        )


def test_a_tied_head_is_the_first_columns_of_one_weight_for_every_dimension():
    torch.manual_seed(0)
    head, z = TiedHead(DIMS, 3), torch.randn(5, 6)
    assert sum(p.numel() for p in head.parameters()) == 3 * 6 + 3
    weight = head.head.weight.detach()
    for place, dim in enumerate(DIMS):
        np.testing.assert_allclose(
            head(z)[place].detach(), z[:, :dim] @ weight[:, :dim].T + head.head.bias.detach(), atol=1e-6
        )
        own, bias = head.linear(dim)
        torch.testing.assert_close(own, weight[:, :dim])
        torch.testing.assert_close(bias, head.head.bias.detach())


def test_graded_loss_asks_every_pair_of_pairs_for_the_order_of_their_scores():
    parts = vectors("query", "document")
    scores = torch.tensor([5.0, 1.0, 3.0, 3.0, 0.0])
    losses = Graded(DIMS, TEMPERATURE)(batch(parts, scores=scores))
    for place, dim in enumerate(DIMS):
        own = [cosine(q, d, dim) for q, d in zip(parts["query"], parts["document"], strict=True)]
        excess = [np.exp((own[i] - own[j]) / TEMPERATURE) for i in range(5) for j in range(5) if scores[i] < scores[j]]
        assert losses[place].item() == pytest.approx(np.log1p(sum(excess)), rel=1e-4)


def test_equal_scores_ask_for_nothing():
    losses = Graded(DIMS, TEMPERATURE)(batch(vectors("query", "document"), scores=torch.ones(5)))
    assert losses.tolist() == [0, 0, 0]


def test_distillation_is_the_divergence_from_the_teachers_neighbours():
    parts = vectors("text")
    teacher = torch.tensor(np.random.default_rng(1).normal(size=(5, 9)), dtype=torch.float32)
    losses = Distillation(DIMS, TEMPERATURE)(batch(parts, teacher={"text": teacher}))
    for place, dim in enumerate(DIMS):
        wanted = []
        for i in range(5):
            others = [j for j in range(5) if j != i]
            by_teacher = np.exp([cosine(teacher[i], teacher[j], 9) / TEMPERATURE for j in others])
            by_student = np.exp([cosine(parts["text"][i], parts["text"][j], dim) / TEMPERATURE for j in others])
            wanted.append(entropy(by_teacher, by_student))  # SciPy normalises both
        assert losses[place].item() == pytest.approx(np.mean(wanted), rel=1e-3)


def test_a_student_that_is_its_teacher_has_nothing_to_learn():
    text = vectors("text")["text"]
    cosines = prefix_cosines(text, text, DIMS)
    assert similarity_divergence(cosines, cosines[-1], TEMPERATURE, self_alike=True)[-1] == pytest.approx(0, abs=1e-6)


def test_fixed_weights_are_the_papers_sum():
    assert FixedWeights((1.0, 0.5, 2.0))(torch.tensor([1.0, 2.0, 3.0])).item() == 8


def test_learned_weights_settle_at_one_over_the_loss():
    weighting, losses = LearnedWeights(3), torch.tensor([0.5, 1.0, 4.0])
    optimizer = torch.optim.SGD(weighting.parameters(), lr=0.1)
    for _ in range(2000):
        optimizer.zero_grad()
        weighting(losses).backward()
        optimizer.step()
    torch.testing.assert_close(weighting.log_variance.neg().exp().detach(), 1 / losses, rtol=1e-3, atol=0)


@pytest.mark.parametrize("objective", [Contrastive, Graded, Distillation])
def test_gradients_are_those_of_finite_differences(objective):
    parts = {role: rows.double().requires_grad_() for role, rows in vectors("query", "document").items()}
    scores, teacher = torch.tensor([5.0, 1.0, 3.0, 2.0, 0.0]), {"query": torch.randn(5, 6, dtype=torch.float64)}
    roles = ("query",) if objective is Distillation else ("query", "document")

    def losses(*rows):
        given = batch(dict(zip(roles, rows, strict=True)), scores=scores, teacher=teacher)
        return objective(DIMS, TEMPERATURE)(given)

    assert torch.autograd.gradcheck(losses, tuple(parts[role] for role in roles))


def test_gradients_with_hard_negatives_and_equal_texts_are_those_of_finite_differences():
    parts = {r: rows.double().requires_grad_() for r, rows in vectors("query", "document", "negative").items()}
    ids = {"query": torch.tensor([0, 1, 0, 2, 3]), "negative": torch.tensor([1, 7, 8, 3, 9])}

    def losses(*rows):
        return Contrastive(DIMS, TEMPERATURE)(batch(dict(zip(parts, rows, strict=True)), ids=ids))

    assert torch.autograd.gradcheck(losses, tuple(parts.values()))
