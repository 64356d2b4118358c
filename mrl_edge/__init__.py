"""Matryoshka embeddings on small devices: load a bundle, encode texts at the dimension that fits.

import mrl_edge
encoder = mrl_edge.load("bundle", dim=64, precision="int8")
vectors = encoder.encode(["a small musical phrase"])  # float32 [1, 64], rows L2-normalised
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mrl_edge import quiet as quiet  # before anything imports onnxruntime
from mrl_edge.errors import MrlEdgeError

if TYPE_CHECKING:
    from mrl_edge.encoder import Encoder, load

__all__ = ["Encoder", "MrlEdgeError", "__version__", "load"]
__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    # numpy and onnxruntime are loaded at first use, so that `mrl-edge --help` is instant.
    if name in ("Encoder", "load"):
        from mrl_edge import encoder

        return getattr(encoder, name)
    raise AttributeError(f"module 'mrl_edge' has no attribute {name!r}")
