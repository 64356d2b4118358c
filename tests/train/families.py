"""A small encoder with random weights of each family, written as users' folders are."""

import torch
import transformers as t
from train.encoders import LETTERS, tiny_bert

# The letters and special tokens of `tiny_bert`; families that count positions from the padding id on need two more.
_VOCABULARY = 4 + 2 * len(LETTERS)
_TOKENS = {"vocab_size": _VOCABULARY, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
_SIZES = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48}
_POSITIONS = {"max_position_embeddings": 64, "initializer_range": 0.2}
_WITH_OFFSET = {"max_position_embeddings": 66, "initializer_range": 0.2}


def _configs():
    return {
        "bert": t.BertConfig(**_TOKENS, **_SIZES, **_POSITIONS),
        "roberta": t.RobertaConfig(**_TOKENS, **_SIZES, **_WITH_OFFSET, type_vocab_size=1),
        "xlm-roberta": t.XLMRobertaConfig(**_TOKENS, **_SIZES, **_WITH_OFFSET, type_vocab_size=1),
        "distilbert": t.DistilBertConfig(
            vocab_size=_VOCABULARY, dim=32, n_layers=3, n_heads=4, hidden_dim=48, **_POSITIONS
        ),
        "mpnet": t.MPNetConfig(**_TOKENS, **_SIZES, **_WITH_OFFSET),
        "electra": t.ElectraConfig(**_TOKENS, **_SIZES, **_POSITIONS, embedding_size=16),
        "albert": t.AlbertConfig(**_TOKENS, **_SIZES, **_POSITIONS, embedding_size=16),
        "deberta-v2": t.DebertaV2Config(
            vocab_size=_VOCABULARY, **_SIZES, **_POSITIONS, relative_attention=True, position_buckets=16,
            pos_att_type=["p2c", "c2p"], norm_rel_ebd="layer_norm", share_att_key=True, type_vocab_size=0,
            position_biased_input=False,
        ),
        "modernbert": t.ModernBertConfig(
            **_TOKENS, **_SIZES, **_POSITIONS, cls_token_id=2, sep_token_id=3, local_attention=16,
            global_attn_every_n_layers=2, reference_compile=False,
        ),
    }  # fmt: skip


FAMILIES = tuple(_configs())


def tiny_encoder(folder, family):
    """Write a plain Hugging Face folder with a small encoder of the family, and the letters' tokenizer."""
    tiny_bert(folder)
    tokenizer = t.AutoTokenizer.from_pretrained(folder)
    for path in folder.iterdir():
        path.unlink()
    torch.manual_seed(0)
    t.AutoModel.from_config(_configs()[family]).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
