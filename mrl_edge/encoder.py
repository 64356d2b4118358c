"""The runtime: texts in, embeddings of one nesting dimension (or class probabilities) out.

    encoder = load("bundle", dim=64, precision="int8", threads=1)
    encoder.encode(["a small musical phrase"])  # float32 [1, 64], rows L2-normalised

Imports numpy, onnxruntime and tokenizers only: this is what runs on a board.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort
from tokenizers import Tokenizer

from mrl_edge.bundle import TOKENIZER, Bundle, Graph, Manifest, Variant, open_bundle
from mrl_edge.cpu import fitness, this_target
from mrl_edge.errors import BundleError, UsageError
from mrl_edge.nesting import Floats
from mrl_edge.prompts import prefix_for
from mrl_edge.tokens import TokenIds, batches, load_tokenizer, pad, tokenise


def load(
    bundle: str | Path,
    dim: int | None = None,
    precision: str | None = None,
    depth: int | None = None,
    threads: int | None = None,
) -> Encoder:
    """Load one configuration of a bundle, after checking the sha256 of every file it uses.

    `dim` is a nesting dimension (None: the full one), `precision` one of the bundle's (None: the one with the
    smallest weights), `depth` the number of layers (None: all), `threads` the intra-op threads (None: one per
    physical core). Raises `BundleError` for a damaged bundle and `UsageError` for what it does not hold.
    """
    opened = open_bundle(bundle)
    variant = opened.variant(precision, depth) if precision else opened.leanest(depth)
    return open_encoder(opened, variant, opened.manifest.dims[-1] if dim is None else dim, threads)


def load_nested(
    bundle: str | Path, precision: str | None = None, depth: int | None = None, threads: int | None = None
) -> NestedEncoder:
    """Load the graph that computes every dimension in one pass; arguments and errors as for `load`."""
    opened = open_bundle(bundle)
    variant = opened.variant(precision, depth) if precision else opened.leanest(depth)
    return open_nested(opened, variant, threads)


def open_encoder(bundle: Bundle, variant: Variant, dim: int, threads: int | None) -> Encoder:
    """Open one dimension of a variant of an opened bundle; errors as for `load`."""
    return Encoder(_open_model(bundle, variant, dim, threads), dim)


def open_nested(bundle: Bundle, variant: Variant, threads: int | None) -> NestedEncoder:
    """Open the graph of every dimension of a variant; errors as for `load`."""
    return NestedEncoder(_open_model(bundle, variant, None, threads))


class Encoder:
    """One dimension of one variant, ready to run. Calls may come from several threads."""

    def __init__(self, model: _Model, dim: int) -> None:
        self.dim = dim
        self.precision = model.variant.precision
        self.depth = model.variant.depth
        self.classes = model.manifest.classes
        self._model = model

    def encode(self, texts: Sequence[str], prompt: str | None = None, batch_size: int = 32) -> Floats:
        """Return float32 [n, dim] with L2-normalised rows, in the order of `texts`.

        `prompt` says what the texts are, `query` or `document`, or names another of the encoder's prompts; the
        prefix that the encoder has for it, if any, is put before each text. Texts longer than the encoder's
        maximum are truncated; an empty text is encoded as the special tokens alone.
        """
        return self._model.run(texts, ("embedding",), prompt, batch_size)[0]

    def classify(self, texts: Sequence[str], batch_size: int = 32) -> Floats:
        """Return class probabilities float32 [n, classes], columns in the order of `self.classes`.

        Raises `UsageError` when the model was trained without labels.
        """
        _need_classes(self._model)
        return softmax(self._model.run(texts, ("logits",), "text", batch_size)[0])

    def tokenise(self, texts: Sequence[str], prompt: str | None = None) -> list[TokenIds]:
        """Return the token ids that `encode` would feed to the graph."""
        return self._model.tokenise(texts, prompt)


class NestedEncoder:
    """Every nesting dimension in one pass over the trunk."""

    def __init__(self, model: _Model) -> None:
        self.dims = model.manifest.dims
        self.classes = model.manifest.classes
        self._model = model

    def encode(self, texts: Sequence[str], prompt: str | None = None, batch_size: int = 32) -> dict[int, Floats]:
        """Return float32 [n, d] with L2-normalised rows for every nesting dimension d."""
        outputs = tuple(f"embedding_{dim}" for dim in self.dims)
        return dict(zip(self.dims, self._model.run(texts, outputs, prompt, batch_size), strict=True))

    def classify(self, texts: Sequence[str], batch_size: int = 32) -> dict[int, Floats]:
        """Return class probabilities float32 [n, classes] for every nesting dimension."""
        _need_classes(self._model)
        outputs = tuple(f"logits_{dim}" for dim in self.dims)
        logits = self._model.run(texts, outputs, "text", batch_size)
        return {dim: softmax(rows) for dim, rows in zip(self.dims, logits, strict=True)}


def open_session(path: Path, threads: int | None) -> ort.InferenceSession:
    """Open an ONNX graph on the CPU with `threads` intra-op threads (None: one per physical core)."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except MemoryError:
        raise
    except Exception as error:  # onnxruntime raises its own exception types, all derived from Exception
        raise BundleError(f"{path}: onnxruntime {ort.__version__} cannot load this graph: {error}") from None


