"""Model folders as `mrl-edge train` writes them, with random heads, in a second."""

import json

import torch

from mrl_edge.train.heads import Head
from mrl_edge.train.model import save_model
from mrl_edge.train.record import SCHEMA_VERSION, Record
from mrl_edge.train.samples import TEXTS as TEXTS_FILE
from mrl_edge.train.source import read_encoder
from mrl_edge.train.trunk import Trunk, load_tokenizer

DIMS = (4, 10, 24)
CLASSES = ("one", "two", "three")
TEXTS = ["", "a", "bc", "some words of it", "x " * 40, *(f"{'abcdefgh'[i % 8]} text {'yz' * i}" for i in range(40))]


def untrained_model(folder, encoder, depths, dims=DIMS, classes=CLASSES, seed=1):
    """Write a model folder whose exits after `depths` have random projections and class heads."""
    torch.manual_seed(seed)
    spec = read_encoder(str(encoder))
    heads = [Head(spec.width, dims, len(classes), tied=False) for _ in depths]
    for head in heads:  # of one size, whatever each layer starts with
        for parameter in head.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    record = Record(
        schema_version=SCHEMA_VERSION, source="tiny", dims=dims, depths=depths, classes=classes, objective=(),
        settings={}, data={}, quality={}, history=(), versions={},
    )  # fmt: skip
    folder.mkdir()
    save_model(folder, Trunk(spec, depths), load_tokenizer(spec), heads, record)
    (folder / TEXTS_FILE).write_text(json.dumps(TEXTS))
    return folder
