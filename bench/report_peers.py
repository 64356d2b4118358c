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
    same_precision_ratio: float | None = None  # to ours in its own precision
    same_precision_ratio_ci95: tuple[float, float] | None = None
    peak_rss_mb: float | None = None
    rss_ratio: float | None = None
    cosine_mean: float | None = None
    cosine_min: float | None = None


class Peers(msgspec.Struct, frozen=True):
    """All of them, and where they were measured; files of earlier versions do not say."""

    rows: tuple[Peer, ...]
    machine: str | None = None
    bundle: str | None = None
    dim: int | None = None
    threads: int | None = None

    def where(self, machines: frozenset[str]) -> str:
        """Say it; `machines` are the processors of the page."""
        if self.machine is None:
            return "The file does not say of which machine, bundle and dimension: they may not be this page's."
        said = f"Of {self.bundle or 'a bundle'} on {self.machine}"
        said += "" if self.dim is None else f", at dimension {self.dim}"
        said += "" if self.threads is None else f", with {self.threads} thread{'' if self.threads == 1 else 's'}"
        return f"{said}." if self.machine in machines else f"{said}, which is none of the devices above."

    @property
    def slowest_ms(self) -> float:
        """The largest p50, for a bar's length; at least something."""
        return max((peer.p50_ms or 0.0 for peer in self.rows), default=0.0) or 1.0

    @property
    def largest_mb(self) -> float:
        """The same of the peak RSS."""
        return max((peer.peak_rss_mb or 0.0 for peer in self.rows), default=0.0) or 1.0


def read_peers(path: Path) -> Peers:
    """Read a file of peers; `ResultsError` says what is wrong with it."""
    if not path.is_file():
        raise ResultsError(f"{path}: no such file of peers: python bench/peers/compare.py --json prints one")
    try:
        return msgspec.json.decode(path.read_bytes(), type=Peers)
    except msgspec.DecodeError as error:
        raise ResultsError(f"{path} is no file of peers, or damaged: {error}") from None
