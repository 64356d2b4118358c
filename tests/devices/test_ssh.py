"""A machine over SSH: a real sshd on loopback, its faults included."""

import asyncio
import hashlib
import os
import random
import re
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import pytest
from mrl_edge.devices.reach import Finished, ssh, transfer, tree
from mrl_edge.devices.reach.address import Address, read_address
from mrl_edge.devices.reach.ssh import SshMachine, command_line
from mrl_edge.devices.reach.transfer import download

from mrl_edge.errors import ConnectionLostError, ReachError, UsageError

HOSTILE = ['"; touch x #', "$(touch x)", "`touch x`", "-rf", "a b", "it's", "two\nlines", "*", "~", "\\", "é", ""]


def on(board, act):
    """Open the board, and do something with it."""

    async def go():
        async with SshMachine(read_address("board")) as machine:
            return await act(machine)

    return asyncio.run(go())


def write(path, size, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(random.Random(seed).randbytes(size))
    return path


async def nothing():
    return
    yield b""


def parts(folder):
    return [path for path in folder.rglob("*") if path.name.endswith(".part")]


def test_arguments_arrive_as_they_are(board):
    done = on(board, lambda machine: machine.run(["printf", "%s\\0", *HOSTILE]))
    assert done.code == 0
    assert done.out.decode().split("\0")[:-1] == HOSTILE
    assert list(board.home.iterdir()) == []


def test_exit_code_output_and_errors_come_back(board):
    done = on(board, lambda machine: machine.run(["sh", "-c", "cat; echo no >&2; exit 3"], stdin=b"in\n"))
    assert (done.code, done.out, done.errors, done.reason) == (3, b"in\n", b"no\n", "no")
    assert on(board, lambda machine: machine.run(["sh", "-c", "kill -9 $$"])).code == 137
    assert on(board, lambda machine: machine.run(["no-such-command"])).code == 127


def test_what_the_command_does_not_read_is_no_failure(board):
    done = on(board, lambda machine: machine.run(["true"], stdin=bytes(4 << 20)))
    assert done.code == 0


def test_a_folder_arrives_whole_and_a_second_time_only_what_changed(board, tmp_path):
    source = tmp_path / "source"
    for number, name in enumerate(['"; touch x #', "sub/-rf", "sub/deep/two\nlines", "empty"]):
        write(source / name, 0 if name == "empty" else 100_000, number)
    first = on(board, lambda machine: machine.put(tree(source, "there")))
    assert (first.files, first.kept, first.bytes) == (4, 0, 300_000)
    for path in source.rglob("*"):
        if path.is_file():
            assert (board.home / "there" / path.relative_to(source)).read_bytes() == path.read_bytes()
    write(source / "sub/-rf", 50_000, 9)
    second = on(board, lambda machine: machine.put(tree(source, "there")))
    assert (second.files, second.kept, second.bytes) == (4, 3, 50_000)
    assert {path.name for path in board.home.iterdir()} == {"there"}
    assert parts(board.home) == []


def test_a_transfer_that_was_cut_goes_on_where_it_was(board, tmp_path):
    size = 24 << 20
    source, cuts = write(tmp_path / "source.bin", size), []

    def cut_once(stage, done, total, now=""):
        if done > size // 2 and not cuts:
            cuts.append(board.cut())

    sent = on(board, lambda machine: machine.put(tree(source, "there.bin"), cut_once))
    assert cuts == [1]
    assert (board.home / "there.bin").read_bytes() == source.read_bytes()
    assert parts(board.home) == []
    assert size <= sent.bytes < 1.5 * size  # from the beginning again it would be more than 1.5 times


def test_a_board_that_keeps_nothing_of_what_it_gets_is_given_up(board, tmp_path, monkeypatch):
    monkeypatch.setattr(ssh, "_PAUSES_S", (0, 0))
    tools, tried = tmp_path / "tools", tmp_path / "tried"
    tools.mkdir()
    (tools / "cat").write_text(f"#!/bin/sh\necho once >>{tried}\nexec /bin/cat >/dev/null\n")
    (tools / "cat").chmod(0o755)
    board.set_path(f"{tools}:{os.environ['PATH']}")
    with pytest.raises(ConnectionLostError, match=r"was cut while source\.bin was sent"):
        on(board, lambda machine: machine.put(tree(write(tmp_path / "source.bin", 100_000), "there.bin")))
    assert tried.read_text() == "once\n" * 3


def test_a_disk_that_is_full_here_is_no_cut(board):
    """It would be tried again for two minutes, and then the connection blamed."""

    async def act(machine):
        with Path("/dev/full").open("wb", buffering=0) as full:
            await machine.stream(["echo", "x"], nothing(), full.write)

    with pytest.raises(OSError, match="No space left on device"):
        on(board, act)


@pytest.mark.parametrize("said", ["5 /../../x", "5", "five " + "0" * 64, "-5 " + "0" * 64, "5 ../x\x1b[2J"])
def test_no_answer_of_a_device_becomes_a_path_here(said, tmp_path):
    """The SHA-256 names the part of a file that comes back: `/../../x` would be one outside the folder."""

    class Hostile:
        name = "board"

        async def stream(self, argv, source, sink=None):
            sink(said.encode() + b"\n")
            return Finished(0, b"", b"")

    (tmp_path / "a" / "b").mkdir(parents=True)
    with pytest.raises(ReachError, match="no size and SHA-256"):
        asyncio.run(download(Hostile(), "file", tmp_path / "a" / "b" / "file", most_bytes=10))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_transfer_outlives_a_restart_of_the_board(board, tmp_path):
    source, restarts = write(tmp_path / "source.bin", 4 << 20), []

    def restart_once(stage, done, total, now=""):
        if done > total // 2 and not restarts:
            board.stop()
            restarts.append(threading.Timer(2, board.start))
            restarts[0].start()

    on(board, lambda machine: machine.put(tree(source, "there.bin"), restart_once))
    restarts[0].join()
    assert (board.home / "there.bin").read_bytes() == source.read_bytes()


def test_a_connection_that_falls_silent_is_given_up(board):
    with (board.client / ".ssh" / "config").open("a") as config:
        config.write("  ServerAliveInterval 1\n  ServerAliveCountMax 1\n")

    async def act(machine):
        await machine.run(["true"])
        board.freeze()
        await machine.run(["true"])

    with pytest.raises(ConnectionLostError, match="connection was lost"):
        on(board, act)


def test_hashing_keeps_no_other_connection_waiting(board, tmp_path, monkeypatch):
    """Of a model of 1 GB it takes seconds; a connection that is silent so long looks cut."""
    here, hashing = threading.get_ident(), []

    def noted(hashed):
        def call(*arguments):
            hashing.append(threading.get_ident())
            return hashed(*arguments)

        return call

    for name in ("sha256", "_prefix"):
        monkeypatch.setattr(transfer, name, noted(getattr(transfer, name)))
    source = write(tmp_path / "source.bin", 100_000)
    part = board.home / f".{hashlib.sha256(source.read_bytes()).hexdigest()}.part"
    part.write_bytes(source.read_bytes()[:50_000])
    on(board, lambda machine: machine.put({"there.bin": source}))
    on(board, lambda machine: machine.get("there.bin", tmp_path / "back.bin"))
    assert len(hashing) == 3
    assert here not in hashing


def test_a_part_with_another_content_is_not_built_upon(board, tmp_path):
    source = write(tmp_path / "source.bin", 100_000)
    part = board.home / f".{hashlib.sha256(source.read_bytes()).hexdigest()}.part"
    write(part, 40_000, seed=5)
    on(board, lambda machine: machine.put(tree(source, "there.bin")))
    assert (board.home / "there.bin").read_bytes() == source.read_bytes()
    assert parts(board.home) == []


def test_a_file_comes_back_and_goes_on_where_it_was(board, tmp_path):
    there = write(board.home / '"; touch x #', 300_000)
    part = tmp_path / "back" / f".{hashlib.sha256(there.read_bytes()).hexdigest()}.part"
    part.parent.mkdir()
    part.write_bytes(there.read_bytes()[:200_000])
    on(board, lambda machine: machine.get(there.name, tmp_path / "back" / "file"))
    assert (tmp_path / "back" / "file").read_bytes() == there.read_bytes()
    assert parts(tmp_path / "back") == []
    with pytest.raises(ReachError, match=r"^board: missing is no file$"):
        on(board, lambda machine: machine.get("missing", tmp_path / "back" / "no"))


def test_what_the_board_cannot_write_is_one_line(board, tmp_path):
    source = write(tmp_path / "source.bin", 1000)
    (board.home / "folder").mkdir()
    with pytest.raises(ReachError, match=r"^board: folder could not be written: folder is a folder$"):
        on(board, lambda machine: machine.put(tree(source, "folder")))
    with pytest.raises(ReachError, match=r"^board: /dev/full/x could not be written: .+"):
        on(board, lambda machine: machine.put(tree(source, "/dev/full/x")))
    with pytest.raises(ReachError, match="no file and no folder"):
        on(board, lambda machine: machine.put(tree(tmp_path / "missing", "there")))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a small disk")
def test_a_full_disk_is_one_line_and_the_next_transfer_goes_on(board, tmp_path):
    import subprocess

    source, disk = write(tmp_path / "source.bin", 3 << 20), board.home / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk], check=False)
    if mounted.returncode != 0:
        pytest.skip("this machine lets nobody mount a small disk")
    try:
        with pytest.raises(ReachError, match="No space left on device"):
            on(board, lambda machine: machine.put(tree(source, "disk/there.bin")))
        assert [path.name for path in disk.iterdir()] == [path.name for path in parts(disk)]
        subprocess.run(["mount", "-o", "remount,size=8m", disk], check=True)
        sent = on(board, lambda machine: machine.put(tree(source, "disk/there.bin")))
        assert (disk / "there.bin").read_bytes() == source.read_bytes()
        assert sent.bytes < 2 << 20
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_command_that_was_cut_says_so_and_the_next_one_connects_anew(board):
    async def act(machine):
        running = asyncio.ensure_future(machine.run(["sh", "-c", "echo started >mark; sleep 60"]))
        while not (board.home / "mark").exists():
            await asyncio.sleep(0.05)
        board.cut()
        with pytest.raises(ConnectionLostError, match="connection was lost"):
            await running
        return await machine.run(["echo", "back"])

    assert on(board, act).out == b"back\n"


