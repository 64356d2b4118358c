"""The scripts of `make peers` and its kin take minutes; that they start on this code is seen at once."""

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted(re.findall(r"bench/peers/\w+\.py", (ROOT / "Makefile").read_text()))


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_script_of_a_make_target_starts(script):
    if script.endswith("loadgen.py") and find_spec("mlperf_loadgen") is None:
        pytest.skip("LoadGen is installed by make loadgen alone")
    done = subprocess.run([sys.executable, ROOT / script, "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "usage:" in done.stdout
