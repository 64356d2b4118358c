"""A ship from top to bottom: levels → indexes → graphs and weights → documents → modules → manifest → check."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from mrl_edge.app import MANIFEST, SCHEMA_VERSION, AppInfo, ShippedIndex, ShippedLevel
from mrl_edge.atomic import new_folder
from mrl_edge.bundle import Bundle, file_entries
from mrl_edge.choice import Configuration
from mrl_edge.description import TOKENIZER
from mrl_edge.errors import UnsupportedError
from mrl_edge.export.repack import repack  # first, as it needs onnx, which reading a bundle does not
from mrl_edge.index.corpus import require_index
from mrl_edge.progress import Report
from mrl_edge.providers import CPU, GPU_PACKAGE, TENSORRT, check_provider, package_version
from mrl_edge.ship.archive import write_archive
from mrl_edge.ship.check import Check, check
from mrl_edge.ship.levels import Wanted
from mrl_edge.ship.manifest import AppManifest
from mrl_edge.ship.modules import copy_modules
from mrl_edge.ship.reference import references
from mrl_edge.ship.searched import Made, make_indexes, read_bytes, write_indexes
from mrl_edge.ship.unit import unit

_MODEL = "model"
_LESS = 0.95  # of what a better level of its depth reads: with more than that a level is no use
_NEEDS = ("numpy", "tokenizers")  # and onnxruntime, and what the kind of index is of
_KINDS = {"annoy": "annoy", "hnsw": "usearch"}


@dataclass(frozen=True)
class Shipped:
    """What was written, what had to be done for it, and what the check saw."""

    folder: str
    levels: tuple[str, ...]
    bytes: dict[str, int]  # by part: weights, graphs, tokenizer, index, documents, code
    total_bytes: int
    requirements: tuple[str, ...]
    notes: tuple[str, ...]
    check: Check
    packed_by: str | None  # what compressed the archive, if there is one


def ship(
    bundle: Bundle,
    configuration: Configuration,
    levels: Sequence[Wanted],
    out: Path,
    fresh: bool,
    systemd: bool,
    archive: Path | None,
    report: Report,
) -> Shipped:
    """Write the folder of a choice, checked, and its archive, or nothing; `fresh` checks it in a new environment.

    `levels` are best first. Raises `UnsupportedError` for what cannot be shipped, among it a choice on a provider that
    is not here to check it with, and `BundleError` where the folder does not answer as the bundle does.
    """
    if bundle.manifest.encoder.image is not None:
        raise UnsupportedError(f"{bundle.folder} embeds images, which cannot be shipped yet: use mrl-edge deploy")
    if systemd and configuration.provider != CPU:
        raise UnsupportedError(f"--systemd's unit sees no GPU, and the choice was measured on {configuration.provider}")
    if configuration.provider == TENSORRT:  # no folder of one has answered yet: requirements.txt names no TensorRT
        raise UnsupportedError(
            "a choice on tensorrt cannot be shipped yet: use mrl-edge deploy, or pick among other rows"
        )
    check_provider(configuration.provider)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as name:
        work, by = Path(name), None
        with new_folder(out) as folder:
            made = make_indexes(bundle, configuration, levels, work, report)
            info = _write(bundle, configuration, levels, made, folder, report)
            needs = _requirements(made, configuration.provider)
            _write_texts(info, needs, folder, out.name, systemd)
            _write_manifest(info, folder)
            seen = check(folder, references(bundle, levels, info, made), fresh, report)
            if systemd:
                _write_unit(info, seen, folder, out.name)
            parts = _sizes(folder)
            if archive:
                by = write_archive(folder, out.name, work / archive.name)
        if archive:
            (work / archive.name).replace(archive)
    notes = (*_notes(configuration, made), *gains_nothing(info))
    sizes = sum(parts.values())
    return Shipped(str(out), tuple(level.name for level in info.levels), parts, sizes, needs, notes, seen, by)


def gains_nothing(info: AppInfo) -> tuple[str, ...]:
    """Say which levels run the same layers as one before them and read about as much."""
    notes = []
    for number, level in enumerate(info.levels):
        for better in info.levels[:number]:
            if level.depth == better.depth and level.resident_bytes > _LESS * better.resident_bytes:
                saved = (better.resident_bytes - level.resident_bytes) / 1e6
                notes.append(
                    f"{level.name} gains next to nothing over {better.name}: it runs as many layers, and reads "
                    f"{saved:.2f} MB less of {better.resident_bytes / 1e6:.2f}; a smaller depth is faster"
                )
                break
    return tuple(notes)


def _write(
    bundle: Bundle,
    configuration: Configuration,
    levels: Sequence[Wanted],
    made: Sequence[Made],
    folder: Path,
    report: Report,
) -> AppInfo:
    manifest = bundle.manifest
    dims = [each.index.dim for each in made] or [level.dim for level in levels]
    graphs = [bundle.graph(level.variant, dim) for level, dim in zip(levels, dims, strict=True)]
    report("writing the graphs", 0, 1)
    weights = _repack(bundle, levels, [graph.file for graph in graphs], folder)
    report("writing the graphs", 1, 1)
    shutil.copyfile(bundle.checked(TOKENIZER), folder / TOKENIZER)
    indexes: list[ShippedIndex | None] = list(write_indexes(made, folder)) if made else [None] * len(levels)
    documents = _copy_documents(bundle, folder) if made else (None, None)
    copy_modules(folder, configuration.threads)
    shipped = []
    for level, graph, dim, index in zip(levels, graphs, dims, indexes, strict=True):
        name = f"{_MODEL}/{Path(graph.file).name}"
        size = weights[graph.file] + (folder / name).stat().st_size + (read_bytes(index, folder) if index else 0)
        shipped.append(ShippedLevel(level.name, name, graph.inputs, dim, level.variant.depth, size, index))
    return AppInfo(
        schema_version=SCHEMA_VERSION,
        name=manifest.name,
        bundle_sha256=bundle.identity(),
        precision=configuration.precision,
        target=levels[0].variant.target,
        threads=configuration.threads,
        runtime=configuration.levers,
        provider=configuration.provider,
        encoder=manifest.encoder,
        classes=manifest.classes,
        levels=tuple(shipped),
        documents=documents[0],
        offsets=documents[1],
    )


def _write_unit(info: AppInfo, seen: Check, folder: Path, name: str) -> None:
    """Write the unit, now that it is known what memory an answer takes, and list it in the manifest."""
    peaks = [level.peak_rss_bytes for level in seen.levels]
    known = [peak for peak in peaks if peak is not None]
    sizes = [level.resident_bytes for level in info.levels]
    text = unit(name, max(known) if len(known) == len(peaks) else None, sum(sizes) - min(sizes))
    (folder / f"{name}.service").write_text(text, encoding="utf-8")
    _write_manifest(info, folder)


def _write_manifest(info: AppInfo, folder: Path) -> None:
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    names = [name for name in names if name != MANIFEST]
    said = msgspec.to_builtins(AppManifest(**vars(info), files=file_entries(folder, names)))
    (folder / MANIFEST).write_text(json.dumps(said, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _repack(bundle: Bundle, levels: Sequence[Wanted], files: Sequence[str], folder: Path) -> dict[str, int]:
    bundle.checked(levels[0].variant.weights)
    (folder / _MODEL).mkdir()
    paths = {bundle.checked(file): file for file in files}
    return {paths[path]: size for path, size in repack(list(paths), folder / _MODEL).items()}


def _copy_documents(bundle: Bundle, folder: Path) -> tuple[str, str]:
    info = require_index(bundle)
    names = []
    for file in (info.documents, info.offsets):
        names.append(f"index/{Path(file).name}")
        shutil.copyfile(bundle.checked(file), folder / names[-1])
    return names[0], names[1]


def _requirements(made: Sequence[Made], provider: str) -> tuple[str, ...]:
    """Return what the folder needs, in the versions that are here and made the reference."""
    package, name = ("onnxruntime",) * 2 if provider == CPU else ("onnxruntime-gpu", GPU_PACKAGE)
    runtime = f"{name}=={package_version(package)}"
    kinds = dict.fromkeys(_KINDS[each.shipped.kind] for each in made if each.shipped.kind in _KINDS)
    return (runtime, *(f"{name}=={package_version(name)}" for name in (*_NEEDS, *kinds)))


def _write_texts(info: AppInfo, needs: Sequence[str], folder: Path, name: str, systemd: bool) -> None:
    here = Path(__file__).with_name("files")
    shutil.copyfile(here / "example.py", folder / "example.py")
    (folder / "requirements.txt").write_text("\n".join(needs) + "\n", encoding="utf-8")
    levels = ", ".join(level.name for level in info.levels)
    lines = [
        f"{info.name}: {info.precision}, {levels}, as `mrl-edge ship` wrote it; app.json lists every file's sha256.",
        'pip install -r requirements.txt, then: python example.py "a text"',
        "The versions in requirements.txt are those of the machine that shipped and checked it: where a board has no",
        "wheel of one, take the nearest that it has, and compare an answer.",
    ]
    if systemd:
        shutil.copyfile(here / "serve.py", folder / "serve.py")
        lines.append(f"serve.py answers over HTTP; {name}.service runs it under systemd.")
    (folder / "README").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _notes(configuration: Configuration, made: Sequence[Made]) -> tuple[str, ...]:
    """Say what differs from what was measured."""
    notes = list(configuration.notes)
    if not made:
        return tuple(notes)
    n, measured = made[0].corpus.store.n, configuration.n_items
    notes += made[0].corpus.notes
    if any(each.built for each in made):
        notes.append(f"{made[0].shipped.kind} was built here with the choice's parameters, over {n:,} documents")
    if measured is not None and measured != n:
        notes.append(f"the choice was measured among {measured:,} documents, these are {n:,}: time and recall differ")
    return tuple(notes)


def _sizes(folder: Path) -> dict[str, int]:
    parts: dict[str, int] = {}
    for path in folder.rglob("*"):
        if path.is_file():
            part = _part(path.relative_to(folder))
            parts[part] = parts.get(part, 0) + path.stat().st_size
    return parts


def _part(path: Path) -> str:
    if path.parts[0] == _MODEL:
        return "weights" if path.suffix == ".bin" else "graphs"
    if path.parts[0] == "index":
        return "documents" if path.stem in ("documents", "offsets") else "index"
    return "tokenizer" if path.name == TOKENIZER else "code"
