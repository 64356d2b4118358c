"""A tiny bundle with an index and classes, and a service of it."""

import pytest
from conftest import mrl_edge_here
from serve.services import DOCUMENTS, PROMPTS, serving
from train.encoders import sentence_transformer, tiny_bert
from train.untrained import untrained_model


@pytest.fixture(scope="session")
def tiny(made_once):
    """A bundle of dimensions 4, 10 and 24, fp32 and int8, whose index compares exactly; not to be changed."""

    def make(out):
        folder = out.with_name("serve-parts")
        folder.mkdir()
        encoder = sentence_transformer(
            folder / "st", tiny_bert(folder / "bert"), pooling="mean", dense=28, prompts=PROMPTS
        )
        model = untrained_model(folder / "model", encoder, (1, 2))
        mrl_edge_here("export", model, "--out", out, "--precision", "fp32,int8")
        corpus = folder / "corpus.csv"
        corpus.write_text("text\n" + "\n".join(DOCUMENTS) + "\n")
        mrl_edge_here(
            "index", out, corpus, "--tune", "--kinds", "scan", "--vectors", "fp32", "--precision", "fp32",
            "--dims", "10,24",
        )  # fmt: skip

    return made_once("serve-bundle", make)


@pytest.fixture(scope="session")
def service(tiny):
    """A service of the tiny bundle at dimension 10, with the default limits."""
    with serving(tiny, "--dim", "10", "--name", "tiny") as running:
        yield running
