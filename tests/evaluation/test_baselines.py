import numpy as np
import pytest
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.metrics.pairwise import cosine_similarity

from mrl_edge.evaluation.baselines import DRAWS, baselines
from mrl_edge.nesting import prefix


@pytest.fixture(scope="module")
def rows():
    random = np.random.default_rng(0)
    return (random.normal(size=(200, 24)) * np.linspace(3, 0.1, 24) + 1).astype(np.float32)


@pytest.mark.parametrize("dim", [1, 4, 12, 23])
@pytest.mark.parametrize(
    ("method", "theirs"),
    [("pca", PCA), ("svd", lambda dim: TruncatedSVD(dim, algorithm="arpack"))],
)
def test_pca_and_svd_equal_those_of_scikit_learn(rows, method, theirs, dim):
    fitted, others = rows[:150].astype(np.float64), rows[150:]
    (project,) = baselines(rows[:150], seed=0)[method]
    ours = prefix(project(others), dim)
    # axes may point either way, so compare the cosines
    wanted = cosine_similarity(theirs(dim).fit(fitted).transform(others))
    np.testing.assert_allclose(ours @ ours.T, wanted, atol=2e-3)


@pytest.mark.parametrize("method", ["svd", "random"])
def test_at_the_full_dimension_nothing_is_lost(rows, method):
    for project in baselines(rows, seed=0)[method]:
        np.testing.assert_allclose(cosine_similarity(project(rows)), cosine_similarity(rows), atol=1e-5)


def test_fewer_rows_than_columns_still_give_every_axis(rows):
    for maps in baselines(rows[:5], seed=0).values():
        assert maps[0](rows).shape == rows.shape


def test_random_features_are_columns_drawn_anew_with_each_draw_and_seed(rows):
    draws = baselines(rows, seed=0)["random"]
    assert len(draws) == DRAWS
    firsts = {tuple(draw(rows)[0, :8]) for draw in draws}
    assert len(firsts) == DRAWS
    assert all(set(first) <= set(rows[0]) for first in firsts)
    np.testing.assert_array_equal(draws[0](rows), baselines(rows, seed=0)["random"][0](rows))
    assert tuple(baselines(rows, seed=99)["random"][0](rows)[0, :8]) not in firsts