def test_an_unknown_host_is_refused_with_its_key(board):
    board.known_hosts.unlink()
    with pytest.raises(ReachError, match=r"^board is an unknown host, its key SHA256:\S+: log in once") as error:
        on(board, lambda machine: machine.run(["touch", "x"]))
    assert "\n" not in str(error.value)
    assert list(board.home.iterdir()) == []


def test_a_changed_host_key_is_refused(board):
    board.stop()
    board.new_host_key()
    board.start()
    with pytest.raises(ReachError, match=r"^board has another key than .*known_hosts has for it") as error:
        on(board, lambda machine: machine.run(["touch", "x"]))
    assert "\n" not in str(error.value)
    assert list(board.home.iterdir()) == []


def test_a_key_that_changed_while_we_were_cut_off_is_refused(board):
    async def act(machine):
        board.stop()
        board.new_host_key()
        board.start()
        with pytest.raises(ConnectionLostError):
            await machine.run(["touch", "x"])
        return await machine.run(["touch", "x"])

    with pytest.raises(ReachError, match="another key"):
        on(board, act)
    assert list(board.home.iterdir()) == []


def test_a_key_that_another_file_than_the_configured_one_holds_is_unknown(board):
    """As to `ssh`: a file that is named and not there yet knows nobody."""
    with (board.client / ".ssh" / "config").open("a") as config:
        config.write("  UserKnownHostsFile ~/.ssh/known_boards\n")
    with pytest.raises(ReachError, match="is an unknown host"):
        on(board, lambda machine: machine.run(["touch", "x"]))
    assert list(board.home.iterdir()) == []


