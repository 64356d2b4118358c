"""Make of a trained model's folder what the peers run, with sentence-transformers' own export, fp32 and int8.

    build/peers/sentence-transformers/bin/python bench/peers/peer_export.py MODEL OUT TARGET

TARGET is what its int8 is made for: `avx2`, `avx512`, `avx512_vnni` or `arm64`. Beside the graphs lies `head.npy`, the
model's projection [full, full], for peers that end at the last layer.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file
from sentence_transformers import SentenceTransformer, export_dynamic_quantized_onnx_model


def main(model: str, out: str, target: str) -> None:
    """Write the folder."""
    encoder = SentenceTransformer(model, backend="onnx", device="cpu", model_kwargs={"export": True})
    encoder.save_pretrained(out)
    export_dynamic_quantized_onnx_model(encoder, target, out, file_suffix="int8")
    heads = list(Path(model).glob("*_Dense/model.safetensors"))
    width = encoder.get_embedding_dimension()
    np.save(Path(out) / "head.npy", load_file(heads[0])["linear.weight"] if heads else np.eye(width, dtype=np.float32))


if __name__ == "__main__":
    main(*sys.argv[1:])
