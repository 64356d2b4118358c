"""This machine, reached by the same protocol as a board."""

import asyncio
import subprocess
import sys

import psutil
import pytest
from mrl_edge.devices.reach import Sent, tree
from mrl_edge.devices.reach.local import LocalMachine

from mrl_edge.errors import ReachError


@pytest.fixture
def machine(tmp_path):
    (tmp_path / "there").mkdir()
    return LocalMachine(tmp_path / "there")


def test_a_folder_is_copied_and_a_second_time_only_what_changed(machine, tmp_path):
    for name, content in (('"; touch x #', "a"), ("sub/b", "bb")):
        (tmp_path / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "source" / name).write_text(content)
    files = tree(tmp_path / "source", "at")
    assert asyncio.run(machine.put(files)) == Sent(files=2, kept=0, bytes=3)
    assert (machine.folder / "at" / '"; touch x #').read_text() == "a"
    (tmp_path / "source" / "sub" / "b").write_text("ccc")
    assert asyncio.run(machine.put(files)) == Sent(files=2, kept=1, bytes=3)
    assert (machine.folder / "at" / "sub" / "b").read_text() == "ccc"


def test_what_a_check_refuses_is_not_begun_and_it_hears_of_what_is_not_there_alone(machine, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    (source / "a").write_bytes(bytes(7))
    asyncio.run(machine.put(tree(source, "at")))
    (source / "b").write_bytes(bytes(5))

    def refuse(size):
        raise ReachError(f"{size} bytes are too many")

    with pytest.raises(ReachError, match=r"^5 bytes"):
        asyncio.run(machine.put(tree(source, "at"), check=refuse))
    assert [path.name for path in (machine.folder / "at").iterdir()] == ["a"]


def test_a_file_comes_back_and_a_missing_one_is_said(machine, tmp_path):
    (machine.folder / "f").write_bytes(b"x" * 1000)
    asyncio.run(machine.get("f", tmp_path / "back" / "f"))
    assert (tmp_path / "back" / "f").read_bytes() == b"x" * 1000
    with pytest.raises(ReachError, match="no is no file"):
        asyncio.run(machine.get("no", tmp_path / "back" / "no"))
    assert [path.name for path in (tmp_path / "back").iterdir()] == ["f"]


def test_a_command_gets_its_arguments_and_input_and_gives_what_it_said(machine):
    script = 'pwd; cat; printf "%s" "$1"; echo no >&2; exit 3'
    done = asyncio.run(machine.run(["sh", "-c", script, "sh", "$(x)"], b"in\n"))
    assert (done.code, done.out.decode(), done.reason) == (3, f"{machine.folder}\nin\n$(x)", "no")
    assert asyncio.run(machine.run(["sh", "-c", "kill -9 $$"])).code == 137
    assert asyncio.run(machine.run(["no-such-command"])).code == 127


def test_a_command_whose_caller_gives_up_is_killed(machine):
    async def give_up():
        await asyncio.wait_for(machine.run(["sleep", "61.25"]), 0.5)

    with pytest.raises(asyncio.TimeoutError):
        asyncio.run(give_up())
    assert [child for child in psutil.Process().children() if child.name() == "sleep"] == []


def test_what_a_given_up_command_started_is_killed_too(machine):
    async def give_up():
        await asyncio.wait_for(machine.run(["sh", "-c", "sleep 61.5 & wait"]), 0.5)

    with pytest.raises(asyncio.TimeoutError):
        asyncio.run(asyncio.wait_for(give_up(), 30))
    assert not any(process.info["cmdline"] == ["sleep", "61.5"] for process in psutil.process_iter(["cmdline"]))


def test_what_runs_on_a_board_loads_none_of_this():
    loaded = "[name for name in sys.modules if name == 'asyncssh' or name.startswith('mrl_edge.devices')]"
    code = f"import sys, mrl_edge.encoder, mrl_edge.search; print({loaded})"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout == "[]\n"
