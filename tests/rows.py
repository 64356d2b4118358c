"""Measurements with chosen figures, for the parts that only read them."""

from mrl_edge.bench.results import (
    SCHEMA_VERSION,
    BundleRef,
    Disk,
    Encode,
    IndexPlan,
    Measurement,
    Memory,
    Quality,
    Query,
    Results,
    SearchResult,
)
from mrl_edge.devices.local import describe


def measurement(
    precision, dim, *, threads=1, encode_ms=1.0, search_ms=None, rss_mb=100, disk_mb=20,
    ndcg=0.5, recall=None, accuracy=None,
) -> Measurement:  # fmt: skip
    """A successful row on real texts."""
    search = query = None
    if search_ms is not None:
        whole = encode_ms + search_ms
        query = Query(whole, whole, whole, whole, (whole, whole), 100, True)
        search = SearchResult("annoy", 1000, None, None, search_ms, search_ms, 0.1, 0.96)
    return Measurement(
        precision=precision,
        target="any",
        depth=6,
        dim=dim,
        provider="CPUExecutionProvider",
        threads=threads,
        batch=1,
        tokens=None,
        status="ok",
        plan=IndexPlan("annoy") if search else None,
        encode=Encode(
            encode_ms, encode_ms, encode_ms, encode_ms, (encode_ms, encode_ms), 100, True, tokenise_p50_ms=0.1
        ),
        cold_start_ms=300,
        load_ms=200,
        first_ms=5,
        query=query,
        memory=Memory(round(rss_mb * 1e6), round(rss_mb * 1e6), None, None, 10_000_000),
        disk=Disk(round(disk_mb * 1e6), 0, 0),
        search=search,
        quality=Quality(ndcg_at_10=ndcg, recall_at_10=recall, accuracy=accuracy),
    )


def results(*rows: Measurement, training=None, name="model") -> Results:
    """A results file's content."""
    bundle = BundleRef(name, "0" * 64, training or {})
    return Results(SCHEMA_VERSION, bundle, describe(), {"data": "dev.csv"}, rows)