def softmax(logits: Floats) -> Floats:
    """Return the softmax over the columns of [n, classes]."""
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(exponents / exponents.sum(axis=1, keepdims=True), dtype=np.float32)


class _Model:
    """A session and its tokenizer: texts to the named outputs of one graph."""

    def __init__(
        self,
        manifest: Manifest,
        variant: Variant,
        graph: Graph,
        tokenizer: Tokenizer,
        session: ort.InferenceSession,
    ) -> None:
        self.manifest = manifest
        self.variant = variant
        self._inputs = graph.inputs
        self._pad_id = manifest.encoder.pad_id
        self._tokenizer = tokenizer
        self._session = session

    def tokenise(self, texts: Sequence[str], prompt: str | None) -> list[TokenIds]:
        return tokenise(self._tokenizer, self._prompted(texts, prompt), self._pad_id)

    def run(self, texts: Sequence[str], outputs: tuple[str, ...], prompt: str | None, batch_size: int) -> list[Floats]:
        """Run `texts` in batches of similar length; return each output as [n, columns]."""
        texts = self._prompted(texts, prompt)
        if len(texts) == 1:
            feed = pad(tokenise(self._tokenizer, texts, self._pad_id), self._pad_id, self._inputs)
            return list(self._session.run(outputs, feed))
        columns = {output.name: output.shape[1] for output in self._session.get_outputs()}
        results = [np.empty((len(texts), columns[name]), dtype=np.float32) for name in outputs]
        for rows, ids in batches(self._tokenizer, texts, self._pad_id, batch_size):
            for result, values in zip(
                results, self._session.run(outputs, pad(ids, self._pad_id, self._inputs)), strict=True
            ):
                result[rows] = values
        return results

    def _prompted(self, texts: Sequence[str], prompt: str | None) -> Sequence[str]:
        if isinstance(texts, str):
            raise UsageError("encode and classify take a list of texts; put the one text into a list")
        encoder = self.manifest.encoder
        prefix = prefix_for(encoder.prompts, encoder.default_prompt, prompt)
        return [prefix + text for text in texts] if prefix else texts


def _open_model(bundle: Bundle, variant: Variant, dim: int | None, threads: int | None) -> _Model:
    graph = bundle.graph(variant, dim)
    _warn_of_saturation(variant)
    bundle.checked(variant.weights)
    tokenizer = load_tokenizer(bundle.checked(TOKENIZER), bundle.manifest.encoder.max_tokens)
    session = open_session(bundle.checked(graph.file), threads)
    return _Model(bundle.manifest, variant, graph, tokenizer, session)


def _warn_of_saturation(variant: Variant) -> None:
    here = this_target()
    if fitness(variant.target, here) == 0:
        warnings.warn(
            f"this {variant.precision} graph was made for {variant.target}; on this processor ({here}, without VNNI) "
            f"its sums may saturate: export with --target {here}",
            RuntimeWarning,
            stacklevel=4,
        )


def _need_classes(model: _Model) -> None:
    if not model.manifest.classes:
        raise UsageError("this model does not classify: train it with --text and --label")
