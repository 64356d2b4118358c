"""The scripts of `bench/peers` as modules, which find each other as they do when they are run."""

import importlib.util
import sys
from pathlib import Path

import pytest

PEERS = Path(__file__).parents[1] / "bench" / "peers"


def load(name):
    """Return the script as a module."""
    spec = importlib.util.spec_from_file_location(f"peers_{name}", PEERS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # as dataclasses want it
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(PEERS)
        spec.loader.exec_module(module)
    return module