def test_a_configuration_that_turns_known_hosts_off_is_refused(board):
    with (board.client / ".ssh" / "config").open("a") as config:
        config.write("  UserKnownHostsFile none\n")
    with pytest.raises(ReachError, match="turns known_hosts off"):
        on(board, lambda machine: machine.run(["touch", "x"]))


def test_a_user_whose_key_is_not_let_in_gets_one_line(board):
    for path in (board.client / ".ssh").glob("id_*"):
        path.unlink()
    with pytest.raises(ReachError, match=r"^board refuses this user's keys: .*ssh-add"):
        on(board, lambda machine: machine.run(["true"]))


def test_a_key_that_the_agent_alone_holds_opens_it(board, monkeypatch):
    key = board.client / ".ssh" / "id_ed25519"
    with tempfile.TemporaryDirectory(prefix="agent") as folder:  # a short path, as a socket's must be
        agent = Path(folder) / "socket"
        with subprocess.Popen(["ssh-agent", "-D", "-a", agent], stdout=subprocess.DEVNULL) as process:
            try:
                while not agent.exists():
                    assert process.poll() is None
                    time.sleep(0.02)
                monkeypatch.setenv("SSH_AUTH_SOCK", str(agent))
                subprocess.run(["ssh-add", "-q", key], check=True)
                key.unlink()
                assert on(board, lambda machine: machine.run(["echo", "in"])).out == b"in\n"
            finally:
                process.terminate()


