"""The scripts of `make peers` and its kin take minutes; that they start on this code is seen at once."""

import re
import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted(re.findall(r"bench/peers/\w+\.py", (ROOT / "Makefile").read_text()))


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_script_of_a_make_target_starts(script, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [script, "--help"])
    monkeypatch.syspath_prepend((ROOT / script).parent)
    with pytest.raises(SystemExit) as ended:  # in this process, where torch is loaded
        runpy.run_path(str(ROOT / script), run_name="__main__")
    assert not ended.value.code
    assert "usage:" in capsys.readouterr().out
