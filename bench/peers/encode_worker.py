"""One encoder in one process, for `compare.py`: it answers each line with one pass over the texts.

It needs numpy, and beyond that what its own virtual environment holds: mrl_edge is imported for ours alone.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

os.environ["HF_HUB_OFFLINE"] = "1"  # everything lies in the folder

Encode = Callable[[str], np.ndarray]  # a text → its embedding [dim], L2-normalised

GRAPHS = {"fp32": "onnx/model.onnx", "int8": "onnx/model_int8.onnx"}  # what `peer_export.py` wrote


def ours(precision: str, folder: Path, dim: int) -> Encode:
    """mrl_edge.load."""
    import mrl_edge

    encoder = mrl_edge.load(folder / "bundle", dim=dim, precision=precision, threads=1)
    return lambda text: encoder.encode([text])[0]


def by_hand(precision: str, folder: Path, dim: int) -> Encode:
    """Tokenizers and onnxruntime on our graph, with nothing between."""
    import onnxruntime
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "bundle" / "tokenizer.json"))
    graph = folder / "bundle" / precision / f"d{dim}.onnx"
    session = onnxruntime.InferenceSession(str(graph), _one_thread(onnxruntime))

    def encode(text: str) -> np.ndarray:
        ids = np.array([tokenizer.encode(text).ids], dtype=np.int64)
        inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        return session.run(["embedding"], inputs)[0][0]

    return encode


def sentence_transformers_torch(precision: str, folder: Path, dim: int) -> Encode:
    """sentence-transformers with torch on the trained model's folder."""
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(1)
    return _sentences(SentenceTransformer(str(folder / "model"), truncate_dim=dim, device="cpu"))


def sentence_transformers_onnx(precision: str, folder: Path, dim: int) -> Encode:
    """sentence-transformers with its ONNX backend, on what it exported."""
    import onnxruntime
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(1)
    settings = {
        "file_name": GRAPHS[precision],
        "provider": "CPUExecutionProvider",
        "session_options": _one_thread(onnxruntime),
    }
    peers = str(folder / "peers")
    model = SentenceTransformer(peers, backend="onnx", truncate_dim=dim, device="cpu", model_kwargs=settings)
    return _sentences(model)


def optimum(precision: str, folder: Path, dim: int) -> Encode:
    """Optimum's ORTModelForFeatureExtraction, with transformers' tokenizer; pooled and projected by hand."""
    import onnxruntime
    from optimum.onnxruntime import ORTModelForFeatureExtraction
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder / "peers")
    graph = Path(GRAPHS[precision])
    model = ORTModelForFeatureExtraction.from_pretrained(
        folder / "peers",
        subfolder=str(graph.parent),
        file_name=graph.name,
        provider="CPUExecutionProvider",
        session_options=_one_thread(onnxruntime),
    )
    head = _head(folder, dim)

    def encode(text: str) -> np.ndarray:
        last = model(**tokenizer([text], return_tensors="np", truncation=True)).last_hidden_state
        return _project(last[0].mean(axis=0), head)

    return encode


def fastembed(precision: str, folder: Path, dim: int) -> Encode:
    """Fastembed on the local folder, registered as a custom model that it pools by the mean; projected by hand."""
    from fastembed import TextEmbedding
    from fastembed.common.model_description import ModelSource, PoolingType

    head = _head(folder, dim)
    TextEmbedding.add_custom_model(
        model="local/model",
        pooling=PoolingType.MEAN,
        normalization=False,  # that comes after the projection
        sources=ModelSource(url="https://example.invalid/never-asked"),
        dim=head.shape[1],
        model_file=GRAPHS[precision],
    )
    model = TextEmbedding(
        "local/model", specific_model_path=str(folder / "peers"), threads=1, providers=["CPUExecutionProvider"]
    )
    return lambda text: _project(next(iter(model.embed([text]))), head)


ENCODERS = {
    "ours": ours,
    "by hand": by_hand,
    "sentence-transformers torch": sentence_transformers_torch,
    "sentence-transformers ONNX": sentence_transformers_onnx,
    "optimum": optimum,
    "fastembed": fastembed,
}


def _one_thread(onnxruntime: Any) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return options


def _sentences(model: Any) -> Encode:
    return lambda text: model.encode([text], normalize_embeddings=True, show_progress_bar=False)[0]


def _head(folder: Path, dim: int) -> np.ndarray:
    """Return the trained projection's first rows [dim, full], which neither optimum nor fastembed runs."""
    return np.load(folder / "peers" / "head.npy")[:dim]


def _project(pooled: np.ndarray, head: np.ndarray) -> np.ndarray:
    embedding = head @ pooled
    return embedding / np.linalg.norm(embedding)


def peak_rss() -> int:
    """Return the most resident bytes that this process had so far (Linux's VmHWM)."""
    status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))


def main(kind: str, precision: str, folder: str, dim: str, texts: str) -> None:
    """Answer `pass` lines until the standard input closes: `ms` and `vectors` of each text, `peak_rss_bytes`."""
    replies, sys.stdout = sys.stdout, sys.stderr  # what a library prints is no answer
    asked = json.loads(Path(texts).read_text(encoding="utf-8"))
    encode = ENCODERS[kind](precision, Path(folder), int(dim))
    for _ in sys.stdin:
        times, vectors = [], []
        for text in asked:
            started = time.perf_counter_ns()
            vector = encode(text)
            times.append((time.perf_counter_ns() - started) / 1e6)
            vectors.append([float(value) for value in vector])
        replies.write(json.dumps({"ms": times, "vectors": vectors, "peak_rss_bytes": peak_rss()}) + "\n")
        replies.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