def test_a_board_that_is_off_gets_one_line(board):
    board.stop()
    with pytest.raises(ConnectionLostError, match=r"^board refuses the connection"):
        on(board, lambda machine: machine.run(["true"]))


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("board", Address("board", None, None)),
        ("pi@10.0.0.7", Address("10.0.0.7", "pi", None)),
        ("pi@pi-5.local:2222", Address("pi-5.local", "pi", 2222)),
        ("pi@[fe80::1%eth0]:22", Address("fe80::1%eth0", "pi", 22)),
    ],
)
def test_an_address_is_read_as_ssh_users_write_it(text, address):
    assert read_address(text) == address
    assert str(address) == text


def test_the_way_to_log_in_names_the_port():
    assert read_address("pi@[fe80::1%eth0]:22").ssh == "ssh -p 22 pi@fe80::1%eth0"
    assert read_address("board").ssh == "ssh board"


@pytest.mark.parametrize("text", ["", "-oProxyCommand=x", "a b", "pi@", "@pi", "pi@host:0", "pi@host:99999", "pi@h;x"])
def test_what_is_no_address_is_refused(text):
    with pytest.raises(UsageError, match="no address"):
        read_address(text)


def test_only_one_place_makes_a_command_line():
    sources = [*Path("devices").rglob("*.py"), *Path("mrl_edge/cli").glob("*.py")]
    made = [
        path.name
        for path in sources
        if path.name not in ("next_step.py", "report.py")  # they write commands for a person to copy
        and re.search(r"create_process\(|shlex|\bos\.system|shell=True", path.read_text())
    ]
    assert made == ["ssh.py"]
    with pytest.raises(ReachError, match="UTF-8"):
        command_line(["cat", b"\xff".decode("utf-8", "surrogateescape")])
    with pytest.raises(ReachError, match="NUL"):
        command_line(["cat", "a\0b"])


def test_a_name_that_is_no_utf_8_is_one_line(board, tmp_path):
    name = b"\xff".decode("utf-8", "surrogateescape")
    with pytest.raises(ReachError, match="no UTF-8"):
        on(board, lambda machine: machine.put({name: write(tmp_path / "a", 10)}))
