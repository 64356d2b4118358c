"""What a tuning needs of vectors, in a folder."""

from mrl_edge.description import VectorsInfo
from mrl_edge.index.build import Embedded
from mrl_edge.index.reference import exact_in_pieces
from mrl_edge.index.tune import order_by_lists
from mrl_edge.index.vectors import VectorStore, VectorWriter
from mrl_edge.progress import silent

DIMS = (8, 32, 64)
KINDS = ("ivf", "binary", "annoy", "scan")


def ground_in(folder, vectors):
    """What tuning needs of the vectors, in a folder."""
    info = VectorsInfo("v", "l", "int8", DIMS, len(vectors))
    writer = VectorWriter(info, folder / "vectors.bin", folder / "lengths.f32")
    writer.write(0, vectors)
    writer.close()
    queries = vectors[::80]
    reference = exact_in_pieces(queries, [(0, vectors)], 10)
    store = VectorStore(info, folder / "vectors.bin", folder / "lengths.f32")
    return order_by_lists(Embedded(store, queries, reference), folder, silent)
