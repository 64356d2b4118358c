"""NVML through its own library, on whatever machine this is: with a driver it answers, without it says why not."""

import os

import pynvml
from mrl_edge.devices.nvidia import Gpus, find_gpus


def has_driver():
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return False
    return True


def test_the_gpus_or_why_there_are_none():
    found = find_gpus()
    if not has_driver():
        assert found.startswith("NVML does not answer: ")
        return
    assert isinstance(found, Gpus)
    assert found.read_w() >= 0
    assert 0 < found.temperature_c() < 150
    assert found.memory_bytes({os.getpid()}) is None  # this process holds none


def test_without_the_library_the_reason_names_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pynvml", None)
    assert "pip install 'mrl-edge[nvidia]'" in find_gpus()
