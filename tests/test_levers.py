"""onnxruntime's levers change memory and time, never what is computed."""

import numpy as np
import onnxruntime as ort
import pytest

import mrl_edge
from mrl_edge.errors import UsageError
from mrl_edge.levers import LEVERS, pull


def test_each_lever_sets_one_thing():
    for name in LEVERS:
        options, plain = ort.SessionOptions(), ort.SessionOptions()
        pull(options, [name])
        changed = {
            "no-arena": options.enable_cpu_mem_arena is not plain.enable_cpu_mem_arena,
            "no-pattern": options.enable_mem_pattern is not plain.enable_mem_pattern,
            "no-prepack": _prepacking_is_off(options),
        }
        assert [lever for lever, is_set in changed.items() if is_set] == [name]


def _prepacking_is_off(options):
    try:
        return options.get_session_config_entry("session.disable_prepacking") == "1"
    except RuntimeError:  # it was never set
        return False


def test_the_vectors_are_the_same_with_all_levers(bundle):
    texts = ["a short musical passage", "a small stringed instrument"]
    plain = mrl_edge.load(bundle, 64, "fp32", threads=1).encode(texts)
    levered = mrl_edge.load(bundle, 64, "fp32", threads=1, levers=tuple(LEVERS)).encode(texts)
    assert np.abs(plain - levered).max() < 1e-5


def test_an_unknown_lever_is_named(bundle):
    with pytest.raises(UsageError, match="no-brakes"):
        mrl_edge.load(bundle, 64, levers=("no-brakes",))
