"""What `make peers` measured of other software, as `python bench/peers/compare.py --json` prints it."""

from __future__ import annotations

from pathlib import Path

import msgspec

from mrl_edge.errors import ResultsError


class Peer(msgspec.Struct, frozen=True):
    """One way to run the same model; `failed` says why it has no figures. Ratios are to ours in int8."""

    peer: str
    failed: str | None = None
    p50_ms: float | None = None
    time_ratio: float | None = None
    time_ratio_ci95: tuple[float, float] | None = None
    same_precision_ratio: float | None = None
    peak_rss_mb: float | None = None
    rss_ratio: float | None = None
    cosine_mean: float | None = None
    cosine_min: float | None = None


class _File(msgspec.Struct):
    rows: tuple[Peer, ...]


def read_peers(path: Path) -> tuple[Peer, ...]:
    """Read a file of peers; `ResultsError` says what is wrong with it."""
    if not path.is_file():
        raise ResultsError(f"{path}: no such file of peers: python bench/peers/compare.py --json prints one")
    try:
        return msgspec.json.decode(path.read_bytes(), type=_File).rows
    except msgspec.DecodeError as error:
        raise ResultsError(f"{path} is no file of peers, or damaged: {error}") from None
