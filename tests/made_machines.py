"""Results of machines that are made by arithmetic: each is exactly so many times as fast as another."""

from pathlib import Path

import msgspec
from mrl_edge.bench.machines import machines_of
from mrl_edge.bench.results import Bandwidth, Ceilings, Roofline, SearchResult, Work
from rows import measurement, results

from mrl_edge import devices

FOLDER = Path(devices.__file__).parent
# What a Cortex-A76 of 1 GHz does at most by `devices/ceilings.py`, at 1 and 2 threads, with 10 GB/s of memory.
CEILINGS = tuple(Ceilings(n, 16.0 * n, 64.0 * n, (Bandwidth(1, 10.0),), "now") for n in (1, 2))
WORK = {
    "fp32": Work(7 * 10**8, 0, 0, 45 * 10**6),
    "int8": Work(7 * 10**8, 6 * 10**8, 0, 12 * 10**6),
    "int4": Work(7 * 10**8, 0, 6 * 10**8, 8 * 10**6),
    "fp16": Work(7 * 10**8, 0, 7 * 10**8, 23 * 10**6),
}
SEARCH_MS = 0.5
EMPTY = results()


def row(precision="fp32", dim=64, *, ms=100.0, threads=1, search_ms=SEARCH_MS, target="any"):
    made = measurement(
        precision, dim, threads=threads, encode_ms=ms, search_ms=search_ms, rss_mb=110, disk_mb=24, recall=0.6
    )
    return msgspec.structs.replace(made, target=target, roofline=Roofline(WORK[precision], 1.0, "compute", 0.5))


def machine(name, *rows, speed=1.0, arch="aarch64", features=("asimd", "asimdhp", "asimddp"), ceilings=CEILINGS):
    """Results of a machine that is `speed` times as fast as `rows` and `ceilings` say, in everything."""

    def faster(one):
        def timed(query):
            return msgspec.structs.replace(
                query,
                p50_ms=query.p50_ms / speed, p90_ms=query.p90_ms / speed, p99_ms=query.p99_ms / speed,
                ci95_ms=tuple(end / speed for end in query.ci95_ms),
            )  # fmt: skip

        search: SearchResult = one.search
        return msgspec.structs.replace(
            one,
            encode=timed(one.encode),
            query=timed(one.query),
            search=msgspec.structs.replace(search, p50_ms=search.p50_ms / speed, p99_ms=search.p99_ms / speed),
        )

    device = msgspec.structs.replace(EMPTY.device, cpu=name, arch=arch, features=tuple(features))
    rates = tuple(
        Ceilings(
            one.threads, one.fp32_gops * speed, one.int8_gops * speed,
            tuple(Bandwidth(b.bytes, b.gb_per_s * speed) for b in one.bandwidths), one.measured,
        )
        for one in ceilings
    )  # fmt: skip
    return msgspec.structs.replace(EMPTY, device=device, ceilings=rates, measurements=tuple(map(faster, rows)))


def read(*made, profiles=None):
    return machines_of(made, profiles or {})


def profile(tmp_path, **changes):
    """A Raspberry Pi 5 with other figures, as a file of a user's own."""
    text = (FOLDER / "pi-5-8gb.toml").read_text(encoding="utf-8")
    for before, after in changes.items():
        assert before in text
        text = text.replace(before, after)
    path = tmp_path / "myboard.toml"
    path.write_text(text, encoding="utf-8")
    return path


FLOOR = 1.1  # however well machines agree
ALL = (row("fp32", 64), row("fp32", 384, ms=101), row("int8", 64, ms=30), row("int8", 64, ms=18, threads=2))


def changed(content, *rows):
    return msgspec.structs.replace(content, measurements=rows)
