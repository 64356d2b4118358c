"""One graph, ready to run: texts or images in, embeddings or class probabilities out.

Imports numpy, onnxruntime and tokenizers only, and Pillow for images: this is what runs on a board, from a bundle
(`encoder.py`) or from a shipped folder (`app.py`).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from mrl_edge.cpu import ANY, saturates, this_target
from mrl_edge.errors import BundleError, UnsupportedError, UsageError
from mrl_edge.feeds import Feeder
from mrl_edge.gpu import memory_of, nodes_by_provider, open_on, run_bound
from mrl_edge.levers import MAPPED_PREPACK, check, pull
from mrl_edge.nesting import Floats, select_dims
from mrl_edge.providers import CPU, PROVIDERS
from mrl_edge.tokens import Batch, TokenIds

if TYPE_CHECKING:
    from mrl_edge.feeds import Input


@dataclass(frozen=True)
class Part:
    """What one batch gave: the places of its texts, an output for each, and the tokens that the encoder read."""

    rows: NDArray[np.int64]
    values: Floats  # [len(rows), columns]
    tokens: int


class Encoder:
    """One dimension of one variant, ready to run. Calls may come from several threads."""

    def __init__(self, model: Model, dim: int, precision: str, depth: int) -> None:
        self.dim = dim
        self.precision = precision
        self.depth = depth
        self.classes = model.classes
        self._model = model

    @property
    def nodes(self) -> dict[str, int]:
        """How many nodes of the graph each of onnxruntime's providers computes; empty on the processor."""
        return self._model.nodes

    def encode(self, texts: Sequence[Input], prompt: str | None = None, batch_size: int = 32) -> Floats:
        """Return float32 [n, dim] with L2-normalised rows, in the order of `texts`.

        `prompt` says what the texts are, `query` or `document`, or names another of the encoder's prompts; the
        prefix that the encoder has for it, if any, is put before each text. Texts longer than the encoder's
        maximum are truncated; an empty text is encoded as the special tokens alone. A bundle of an image encoder
        takes images in their place: paths, PIL images, or arrays uint8 [height, width, 3]; it has no prompts.
        """
        return self._model.run(texts, ("embedding",), prompt, batch_size)[0]

    def classify(self, texts: Sequence[Input], batch_size: int = 32) -> Floats:
        """Return class probabilities float32 [n, classes], columns in the order of `self.classes`.

        Raises `UsageError` when the model was trained without labels.
        """
        _need_classes(self._model)
        return softmax(self._model.run(texts, ("logits",), "text", batch_size)[0])

    def tokenise(self, texts: Sequence[Input], prompt: str | None = None) -> list[TokenIds]:
        """Return the token ids that `encode` would feed to the graph."""
        return self._model.feeder.tokenise(texts, prompt)

    def prepare(self, texts: Sequence[Input], prompt: str | None = None) -> Batch:
        """Return what `encode` would feed to the graph as one batch: padded token ids, or pixels."""
        return self._model.feeder.feed(texts, prompt)

    def embed(self, batch: Batch) -> Floats:
        """Return the embeddings, as `encode` does, of what `prepare` made."""
        return self._model.embed(batch, ("embedding",))[0]


class NestedEncoder:
    """Every nesting dimension in one pass over the trunk."""

    def __init__(self, model: Model, dims: tuple[int, ...], precision: str, depth: int) -> None:
        self.dims = dims
        self.precision = precision
        self.depth = depth
        self.classes = model.classes
        self._model = model

    def parts(
        self, texts: Sequence[Input], dim: int, prompt: str | None = None, batch_size: int = 32
    ) -> Iterator[Part]:
        """Yield the embeddings of dimension `dim` a batch after the other, so that a caller may stop between two."""
        select_dims((dim,), self.dims, "this bundle")
        return self._model.parts(texts, f"embedding_{dim}", prompt, batch_size)

    def class_parts(self, texts: Sequence[Input], dim: int, batch_size: int = 32) -> Iterator[Part]:
        """Yield the class probabilities at dimension `dim` as `parts` does the embeddings."""
        _need_classes(self._model)
        select_dims((dim,), self.dims, "this bundle")
        for part in self._model.parts(texts, f"logits_{dim}", "text", batch_size):
            yield Part(part.rows, softmax(part.values), part.tokens)

    def encode(self, texts: Sequence[Input], prompt: str | None = None, batch_size: int = 32) -> dict[int, Floats]:
        """Return float32 [n, d] with L2-normalised rows for every nesting dimension d."""
        outputs = tuple(f"embedding_{dim}" for dim in self.dims)
        return dict(zip(self.dims, self._model.run(texts, outputs, prompt, batch_size), strict=True))

    def classify(self, texts: Sequence[Input], batch_size: int = 32) -> dict[int, Floats]:
        """Return class probabilities float32 [n, classes] for every nesting dimension."""
        _need_classes(self._model)
        outputs = tuple(f"logits_{dim}" for dim in self.dims)
        logits = self._model.run(texts, outputs, "text", batch_size)
        return {dim: softmax(rows) for dim, rows in zip(self.dims, logits, strict=True)}

    def encode_and_classify(
        self, texts: Sequence[Input], prompt: str | None = None, batch_size: int = 32
    ) -> tuple[dict[int, Floats], dict[int, Floats]]:
        """Return what `encode` and `classify` do, from one pass; of the latter nothing where it does not classify."""
        names = ("embedding", "logits") if self.classes else ("embedding",)
        outputs = [f"{name}_{dim}" for name in names for dim in self.dims]
        found = self._model.run(texts, tuple(outputs), prompt, batch_size)
        embeddings = dict(zip(self.dims, found, strict=False))
        logits = zip(self.dims, found[len(self.dims) :], strict=False)
        return embeddings, {dim: softmax(rows) for dim, rows in logits}


