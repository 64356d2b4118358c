"""What is evaluated: anything that embeds texts at nested dimensions, be it a bundle, a trained model or an encoder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from mrl_edge.bundle import MANIFEST, open_bundle
from mrl_edge.encoder import NestedEncoder, load_nested
from mrl_edge.errors import ModelError, UsageError
from mrl_edge.nesting import Floats, select_dims
from mrl_edge.providers import CPU

ENCODER = ("config.json", "modules.json")  # what makes a folder an encoder
# Their activations are not quantised, so a text's vector does not depend on the others of its batch.
_BATCHED = ("fp32", "fp16")


class Source(Protocol):
    """A model whose prefixes are embeddings."""

    name: str  # as the user gave it
    precision: str | None  # of a bundle
    method: str  # where its prefixes come from: `mrl`, or `truncation` of an encoder that was not trained for it
    modality: str  # what it embeds: `text`, or `image` by its path
    dims: tuple[int, ...]
    depths: tuple[int, ...]
    classes: tuple[str, ...]  # empty when it does not classify

    def embed(self, texts: Sequence[str], role: str, depth: int) -> Floats:
        """Return float32 [n, full], rows L2-normalised, of texts in a role (`query`, `document`, `text`)."""

    def classify(self, texts: Sequence[str], depth: int) -> dict[int, Floats]:
        """Return class probabilities [n, classes] for every dimension."""


def open_source(
    name: str,
    precision: str | None = None,
    dims: Sequence[int] | None = None,
    threads: int | None = None,
    provider: str = CPU,
) -> Source:
    """Open a bundle, or (which imports torch) a trained model, or an encoder's folder or hub id.

    `dims` are those to evaluate (None: all; of an encoder 8, 16, … and its width). Raises `UsageError` for what is
    not there, `BundleError` or `ModelError` for what is damaged or none of the three.
    """
    folder = Path(name)
    if (folder / MANIFEST).is_file():
        return BundleSource(folder, precision, dims, threads, provider)
    if folder.is_dir() and not any((folder / file).is_file() for file in ("mrl.json", *ENCODER)):
        raise ModelError(f"{name} is no bundle, no trained model and no encoder")
    if precision is not None:
        raise UsageError(f"--precision chooses from a bundle, and {name} is none")
    if provider != CPU:
        raise UsageError(f"--provider is where a bundle's graphs are computed, and {name} is none")
    from mrl_edge.evaluation.torch_source import open_encoder, open_model

    opener = open_model if (folder / "mrl.json").is_file() else open_encoder
    return opener(name, dims, threads)


class BundleSource:
    """One precision of a bundle, at all its depths.

    Queries and texts of a quantised precision are encoded one at a time, as the device will: its activations are
    scaled by the batch, so that a batched text is another vector. Documents are batched, as `mrl-edge index` does.
    """

    def __init__(
        self, folder: Path, precision: str | None, dims: Sequence[int] | None, threads: int | None, provider: str
    ) -> None:
        bundle = open_bundle(folder)
        manifest = bundle.manifest
        self.name = str(folder)
        self.precision: str | None = precision or bundle.leanest(None, provider).precision
        self.method = "mrl" if manifest.matryoshka else "truncation"
        self.modality = manifest.encoder.modality
        self.dims = select_dims(dims, manifest.dims, str(folder))
        bundle.variant(str(self.precision), None)  # says what there is when this is not
        variants = [variant for variant in manifest.variants if variant.precision == self.precision]
        for variant in variants:
            bundle.check_variant(variant)
        self.depths = tuple(sorted({variant.depth for variant in variants}))
        self.classes = manifest.classes
        self._full = manifest.dims[-1]
        self._threads, self._provider = threads, provider
        self._encoders: dict[int, NestedEncoder] = {}

    def embed(self, texts: Sequence[str], role: str, depth: int) -> Floats:
        """Run the graph of all dimensions and keep the full one, of which the others are prefixes."""
        return self._encoder(depth).encode(texts, role, self._batch_size(role))[self._full]

    def classify(self, texts: Sequence[str], depth: int) -> dict[int, Floats]:
        """Run the class heads of every dimension."""
        probabilities = self._encoder(depth).classify(texts, self._batch_size("text"))
        return {dim: probabilities[dim] for dim in self.dims}

    def _encoder(self, depth: int) -> NestedEncoder:
        if depth not in self._encoders:
            self._encoders[depth] = load_nested(self.name, self.precision, depth, self._threads, self._provider)
        return self._encoders[depth]

    def _batch_size(self, role: str) -> int:
        return 32 if role == "document" or self.precision in _BATCHED else 1
