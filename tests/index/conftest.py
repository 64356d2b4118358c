"""Vectors around centres, queries near them, and a store of them a storage."""

import numpy as np
import pytest
from index.cosines import DIMS, ROWS

from mrl_edge.description import VectorsInfo
from mrl_edge.index.vectors import STORAGES, VectorStore, VectorWriter


@pytest.fixture(scope="session")
def vectors():
    """Vectors of length 1 around 40 centres, whose later columns carry less: [ROWS, 96] float32."""
    random = np.random.default_rng(0)
    fall = np.linspace(1, 0.2, DIMS[-1])
    made = (
        random.standard_normal((40, DIMS[-1])).repeat(ROWS // 40, axis=0) * 0.7
        + random.standard_normal((ROWS, DIMS[-1]))
    ) * fall
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="session")
def queries(vectors):
    random = np.random.default_rng(1)
    near = vectors[::60] + 0.05 * random.standard_normal((50, DIMS[-1])).astype(np.float32)
    return (near / np.linalg.norm(near, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="session")
def stores(vectors, tmp_path_factory):
    """A store a storage, written in pieces of uneven lengths."""
    folder = tmp_path_factory.mktemp("stores")
    made = {}
    for storage in STORAGES:
        info = VectorsInfo(f"{storage}.bin", f"{storage}.f32", storage, DIMS, ROWS)
        writer = VectorWriter(info, folder / info.file, folder / info.lengths)
        for first, last in ((0, 1), (1, 1700), (1700, ROWS)):
            writer.write(first, vectors[first:last])
        writer.close()
        made[storage] = VectorStore(info, folder / info.file, folder / info.lengths)
    return made
