import numpy as np
import pytest
from sklearn.preprocessing import normalize

from mrl_edge.errors import UsageError
from mrl_edge.nesting import default_dims, normalise, parse_dims, prefix, select_dims


@pytest.mark.parametrize(
    ("text", "dims"), [("8", (8,)), ("1,2", (1, 2)), ("8,16,384", (8, 16, 384)), ("8, 16", (8, 16))]
)
def test_dims_are_read_in_order(text, dims):
    assert parse_dims(text) == dims


@pytest.mark.parametrize(
    "text", ["64,32", "8,8", "8,16,12", "0,8", "0", "-8,8", "8,-16", "a,b", "8,", "8;16", "8.5", "", " "]
)
def test_dims_that_do_not_ascend_from_one_are_refused_by_name(text):
    with pytest.raises(UsageError) as caught:
        parse_dims(text)
    assert str(caught.value).startswith(f"--dims {text}: ")


@pytest.mark.parametrize(
    ("full", "dims"), [(384, (8, 16, 32, 64, 128, 256, 384)), (64, (8, 16, 32, 64)), (9, (8, 9)), (8, (8,)), (4, (4,))]
)
def test_default_dims_double_up_to_the_full_size(full, dims):
    assert default_dims(full) == dims


def test_no_selection_means_every_dimension():
    assert select_dims(None, [8, 16], "bundle") == (8, 16)
    assert select_dims([16], [8, 16], "bundle") == (16,)


def test_a_dimension_that_is_not_there_is_refused_with_those_that_are():
    with pytest.raises(UsageError, match="dimension 12 is not in bundle, which has 8, 16"):
        select_dims([8, 12], [8, 16], "bundle")


@pytest.mark.parametrize("dim", [1, 8, 64])
def test_a_prefix_is_the_first_columns_normalised(dim):
    embeddings = np.random.default_rng(0).normal(size=(50, 64)).astype(np.float32) * 30
    given = embeddings.copy()
    found = prefix(embeddings, dim)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, normalize(given[:, :dim].astype(np.float64)), atol=1e-6)
    np.testing.assert_array_equal(embeddings, given)


def test_a_prefix_of_a_prefix_is_the_shorter_prefix():
    embeddings = np.random.default_rng(1).normal(size=(50, 64)).astype(np.float32)
    np.testing.assert_allclose(prefix(prefix(embeddings, 32), 8), prefix(embeddings, 8), atol=1e-6)


def test_a_row_of_zeros_stays_zeros_and_spoils_no_other():
    vectors = np.array([[0, 0, 5], [3, 4, 5], [0, 0, 0]], dtype=np.float32)
    np.testing.assert_allclose(prefix(vectors, 2), [[0, 0], [0.6, 0.8], [0, 0]], atol=1e-7)


@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1e3, 1e6])
def test_the_direction_alone_counts(scale):
    vectors = np.random.default_rng(2).normal(size=(20, 16))
    np.testing.assert_allclose(normalise((vectors * scale).astype(np.float32)), normalize(vectors), atol=1e-6)
