"""Search at the largest of a bundle's dimensions that answers within a deadline, as measured here and now.

    python examples/search_within_deadline.py quickstart/bundle "a small stringed instrument" --deadline-ms 5

The encoder takes the same time at every dimension; what a smaller one saves is in the search.
"""

import argparse
import statistics
import time

from mrl_edge.bundle import open_bundle
from mrl_edge.index.corpus import require_index
from mrl_edge.search import Search

CALLS = 30  # timed, after as many to warm up


def p90_ms(search: Search, query: str) -> float:
    """Return the 90th percentile of what one query takes as a whole, from its text to its hits."""
    times = []
    for _ in range(2 * CALLS):
        started = time.perf_counter_ns()
        search(query)
        times.append((time.perf_counter_ns() - started) / 1e6)
    return statistics.quantiles(times[CALLS:], n=10)[-1]


def best_within(bundle: str, query: str, deadline_ms: float) -> tuple[Search, int, float]:
    """Return the search, its dimension and its p90: the largest in time, or the smallest where none is."""
    for sized in reversed(require_index(open_bundle(bundle)).sizes):
        search = Search(bundle, sized.dim, threads=1)
        measured = p90_ms(search, query)
        if measured <= deadline_ms:
            break
    return search, sized.dim, measured


def main() -> None:
    """Print the hits, and which dimension they are of."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle")
    parser.add_argument("query")
    parser.add_argument("--deadline-ms", type=float, default=5.0)
    given = parser.parse_args()
    search, dim, measured = best_within(given.bundle, given.query, given.deadline_ms)
    in_time = "within" if measured <= given.deadline_ms else "the fastest, but not within"
    print(f"dimension {dim}, p90 {measured:.2f} ms: {in_time} {given.deadline_ms:g} ms")
    for hit in search(given.query, k=5):
        print(f"{hit.score:.3f}  {hit.text}")


if __name__ == "__main__":
    main()
