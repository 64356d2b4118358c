"""Choices as `mrl-edge pick --json` writes them, folders made of them, and what must be found in these."""

import json

import numpy as np
from conftest import run_here

from mrl_edge.bundle import open_bundle
from mrl_edge.nesting import prefix

QUERIES = ("some words", "abc de f", "zyx")
K = 10


def write_choice(bundle, path, fits=True, sha256=None, n_items=None, **changes):
    """Write a choice about a bundle, by default a scan of fp32 at dimension 10 and depth 2, and return its path."""
    opened = open_bundle(bundle)
    configuration = {
        "precision": "fp32", "target": "any", "depth": 2, "dim": 10, "threads": 1, "runtime": [], "index": "scan",
        "parameters": {}, "vectors": "fp32", "shortlist": None, "rerank_dim": None, **changes,
    }  # fmt: skip
    name = {"name": opened.manifest.name, "sha256": sha256 or opened.identity()}
    path.write_text(json.dumps({"fits": fits, "bundle": name, "configuration": configuration, "n_items": n_items}))
    return path


def ship(bundle, choice, out, *options):
    done = run_here("ship", bundle, "--pick", choice, "--out", out, "--no-verify", *options)
    assert done.returncode == 0, done.stderr
    return done


def assert_exact(search, embedded, dim, documents, tolerance=1e-5):
    """Compare the hits of each query with numpy's order of the cosines."""
    stored, queries = embedded
    for query, vector in zip(QUERIES, prefix(queries, dim), strict=True):
        cosines = prefix(stored, dim) @ vector
        hits = search(query)
        assert [hit.text for hit in hits] == [documents[hit.id] for hit in hits]
        np.testing.assert_allclose([hit.score for hit in hits], np.sort(cosines)[::-1][:K], atol=tolerance)
        np.testing.assert_allclose(cosines[[hit.id for hit in hits]], [hit.score for hit in hits], atol=tolerance)


def funnel(stored, vector, *steps):
    """Return the ids that numpy has left after some steps, each a dimension and how many it keeps."""
    left = np.arange(len(stored))
    for dim, keep in steps:
        cosines = prefix(stored[left], dim) @ prefix(vector[None, :], dim)[0]
        left = left[np.argsort(-cosines, kind="stable")[:keep]]
    return left.tolist()
