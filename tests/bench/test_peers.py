"""The scripts of `make peers` and its kin take minutes; that they start on this code is seen at once."""

import re
import runpy
import sys
from pathlib import Path

import pytest

from mrl_edge.errors import ResultsError

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


def test_every_peer_of_search_has_an_environment_of_its_own_with_each_version_named(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(ROOT / "bench" / "peers")
    from environments import python_of
    from search_contenders import EFFORTS

    files = {path.stem: path for path in (ROOT / "bench" / "peers" / "requirements" / "search").iterdir()}
    assert {name.split()[0] for name in EFFORTS} == set(files)
    for path in files.values():
        _, *lines = path.read_text().splitlines()
        assert all(re.fullmatch(r"[\w-]+==[\d.]+", line) for line in lines)
    with pytest.raises(ResultsError, match="is missing, run make search-peers"):
        python_of(tmp_path / "annoy", "search-peers")
    (tmp_path / "pip.txt").write_text("Collecting annoy\nERROR: no compiler\n")
    with pytest.raises(ResultsError, match="not installed: ERROR: no compiler"):
        python_of(tmp_path, "search-peers")
    (tmp_path / "installed").touch()
    assert python_of(tmp_path, "search-peers") == tmp_path / "bin" / "python"
