"""The bundle contract: `bundle.json`, what it says, and the checks that nothing in the folder was changed.

Design §4. Every later stage reads a bundle through `open_bundle` and `Bundle.checked`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import msgspec

from mrl_edge.atomic import write_file
from mrl_edge.cpu import fitness, this_target
from mrl_edge.description import TOKENIZER, EncoderInfo, SizedIndex, VectorsInfo
from mrl_edge.errors import BundleError, UsageError
from mrl_edge.hashing import sha256
from mrl_edge.providers import CPU, CUDA

SCHEMA_VERSION = 2  # 2: the index keeps its vectors in one file, and an entry a dimension
MANIFEST = "bundle.json"


class FileEntry(msgspec.Struct, frozen=True):
    """Size and hash of one file of the bundle."""

    bytes: int
    sha256: str


class Fidelity(msgspec.Struct, frozen=True):
    """How a graph's embeddings compare with PyTorch's on `texts` real texts."""

    max_abs_error: float
    cosine_mean: float
    cosine_min: float
    texts: int


class Graph(msgspec.Struct, frozen=True):
    """One ONNX file; `dim` is None for the graph that outputs every dimension."""

    file: str
    dim: int | None
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    fidelity: Fidelity


class Variant(msgspec.Struct, frozen=True):
    """One depth in one precision: graphs that share one weight file."""

    precision: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9-]+\Z")]  # work folders are named after it
    target: str  # what it was made for: `any`, or one or more of `cpu.TARGETS`, as in `arm64,avx512-vnni`
    depth: int
    weights: str
    graphs: tuple[Graph, ...]
    settings: dict[str, str | int] = {}  # what was chosen by measuring: block sizes, how activations were calibrated
    fell_back: dict[str, str] = {}  # nodes of the whole trunk that kept it from its floor → precision they are in


class Slice(msgspec.Struct, frozen=True):
    """What a dimension keeps of an encoder that was never trained here, measured on `texts` texts."""

    dim: int
    neighbours_at_10: float  # share of each text's 10 nearest others, by the whole vector, that stay its nearest
    texts: int


class Samples(msgspec.Struct, frozen=True):
    """Texts or images that the bundle can be verified with, and what PyTorch made of them."""

    texts: str  # JSON, a list of `count` texts; empty when they are images
    embeddings: str  # float32 [depths, count, full], little-endian, rows L2-normalised
    count: int
    images: tuple[str, ...] = ()  # PNG files

    @property
    def files(self) -> tuple[str, ...]:
        """The files of the bundle that hold them."""
        return (*(self.images or (self.texts,)), self.embeddings)


class IndexInfo(msgspec.Struct, frozen=True):
    """The corpus that was indexed, with which precision, and the index of each dimension."""

    source: str
    precision: str
    depth: int
    n_items: int
    vectors: VectorsInfo
    documents: str  # JSON texts, a line an item
    offsets: str  # int64 [n_items + 1], where each line starts
    sizes: tuple[SizedIndex, ...]
    tuning: str | None = None  # JSON, all that `--tune` tried
    scored_on: str = "tuning queries"  # on which sizes were chosen too, or `other queries` where there were enough


class Manifest(msgspec.Struct, frozen=True):
    """All that `bundle.json` says."""

    schema_version: int
    name: str
    encoder: EncoderInfo
    matryoshka: bool
    dims: tuple[int, ...]
    depths: tuple[int, ...]
    classes: tuple[str, ...]  # empty when the model does not classify
    variants: tuple[Variant, ...]
    files: dict[str, FileEntry]
    training: dict[str, Any]
    versions: dict[str, str]
    index: IndexInfo | None = None
    slices: tuple[Slice, ...] = ()  # empty when the model was trained here: `training` then says its quality
    samples: Samples | None = None  # none in bundles of earlier versions


@dataclass(frozen=True)
class Bundle:
    """An opened bundle: its folder and its manifest."""

    folder: Path
    manifest: Manifest
    _checked: set[str] = field(default_factory=set, compare=False, repr=False)

    def checked(self, name: str) -> Path:
        """Return the path of a file of the bundle after comparing its size and sha256 with the manifest, once."""
        if name in self._checked:
            return self.folder / name
        entry = self.manifest.files.get(name)
        if entry is None:
            raise BundleError(f"{self.folder / MANIFEST} does not list {name}: export the bundle again")
        path = self.folder / name
        if not path.is_file():
            raise BundleError(f"{path} is missing: copy or export the bundle again")
        if path.stat().st_size != entry.bytes or sha256(path) != entry.sha256:
            raise BundleError(f"{path} is not the file that was exported (sha256 differs): copy or export it again")
        self._checked.add(name)
        return path

    def variant(self, precision: str, depth: int | None, provider: str = CPU) -> Variant:
        """Return the variant of a precision and depth (None: full depth) that suits this machine's processor best.

        On another provider than the processor it is the one made for `cuda`, of several the one that suits the
        processor, which computes what is left to it. `UsageError` lists what there is.
        """
        wanted = self.manifest.depths[-1] if depth is None else depth
        made = [v for v in self.manifest.variants if v.precision == precision and v.depth == wanted]
        if made:
            here = this_target()
            wants = here if provider == CPU else CUDA
            return max(made, key=lambda one: (fitness(one.target, wants), fitness(one.target, here)))  # first of equals
        there = ", ".join(f"{v.precision} at depth {v.depth}" for v in self.manifest.variants)
        raise UsageError(f"{self.folder} has no {precision} at depth {wanted}; it has {there}")

    @property
    def has_old_index(self) -> bool:
        """Whether the bundle has an index that an earlier version made and this one cannot open."""
        return self.manifest.index is None and any(name.startswith("index/") for name in self.manifest.files)

    @property
    def input_files(self) -> tuple[str, ...]:
        """The files that every variant needs for its inputs: a tokenizer, or none for images."""
        return () if self.manifest.encoder.image else (TOKENIZER,)

    def precisions(self) -> tuple[str, ...]:
        """Return the precisions of the bundle in the order they were exported."""
        return tuple(dict.fromkeys(variant.precision for variant in self.manifest.variants))

    def leanest(self, depth: int | None, provider: str = CPU) -> Variant:
        """Return the variant with the smallest weights at a depth (None: full depth)."""
        there = [self.variant(precision, depth, provider) for precision in self.precisions()]
        return min(there, key=lambda variant: self.manifest.files[variant.weights].bytes)

    def graph(self, variant: Variant, dim: int | None) -> Graph:
        """Return the graph of one dimension (None: the one of all dimensions)."""
        for graph in variant.graphs:
            if graph.dim == dim:
                return graph
        dims = ", ".join(str(d) for d in self.manifest.dims)
        raise UsageError(f"{self.folder} has no graph for dimension {dim}; its dimensions are {dims}")

    def model_bytes(self, variant: Variant, dim: int) -> int:
        """Return the bytes on disk that one configuration needs: graph, weights, tokenizer if any, manifest."""
        names = (self.graph(variant, dim).file, variant.weights, *self.input_files)
        manifest = (self.folder / MANIFEST).stat().st_size
        return manifest + sum(self.manifest.files[name].bytes for name in names)

    def check_variant(self, variant: Variant) -> None:
        """Compare every file that a variant needs with the manifest, as `checked` does for one."""
        for name in (*self.input_files, variant.weights, *(graph.file for graph in variant.graphs)):
            self.checked(name)

    def identity(self) -> str:
        """Return the SHA-256 of what the model is: the manifest without its index, which may come and go."""
        manifest = self.manifest
        files = {name: entry for name, entry in manifest.files.items() if not name.startswith("index/")}
        model = msgspec.structs.replace(manifest, index=None, files=files)
        return hashlib.sha256(msgspec.json.encode(model, order="deterministic")).hexdigest()


def open_bundle(folder: str | Path) -> Bundle:
    """Open a bundle and validate its manifest; files are hashed when they are used, by `Bundle.checked`.

    Raises `BundleError` when the manifest is missing, damaged, or of a newer schema.
    """
    folder = Path(folder)
    path = folder / MANIFEST
    if not path.is_file():
        raise BundleError(f"{folder} is no bundle (it has no {MANIFEST}): make one with mrl-edge export")
    content = path.read_bytes()
    try:
        version = msgspec.json.decode(content, type=_Version).schema_version
        if version > SCHEMA_VERSION:
            raise BundleError(f"{path} has schema_version {version}, newer than this mrl-edge reads: upgrade mrl-edge")
        manifest = msgspec.json.decode(content, type=Manifest) if version > 1 else _decode_first(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BundleError(f"{path} is damaged ({error}): copy or export the bundle again") from None
    _check_names(path, manifest.files)
    return Bundle(folder, manifest)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `bundle.json` so that it is either the old one or the new one."""
    content = msgspec.json.format(msgspec.json.encode(manifest, order="deterministic"), indent=2)
    write_file(folder / MANIFEST, content + b"\n")


def file_entries(folder: Path, names: Sequence[str]) -> dict[str, FileEntry]:
    """Return the size and hash of each named file of a folder."""
    return {name: FileEntry((folder / name).stat().st_size, sha256(folder / name)) for name in names}


def _decode_first(content: bytes) -> Manifest:
    """Read a manifest of schema 1, whose index this version cannot open: its files stay listed until it is replaced."""
    read = msgspec.json.decode(content)
    return msgspec.convert({**read, "schema_version": SCHEMA_VERSION, "index": None}, Manifest)


class _Version(msgspec.Struct):
    schema_version: int


def _check_names(path: Path, names: Iterable[str]) -> None:
    for name in names:
        parts = Path(name).parts
        if Path(name).is_absolute() or ".." in parts:
            raise BundleError(f"{path} names a file outside the bundle: {name}")
        if not name.isprintable():  # a name reaches terminals
            raise BundleError(f"{path} names a file with unprintable characters: {name!a}")
