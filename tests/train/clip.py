"""A small CLIP with random weights, both towers in one folder, and each alone in `text` and `vision` below it."""

import json

import torch
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPTextModelWithProjection,
    CLIPTokenizerFast,
    CLIPVisionModelWithProjection,
)

from mrl_edge.train.clip import load_tower_config

SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}


def tiny_clip(folder, seed=0):
    """Write a CLIP of 2 layers a tower and 24 dimensions, whose tokens are letters."""
    torch.manual_seed(seed)
    folder.mkdir()
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    start, end = len(tokens) - 2, len(tokens) - 1
    (folder / "vocab.json").write_text(json.dumps({token: number for number, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizerFast(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=20)
    ids = {"bos_token_id": start, "eos_token_id": end, "pad_token_id": end}
    text = {**SIZES, **ids, "vocab_size": len(tokens), "max_position_embeddings": 20}
    vision = {**SIZES, "image_size": 32, "patch_size": 8}
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=24)).save_pretrained(folder)
    processor = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    for kind, name, reader in (
        (CLIPTextModelWithProjection, "text", tokenizer),
        (CLIPVisionModelWithProjection, "vision", processor),
    ):
        tower = kind.from_pretrained(folder, config=load_tower_config(folder, f"clip_{name}_model"))
        tower.save_pretrained(folder / name)
        for each in (folder, folder / name):
            reader.save_pretrained(each)
    return folder
