"""A living process of one configuration: `python -m mrl_edge.bench.worker JOB`, a pass over the texts for every line.

Like the measuring process it imports the runtime alone.
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
from mrl_edge.bench.jobs import EncodeJob
from mrl_edge.bench.serving import serve

import mrl_edge


def main(job_path: str) -> None:
    """Load the configuration and encode its texts, one at a time, until the standard input closes."""
    job = msgspec.json.decode(Path(job_path).read_bytes(), type=EncodeJob)
    wanted = job.configuration
    variant = wanted.precision, wanted.depth
    encoder = mrl_edge.load(job.bundle, wanted.dim, *variant, wanted.threads, provider=wanted.provider)
    texts, role = job.sample.texts, job.sample.role
    serve(lambda number: encoder.encode(texts[number : number + 1], role)[0], len(texts))


if __name__ == "__main__":
    main(*sys.argv[1:])
