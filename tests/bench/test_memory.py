import json
import resource
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from mrl_edge.bench.memory import read_memory

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

MB = 1_000_000
BLOCK = 200 * 1024 * 1024  # 5% above 200 MB: the kernel's counters are approximate
READ = "import dataclasses, json, subprocess, sys; from mrl_edge.bench.memory import read_memory as read\n"


def _run(script):
    done = subprocess.run([sys.executable, "-c", READ + script], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_the_peak_remembers_what_was_allocated_and_freed():
    before, holding, after = _run(
        f"found = [read()]; block = b'x' * {BLOCK}; found.append(read()); del block; found.append(read())\n"
        "print(json.dumps([dataclasses.asdict(memory) for memory in found]))"
    )
    for name in ("rss", "pss", "uss"):
        assert holding[name] - before[name] >= 200 * MB
        assert after[name] - before[name] < 100 * MB
    assert before["peak_rss"] < 200 * MB
    assert 200 * MB <= after["peak_rss"] - before["rss"] < 300 * MB


def test_a_child_does_not_inherit_the_peak_of_a_large_parent():
    child = READ + "print(json.dumps([read().peak_rss]))"
    parent_peak, child_peak = _run(
        f"block = b'x' * {BLOCK}\n"
        f"child = subprocess.run([sys.executable, '-c', {child!r}], capture_output=True, text=True, check=True)\n"
        "print(json.dumps([read().peak_rss, *json.loads(child.stdout)]))"
    )
    assert parent_peak >= 200 * MB
    assert 0 < child_peak < 200 * MB


def test_memory_equals_what_psutil_reads():
    theirs = psutil.Process().memory_full_info()
    ours = read_memory()
    assert (ours.rss, ours.pss, ours.uss) == pytest.approx((theirs.rss, theirs.pss, theirs.uss), rel=0.01)


def test_the_unique_is_within_the_shared_and_all_within_the_peak():
    memory = read_memory()
    assert 0 < memory.uss <= memory.pss <= memory.rss + MB
    assert memory.rss <= memory.peak_rss


def _without(monkeypatch, names):
    read_text = Path.read_text

    def refuse(path, *args, **kwargs):
        if path.name in names:
            raise OSError
        return read_text(path, *args, **kwargs)

    monkeypatch.setattr(Path, "read_text", refuse)


def test_a_kernel_without_a_rollup_says_nothing_of_sharing(monkeypatch):
    _without(monkeypatch, {"smaps_rollup"})
    memory = read_memory()
    assert memory.peak_rss >= memory.rss > 0
    assert memory.pss is None
    assert memory.uss is None


def test_without_proc_the_peak_is_that_of_getrusage(monkeypatch):
    _without(monkeypatch, {"status", "smaps_rollup"})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    memory = read_memory()
    assert before <= memory.peak_rss <= resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    assert memory.pss is None
    assert memory.uss is None
