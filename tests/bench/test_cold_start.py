"""What belongs to a cold start: the runtime's imports, and none that only measuring makes."""

import subprocess
import sys
import time

import msgspec
import pytest
from mrl_edge.bench import jobs

# As `python -m mrl_edge.bench.child` runs, with one import that takes most of a second more.
SCRIPT = """
import sys, time
spawned = time.monotonic_ns()
module, job, answer = sys.argv[1:]

class Slow:
    def find_spec(self, name, path, target=None):
        if name == module:
            time.sleep(0.8)

sys.meta_path.insert(0, Slow())
from mrl_edge.bench.child import main
main(job, answer, str(spawned))
print((time.monotonic_ns() - spawned) / 1e6)
"""


@pytest.mark.parametrize(("module", "belongs"), [("mrl_edge.bench.jobs", False), ("tokenizers", True)])
def test_the_runtimes_imports_belong_to_a_cold_start_and_the_harness_own_do_not(tiny_bundle, tmp_path, module, belongs):
    measure = jobs.MeasureJob(
        bundle=str(tiny_bundle), precision="int8", depth=2, threads=1, sample=jobs.LatencySample(["a word"], "query"),
        dim=16, prepared=None, tokens=None, max_seconds=0.1,
    )  # fmt: skip
    job, answer = tmp_path / "job.json", tmp_path / "answer.json"
    jobs.write(job, jobs.FirstJob(measure))
    done = subprocess.run([sys.executable, "-c", SCRIPT, module, job, answer], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    cold_ms, wall_ms = msgspec.json.decode(answer.read_bytes())["cold_start_ms"], float(done.stdout)
    assert 0 < cold_ms < wall_ms
    if belongs:
        assert cold_ms > 800
    else:
        assert wall_ms - cold_ms > 800


def test_a_text_that_is_sought_for_a_length_belongs_to_no_first_vector(tiny_bundle, tmp_path, monkeypatch):
    from mrl_edge.bench import child

    real = child._text_of
    monkeypatch.setattr(child, "_text_of", lambda *arguments: time.sleep(0.5) or real(*arguments))
    measure = jobs.MeasureJob(
        bundle=str(tiny_bundle), precision="int8", depth=2, threads=1,
        sample=jobs.LatencySample(["one word after another"], "query"),
        dim=16, prepared=None, tokens=8, max_seconds=0.1,
    )  # fmt: skip
    spawned = time.monotonic_ns()
    opened = child._open(measure, child._Began(spawned, 0.0, 0))
    wall_ms = (time.monotonic_ns() - spawned) / 1e6
    assert wall_ms - opened.cold_start_ms > 500
    assert opened.first_ms < opened.cold_start_ms
