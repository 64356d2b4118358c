"""Choices as `mrl-edge pick --json` writes them."""

import json

from mrl_edge.bundle import open_bundle


def write_choice(bundle, path, fits=True, sha256=None, **changes):
    """Write a choice about a bundle, by default a scan of fp32 at dimension 10 and depth 2, and return its path."""
    opened = open_bundle(bundle)
    configuration = {
        "precision": "fp32", "target": "any", "depth": 2, "dim": 10, "threads": 1, "runtime": [], "index": "scan",
        "parameters": {}, "vectors": "fp32", "shortlist": None, "rerank_dim": None, **changes,
    }  # fmt: skip
    name = {"name": opened.manifest.name, "sha256": sha256 or opened.identity()}
    path.write_text(json.dumps({"fits": fits, "bundle": name, "configuration": configuration}))
    return path