def open_session(
    path: Path,
    threads: int | None,
    target: str = ANY,
    levers: Sequence[str] = (),
    provider: str = CPU,
    precision: str = "fp32",
) -> ort.InferenceSession:
    """Open an ONNX graph with `threads` intra-op threads (None: one per physical core), on a GPU as `open_on` does.

    `precision` says what a provider that makes kernels of its own, TensorRT, may compute in. On the processor, which
    also computes what a GPU leaves to it, where the sums of a graph made for `target` would saturate, onnxruntime makes
    its signed weights unsigned, which computes the same integers as on the target. Where it cannot, a `RuntimeWarning`
    says so. Raises `BundleError` for a graph that does not load.
    """
    if provider != CPU and MAPPED_PREPACK in levers:
        raise UnsupportedError(f"runtime setting {MAPPED_PREPACK} is of the processor's kernels, not of {provider}'s")

    def opened(exact: bool) -> ort.InferenceSession:
        if provider == CPU:
            return _open(path, threads, levers, exact)
        return open_on(provider, path, _options(threads, levers, exact), precision)

    if not saturates(target, here := this_target()):
        return opened(exact=False)
    try:
        return opened(exact=True)
    except (BundleError, UnsupportedError):  # what is not for want of exactness is raised again
        session = opened(exact=False)
    warnings.warn(
        f"{path.name} was made for {target}; on this processor ({here}, without VNNI) its sums may saturate: "
        f"export with --target {here}",
        RuntimeWarning,
        stacklevel=2,
    )
    return session


def _open(path: Path, threads: int | None, levers: Sequence[str], exact: bool) -> ort.InferenceSession:
    check(levers)
    try:
        opened = path
        if MAPPED_PREPACK in levers:
            from mrl_edge.prepacked import prepacked  # with much of the standard library, which takes 10 ms

            opened = prepacked(path, _options(threads, levers, exact), exact)
        return ort.InferenceSession(str(opened), _options(threads, levers, exact), providers=[PROVIDERS[CPU]])
    except (MemoryError, UnsupportedError):
        raise
    except Exception as error:  # onnxruntime raises its own exception types, all derived from Exception
        raise BundleError(f"{path}: onnxruntime {ort.__version__} cannot load this graph: {error}") from None


def _options(threads: int | None, levers: Sequence[str], exact: bool) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    pull(options, levers)
    if exact:
        options.add_session_config_entry("session.x64quantprecision", "1")
    return options


def softmax(logits: Floats) -> Floats:
    """Return the softmax over the columns of [n, classes]."""
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(exponents / exponents.sum(axis=1, keepdims=True), dtype=np.float32)


class Model:
    """A session and what it is fed through: texts or images to the named outputs of one graph."""

    def __init__(self, feeder: Feeder, session: ort.InferenceSession, classes: tuple[str, ...]) -> None:
        self.feeder = feeder
        self.classes = classes  # empty where it does not classify
        self._session = session
        self._memory = memory_of(session)

    @property
    def nodes(self) -> dict[str, int]:
        """How many nodes each provider of a GPU's session computes; empty on the processor."""
        return {} if self._memory == "cpu" else nodes_by_provider(self._session)

    def embed(self, batch: Batch, outputs: tuple[str, ...]) -> list[Floats]:
        """Run one batch; return each output as [n, columns], on the host."""
        if self._memory != "cpu":
            return run_bound(self._session, batch, outputs, self._memory)
        return list(self._session.run(outputs, batch))

    def run(
        self, texts: Sequence[Input], outputs: tuple[str, ...], prompt: str | None, batch_size: int
    ) -> list[Floats]:
        """Run texts (in batches of similar length) or images; return each output as [n, columns]."""
        if batch_size < 1:
            raise UsageError(f"batch_size {batch_size}: expected at least 1")
        if len(texts) == 1:
            return self.embed(self.feeder.feed(texts, prompt), outputs)
        columns = {output.name: output.shape[1] for output in self._session.get_outputs()}
        results = [np.empty((len(texts), columns[name]), dtype=np.float32) for name in outputs]
        for rows, feed in self.feeder.batches(texts, prompt, batch_size):
            for result, values in zip(results, self.embed(feed, outputs), strict=True):
                result[rows] = values
        return results

    def parts(self, texts: Sequence[Input], output: str, prompt: str | None, batch_size: int) -> Iterator[Part]:
        """Yield one output of texts or images, in the batches of `run`."""
        for rows, feed in self.feeder.batches(texts, prompt, batch_size):
            tokens = int(feed["attention_mask"].sum()) if "attention_mask" in feed else 0
            yield Part(rows, self.embed(feed, (output,))[0], tokens)


def _need_classes(model: Model) -> None:
    if not model.classes:
        raise UsageError("this model does not classify: train it with --text, or --image, and --label")
