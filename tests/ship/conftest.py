"""One small bundle with exits, classes and an indexed corpus, and choices about it as `mrl-edge pick` writes them."""

import json
import random

import pytest
from conftest import mrl_edge_here
from ship.shipping import QUERIES, ship, write_choice
from train.encoders import LETTERS, tiny_bert
from train.untrained import untrained_model

import mrl_edge

DEPTHS = (1, 2)
N = 400


@pytest.fixture(scope="session")
def documents():
    random_ = random.Random(3)
    word = lambda: "".join(random_.choices(LETTERS, k=random_.randint(1, 9)))  # noqa: E731
    return list(dict.fromkeys(" ".join(word() for _ in range(random_.randint(1, 6))) for _ in range(N)))


@pytest.fixture(scope="session")
def small(documents, tmp_path_factory):
    """A bundle of a BERT with two layers; tests must not change it."""
    folder = tmp_path_factory.mktemp("ship")
    model = untrained_model(folder / "model", tiny_bert(folder / "bert"), DEPTHS)
    mrl_edge_here("export", model, "--out", folder / "bundle", "--precision", "fp32")
    corpus = folder / "corpus.jsonl"
    corpus.write_text("".join(json.dumps({"text": text}) + "\n" for text in documents))
    mrl_edge_here("index", folder / "bundle", corpus, "--vectors", "fp32", "--depth", "2", "--dims", "4,10")
    return folder / "bundle"


@pytest.fixture
def choose(small, tmp_path):
    """A function that writes a choice about the bundle and returns its path."""

    return lambda bundle=small, **changes: write_choice(bundle, tmp_path / "choice.json", **changes)


@pytest.fixture(scope="session")
def embedded(small, documents):
    """The documents and queries at full dimension by the bundle's own encoder, by depth."""
    found = {}
    for depth in (1, 2):
        encoder = mrl_edge.load(small, None, "fp32", depth)
        found[depth] = encoder.encode(documents, "document"), encoder.encode(list(QUERIES), "query")
    return found


@pytest.fixture(scope="session")
def shipped(small, tmp_path_factory):
    """A folder with a scan at dimension 10; tests must not change it."""
    folder = tmp_path_factory.mktemp("shipped")
    ship(small, write_choice(small, folder / "choice.json"), folder / "app")
    return folder / "app"
