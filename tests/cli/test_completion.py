"""Shells complete names of commands, options and values by asking `mrl-edge` itself."""

import io
import os
import shutil
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from mrl_edge.devices.profiles import known

from mrl_edge.cli import completions, run


def completed(monkeypatch, line):
    """Ask as bash does, for the last word of a line, and return what is offered."""
    given = line.split(" ")
    monkeypatch.setenv("_MRL_EDGE_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(given) - 1))
    with redirect_stdout(io.StringIO()) as out, pytest.raises(SystemExit) as left:
        run([])
    assert left.value.code == 0
    return out.getvalue().split()


@pytest.mark.parametrize("line", ["mrl-edge devices show ", "mrl-edge pick r.json --device "])
def test_names_of_devices(monkeypatch, line):
    assert completed(monkeypatch, line) == [profile.name for profile in known()]
    assert completed(monkeypatch, f"{line}pi-5") == ["pi-5-4gb", "pi-5-8gb", "pi-5-16gb"]


def test_precisions_and_dimensions_of_the_bundle_on_the_line(monkeypatch, tiny):
    bundle = tiny / "bundle"
    assert completed(monkeypatch, f"mrl-edge bench {bundle} --precision ") == ["fp32", "int8"]
    assert completed(monkeypatch, f"mrl-edge bench {bundle} --precision int8,f") == ["int8,fp32"]
    assert completed(monkeypatch, f"mrl-edge classify {bundle} --precision i") == ["int8"]
    assert completed(monkeypatch, f"mrl-edge index {bundle} --dims 4,") == ["4,10", "4,24"]
    assert completed(monkeypatch, f"mrl-edge search {bundle} --dim ") == ["4", "10", "24", "all"]
    assert completed(monkeypatch, "mrl-edge search no-bundle --dim ") == []


def test_values_that_there_are(monkeypatch):
    from mrl_edge.export.precisions import PRECISIONS

    from mrl_edge.cpu import TARGETS
    from mrl_edge.index.candidates import KINDS
    from mrl_edge.index.vectors import STORAGES

    assert sorted(completed(monkeypatch, "mrl-edge export model --precision ")) == sorted(PRECISIONS)
    assert sorted(completed(monkeypatch, "mrl-edge bench b --index ")) == sorted(KINDS)
    assert completed(monkeypatch, "mrl-edge index b c --vectors ") == list(STORAGES)
    assert completed(monkeypatch, "mrl-edge export model --target ") == list(TARGETS)
    assert set(completions.KINDS) == set(KINDS)


def test_commands_and_options(monkeypatch):
    assert completed(monkeypatch, "mrl-edge ev") == ["evaluate"]
    assert completed(monkeypatch, "mrl-edge pick r.json --max-c") == ["--max-cold-ms"]


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes_once_it_is_installed(tmp_path):
    script = """
    mrl-edge --install-completion >&2
    source ~/.bashrc
    COMP_WORDS=(mrl-edge devices show pi-zero) COMP_CWORD=3
    _mrl_edge_completion mrl-edge
    complete -p mrl-edge
    printf '%s\\n' "${COMPREPLY[@]}"
    """
    programs = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "--norc", "-c", script], capture_output=True, text=True, check=False, timeout=120,
        env={**os.environ, "HOME": str(tmp_path), "PATH": programs},
    )  # fmt: skip
    assert done.stdout.splitlines() == ["complete -o default -F _mrl_edge_completion mrl-edge", "pi-zero-2w"], done


@pytest.mark.parametrize(
    ("shell", "asked"),
    [
        ("zsh", {}),
        ("fish", {"_TYPER_COMPLETE_FISH_ACTION": "get-args"}),
        ("powershell", {"_TYPER_COMPLETE_WORD_TO_COMPLETE": "pi-zero"}),
    ],
)
def test_other_shells_are_answered_in_their_own_way(monkeypatch, shell, asked):
    line = "mrl-edge devices show pi-zero"
    for name, value in {"_MRL_EDGE_COMPLETE": f"complete_{shell}", "_TYPER_COMPLETE_ARGS": line, **asked}.items():
        monkeypatch.setenv(name, value)
    with redirect_stdout(io.StringIO()) as out, pytest.raises(SystemExit) as left:
        run([])
    assert left.value.code == 0
    assert "pi-zero-2w" in out.getvalue()
    assert "pi-5-4gb" not in out.getvalue()
