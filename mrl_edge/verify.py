"""Whether a bundle is what was exported, and computes here what PyTorch computed there.

Every file is hashed again, and every graph runs on the texts or images that the bundle carries. Needs no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from mrl_edge.bundle import Bundle, Graph, Samples, Variant
from mrl_edge.encoder import open_encoder, open_nested
from mrl_edge.errors import BundleError
from mrl_edge.metrics import mean_and_min_cosine
from mrl_edge.nesting import Floats, prefix
from mrl_edge.progress import Report, silent

# A quantised graph scales its activations by the batch, and kernels differ from processor to processor: what is
# missing from a cosine of 1 may grow by half; fp32 has 1e-4.
_GROWTH, _LEAST = 0.5, 1e-4


@dataclass(frozen=True)
class GraphCheck:
    """One graph run here: the cosines to PyTorch now, and the least that the manifest's figures allow."""

    file: str
    cosine_mean: float
    cosine_min: float
    least_mean: float
    least_min: float

    @property
    def holds(self) -> bool:
        """Whether both cosines are what the manifest promises; NaN is not."""
        return self.cosine_mean >= self.least_mean and self.cosine_min >= self.least_min


@dataclass(frozen=True)
class Verification:
    """What was checked, and a line for each thing that is wrong."""

    files: int
    graphs: tuple[GraphCheck, ...]
    not_run: tuple[str, ...]  # graphs whose files are broken
    problems: tuple[str, ...]


def verify(bundle: Bundle, threads: int | None = None, report: Report = silent) -> Verification:
    """Hash every file of a bundle, then run every graph whose files are whole."""
    problems = []
    broken: set[str] = set()
    for number, name in enumerate(bundle.manifest.files):
        report("hashing", number, len(bundle.manifest.files))
        try:
            bundle.checked(name)
        except BundleError as error:
            broken.add(name)
            problems.append(str(error))
    report("hashing", len(bundle.manifest.files), len(bundle.manifest.files))
    checks, not_run, failed = _run_graphs(bundle, broken, threads, report)
    return Verification(len(bundle.manifest.files), checks, not_run, (*problems, *failed))


def _run_graphs(
    bundle: Bundle, broken: set[str], threads: int | None, report: Report
) -> tuple[tuple[GraphCheck, ...], tuple[str, ...], tuple[str, ...]]:
    samples = bundle.manifest.samples
    graphs = [(variant, graph) for variant in bundle.manifest.variants for graph in variant.graphs]
    if samples is None:
        return (
            (),
            tuple(graph.file for _, graph in graphs),
            ("the bundle has no texts to verify with: export it again",),
        )
    checks, not_run, problems = [], [], []
    for number, (variant, graph) in enumerate(graphs):
        report("running graphs", number, len(graphs), graph.file)
        if broken & {graph.file, variant.weights, *bundle.input_files, *samples.files}:
            not_run.append(graph.file)
            continue
        try:
            check = _check(bundle, variant, graph, samples, threads)
        except BundleError as error:
            problems.append(str(error))
            continue
        checks.append(check)
        if not check.holds:
            problems.append(
                f"{bundle.folder / graph.file}: cosine to PyTorch {check.cosine_mean:.5f} in the mean and "
                f"{check.cosine_min:.5f} at least, below {check.least_mean:.5f} and {check.least_min:.5f}"
            )
    report("running graphs", len(graphs), len(graphs))
    return tuple(checks), tuple(not_run), tuple(problems)


def _check(bundle: Bundle, variant: Variant, graph: Graph, samples: Samples, threads: int | None) -> GraphCheck:
    texts, reference = _read(bundle, samples, variant.depth)
    mean = least = 1.0
    for dim, ours in _embed(bundle, variant, graph, texts, threads).items():
        cosines = mean_and_min_cosine(ours, prefix(reference, dim))
        mean, least = float(np.minimum(mean, cosines[0])), float(np.minimum(least, cosines[1]))  # a NaN stays
    stated = graph.fidelity
    return GraphCheck(graph.file, mean, least, _least(stated.cosine_mean), _least(stated.cosine_min))


def _least(stated: float) -> float:
    return stated - _LEAST - _GROWTH * max(0.0, 1 - stated)


def _embed(
    bundle: Bundle, variant: Variant, graph: Graph, texts: Sequence[str], threads: int | None
) -> dict[int, Floats]:
    """Return [n, dim] a dimension of the graph; the texts go in one by one, as on a device."""
    if graph.dim is not None:
        one = open_encoder(bundle, variant, graph.dim, threads)
        return {graph.dim: one.encode(texts, batch_size=1)}
    return open_nested(bundle, variant, threads).encode(texts, batch_size=1)


def _read(bundle: Bundle, samples: Samples, depth: int) -> tuple[list[str], Floats]:
    """Return the texts, or the images' paths, and float32 [n, full], PyTorch's embeddings of them at a depth."""
    path = bundle.checked(samples.embeddings)
    shape = (len(bundle.manifest.depths), samples.count, bundle.manifest.dims[-1])
    stored = np.fromfile(path, dtype="<f4")
    try:
        texts = [str(bundle.checked(name)) for name in samples.images]
        if not texts:
            texts = msgspec.json.decode(bundle.checked(samples.texts).read_bytes(), type=list[str])
        return texts, stored.reshape(shape)[bundle.manifest.depths.index(depth)]
    except ValueError as error:  # msgspec's and numpy's alike
        raise BundleError(f"{path} does not fit the manifest ({error}): export the bundle again") from None
