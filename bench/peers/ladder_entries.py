"""What `ladder.py` measures: our precisions and the peers' int8 graphs of the same model, and the texts they encode."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from mrl_edge.datasets import Columns, read_table
from mrl_edge.metrics import (
    RetrievalTask,
    retrieval_task,
)
from mrl_edge.nesting import normalise

PRECISIONS = ("fp32", "fp16", "int8", "int8-static", "int4")
PEERS = ("sentence-transformers int8", "optimum int8")
_TIMED, _GLOSSES = 64, 2000
_VNNI = ("avx512_vnni", "avx_vnni")
Feed = dict[str, np.ndarray]


def export(folder: Path) -> None:
    """Make what is measured: our bundle and the peers' int8 graphs of the same model."""
    from optimum.onnxruntime import ORTQuantizer
    from optimum.onnxruntime.configuration import AutoQuantizationConfig
    from sentence_transformers import SentenceTransformer, export_dynamic_quantized_onnx_model

    model, out = folder / "model", folder / "ladder"
    shutil.rmtree(out, ignore_errors=True)  # of an earlier model or an earlier commit
    command = ["export", str(model), "--out", str(out / "bundle"), "--precision", ",".join(PRECISIONS)]
    subprocess.run([sys.executable, "-m", "mrl_edge", *command], check=True, stdout=subprocess.DEVNULL)
    target = "avx512_vnni" if has_vnni() else "avx2"
    peer = out / "peer"
    encoder = SentenceTransformer(str(model), backend="onnx", device="cpu", model_kwargs={"export": True})
    encoder.save_pretrained(str(peer / "onnx"))
    export_dynamic_quantized_onnx_model(encoder, target, str(peer / "sentence-transformers"))
    quantizer = ORTQuantizer.from_pretrained(peer / "onnx", file_name="onnx/model.onnx")
    config = getattr(AutoQuantizationConfig, target)(is_static=False)
    quantizer.quantize(quantization_config=config, save_dir=peer / "optimum")


class Ours:
    """One precision through `mrl_edge.load`, full dimension: texts in, vectors out."""

    def __init__(self, folder: Path, name: str) -> None:
        import mrl_edge

        self._encoder = mrl_edge.load(folder / "ladder" / "bundle", precision=name, threads=1)

    def once(self, text: str) -> Callable[[], object]:
        """Return what is timed: the whole of encoding one text."""
        return lambda: self._encoder.encode([text])

    def vectors(self, texts: list[str]) -> np.ndarray:
        """Return [n, full], each text encoded alone."""
        return self._encoder.encode(texts, batch_size=1)


class Graph:
    """An ONNX file run on token ids: a peer's, or our int8's for the comparison with them."""

    def __init__(self, folder: Path, name: str) -> None:
        import onnxruntime

        from mrl_edge.tokenizer import load_tokenizer

        bundle = folder / "ladder" / "bundle"
        self._tokenizer = load_tokenizer(bundle / "tokenizer.json", 256)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        path = bundle / "int8" / "d384.onnx" if name == "int8 graph" else peer_graph(folder, name)
        self._session = onnxruntime.InferenceSession(str(path), options)
        self._takes = {value.name for value in self._session.get_inputs()}
        self._pooled = name == "int8 graph"
        self._projection = None if self._pooled else _projection(folder / "model")

    def once(self, text: str) -> Callable[[], object]:
        """Return what is timed: the graph alone."""
        feed = self._feed(text)
        return lambda: self._session.run(None, feed)

    def vectors(self, texts: list[str]) -> np.ndarray:
        """Return [n, full]; a peer's last layer is averaged and projected as the model says."""
        rows = []
        for text in texts:
            output = self._session.run(None, self._feed(text))[0]
            rows.append(output[0] if self._pooled else normalise(output[0].mean(axis=0)[None])[0])
        vectors = np.stack(rows)
        return vectors if self._projection is None else normalise(vectors @ self._projection.T)

    def _feed(self, text: str) -> Feed:
        ids = np.array([self._tokenizer.encode(text).ids], dtype=np.int64)
        feed = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        return {name: rows for name, rows in feed.items() if name in self._takes}


def texts() -> tuple[list[str], list[str]]:
    """Return the glosses and the documents that are embedded."""
    whole = retrieval()
    return whole.queries[:_GLOSSES], whole.documents


def retrieval() -> RetrievalTask:
    """Return the dev set as queries, documents and which answer which."""
    rows = read_table("builtin:wordnet_nouns/dev", Columns(query="gloss", positive="lemmas")).roles
    return retrieval_task(rows["query"], rows["positive"])


def timed_texts() -> list[str]:
    """Return the glosses of one pass."""
    glosses = texts()[0]
    return glosses[:: len(glosses) // _TIMED][:_TIMED]


def has_vnni() -> bool:
    """Whether this processor multiplies 8-bit integers in one instruction."""
    from mrl_edge.cpu import features

    return bool(features() & set(_VNNI))


def peer_graph(folder: Path, name: str) -> Path:
    """Return the ONNX file of a peer."""
    tool = name.split()[0]
    (path,) = (p for p in (folder / "ladder" / "peer" / tool).rglob("*.onnx"))
    return path


def _projection(model: Path) -> np.ndarray:
    from safetensors.numpy import load_file

    return load_file(model / "3_Dense" / "model.safetensors")["linear.weight"]
