"""How many documents that are no answers stand before an answer: what tells how metrics fall as a corpus grows.

An answer before which k - 1 of n documents stand has about as many before it in a corpus twice as large as one with
2k - 1 of n has: so one search of one corpus tells the metrics of many sizes (`bench/growth.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mrl_edge.nesting import Floats

# Fewer documents than so many stand before: ten times the ten that are looked at, each about 1.4 times the one before.
COUNTS = (*range(1, 11), 14, 20, 28, 40, 56, 80, 100)
_BLOCK = 256


def answers_within(queries: Floats, documents: Floats, relevant: Sequence[frozenset[int]]) -> dict[int, float]:
    """Return for each of COUNTS the share of answers before which fewer documents stand that are no answers.

    `queries` [n, d] and `documents` [m, d] are float32, L2-normalised; the share is the mean over the queries.
    """
    counts, shares = np.array(COUNTS), np.zeros(len(COUNTS))
    most = min(COUNTS[-1], len(documents))
    for start in range(0, len(queries), _BLOCK):
        scores = queries[start : start + _BLOCK] @ documents.T
        for line, answers in zip(scores, relevant[start : start + _BLOCK], strict=True):
            places = sorted(answers)
            own = line[places]
            line[places] = -np.inf  # an answer stands in no answer's way
            best = np.sort(np.partition(line, len(line) - most)[-most:])
            above = most - np.searchsorted(best, own, side="right")
            shares += (above[:, None] < counts).mean(axis=0)
    return dict(zip(COUNTS, (shares / max(1, len(queries))).tolist(), strict=True))
