"""Whether a machine makes the same vectors of a bundle as the one that sent it: before anything is timed there."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from mrl_edge.bench import jobs
from mrl_edge.bench.place import variant_name
from mrl_edge.bench.processes import run_job

from mrl_edge.bundle import Bundle, Variant
from mrl_edge.errors import UnsupportedError
from mrl_edge.providers import CPU

_TEXTS = 16
# The least cosine of two vectors of one text. fp32 differs in the order of sums alone; where activations are rounded,
# one that lies between two steps may take the other. What is beyond this is an instruction that saturates, or damage.
_LEAST_COSINE = {"fp32": 0.9999, "fp16": 0.999}
_LEAST_OF_INTEGERS = 0.99


def vectors_of(bundle: Bundle, variants: Iterable[Variant], sample: jobs.LatencySample, work: Path) -> dict[str, bytes]:
    """Return this machine's vectors of each variant. Raises `UnsupportedError` for one that it cannot run."""
    found = {}
    for variant in variants:
        answer = _vectors(bundle, variant, sample, work, CPU)
        if isinstance(answer, jobs.Failure):
            raise UnsupportedError(f"{variant_name(variant)} does not run here, to compare with: {answer.reason}")
        found[variant_name(variant)] = answer.vectors
    return found


def compare(
    bundle: Bundle, variant: Variant, sample: jobs.LatencySample, expected: bytes, work: Path, provider: str = CPU
) -> float | jobs.Failure:
    """Return the least cosine between this machine's vectors and the expected ones; a `Failure` where that is too low.

    All are normalised; ours are of one provider. `expected` is what `vectors_of` returns of the same bundle and sample.
    """
    answer = _vectors(bundle, variant, sample, work, provider)
    if isinstance(answer, jobs.Failure):
        return answer
    shape = (-1, bundle.manifest.dims[-1])
    ours, theirs = (np.frombuffer(raw, "<f4").reshape(shape) for raw in (answer.vectors, expected))
    if ours.shape != theirs.shape:
        return jobs.Failure("failed", f"the host sent {len(theirs)} vectors to compare with, not {len(ours)}")
    cosine = float((ours * theirs).sum(axis=1).min())
    least = _LEAST_COSINE.get(variant.precision, _LEAST_OF_INTEGERS)
    if not cosine >= least:  # NaN too
        whose = "the host's" if provider == CPU else "the processor's"
        what = f"vectors differ from {whose}: cosine {cosine:.4f}, and {variant.precision} needs {least}"
        return jobs.Failure("failed", f"{what}; nothing was timed")
    return cosine


def _vectors(
    bundle: Bundle, variant: Variant, sample: jobs.LatencySample, work: Path, provider: str
) -> jobs.VectorsResult | jobs.Failure:
    few = jobs.LatencySample(sample.texts[:_TEXTS], sample.role)
    job = jobs.VectorsJob(str(bundle.folder.absolute()), variant.precision, variant.depth, few, provider)
    return run_job(job, jobs.VectorsResult, work, 1)
