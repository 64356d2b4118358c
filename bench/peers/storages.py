"""What each way of storing vectors keeps: the share of the exact hits@10 that a scan of the stored ones finds.

    python bench/peers/storages.py [--folder quickstart] [--items 100000]

Over the documents and queries of `search_corpus.py`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from search_corpus import embedded, resampled

from mrl_edge.bundle import open_bundle
from mrl_edge.cli import console
from mrl_edge.description import VectorsInfo
from mrl_edge.errors import MrlEdgeError
from mrl_edge.index.reference import RunningTopK, exact_in_pieces
from mrl_edge.index.vectors import STORAGES, VectorStore, VectorWriter
from mrl_edge.metrics import overlap_at_k
from mrl_edge.nesting import default_dims


def main() -> None:
    """Write every store, scan each at the full dimension, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("quickstart"), help="where mrl-edge quickstart wrote")
    parser.add_argument("--items", type=int, default=100_000)
    options = parser.parse_args()
    try:
        documents, queries = embedded(open_bundle(options.folder / "bundle"))
    except MrlEdgeError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    full = documents.shape[1]
    best, rows = RunningTopK(queries, 10), []
    with tempfile.TemporaryDirectory() as folder:
        info = {name: VectorsInfo(name, f"{name}.f32", name, default_dims(full), options.items) for name in STORAGES}
        files = {name: (Path(folder) / i.file, Path(folder) / i.lengths) for name, i in info.items()}
        writers = [VectorWriter(info[name], *files[name]) for name in STORAGES]
        for first, piece in resampled(documents, options.items):
            best.add(first, piece)
            for writer in writers:
                writer.write(first, piece)
        for writer in writers:
            writer.close()
        for name in STORAGES:
            store = VectorStore(info[name], *files[name])
            found = exact_in_pieces(queries, store.pieces(full), 10)
            rows.append([name, store.block_bytes(full) / options.items, overlap_at_k(found, best.ids)])
    heads = ["vectors", "bytes a row", "share of the exact hits@10"]
    console.print_table(f"{options.items:,} items, {len(queries)} queries", heads, rows)


if __name__ == "__main__":
    main()
