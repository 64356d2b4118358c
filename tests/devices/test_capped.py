"""This machine held to a device's RAM and cores; the cgroup files of either version, on folders made as Linux's."""

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mrl_edge.devices.profiles import resolve
from mrl_edge.devices.reach import cgroups
from mrl_edge.devices.reach.capped import Cap, CappedMachine, cap_of, capped_to

from mrl_edge.errors import UnsupportedError, UsageError

MB = 1 << 20


@pytest.fixture
def proc(tmp_path):
    """A function that writes what /proc/self says of groups and mounts, and returns that folder."""

    def write(groups, mounts):
        folder = tmp_path / "proc"
        folder.mkdir()
        (folder / "cgroup").write_text(groups)
        lines = [f"3{i} 30 0:3{i} {root} {point} rw - {kind} {kind} rw,{options}\n"
                 for i, (kind, options, root, point) in enumerate(mounts)]  # fmt: skip
        (folder / "mountinfo").write_text("".join(lines))
        return folder

    return write


def group(folder, handed_down=None):
    folder.mkdir(parents=True, exist_ok=True)
    if handed_down is not None:
        (folder / "cgroup.subtree_control").write_text(handed_down)
    return folder


def test_version_1_limits_a_child_of_our_own_group(tmp_path, proc):
    own = group(tmp_path / "cg" / "memory" / "user" / "me")
    where = proc("9:pids:/\n4:memory:/user/me\n0::/\n", [("cgroup", "pids", "/", tmp_path / "cg" / "pids"),
                 ("cgroup", "memory", "/", tmp_path / "cg" / "memory")])  # fmt: skip
    made = cgroups.make(64 * MB, where)
    assert (made.version, made.path.parent) == (1, own)
    assert (made.path / "memory.limit_in_bytes").read_text() == str(64 * MB)
    (made.path / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n")
    assert made.kills() == 3


def test_a_container_that_shows_a_part_of_the_tree_alone_finds_its_group(tmp_path, proc):
    group(tmp_path / "memory dir" / "mine")
    mount = str(tmp_path / "memory dir").replace(" ", "\\040")
    where = proc("4:memory:/docker/abc/mine\n", [("cgroup", "memory", "/docker/abc", mount)])
    assert cgroups.make(MB, where).path.parent == tmp_path / "memory dir" / "mine"


def test_version_2_takes_the_nearest_group_that_hands_memory_down(tmp_path, proc):
    top = group(tmp_path / "cg", "cpu memory pids\n")
    group(top / "user.slice", "cpu memory\n")
    app = group(top / "user.slice" / "app.slice", "memory pids\n")
    group(app / "run-1.scope", "")
    made = cgroups.make(64 * MB, proc("0::/user.slice/app.slice/run-1.scope\n", [("cgroup2", "nsdelegate", "/", top)]))
    assert (made.version, made.path.parent) == (2, app)
    assert (made.path / "memory.max").read_text() == str(64 * MB)
    (made.path / "memory.events").write_text("low 0\nhigh 0\nmax 12\noom 1\noom_kill 1\noom_group_kill 0\n")
    assert made.kills() == 1


def test_a_refusal_says_why_and_what_to_do(tmp_path, proc):
    top = group(tmp_path / "cg", "cpu\n")
    group(top / "me", "")
    with pytest.raises(UnsupportedError, match=r"no memory controller is handed down.*systemd-run"):
        cgroups.make(MB, proc("0::/me\n", [("cgroup2", "", "/", top)]))


def test_where_no_memory_cgroup_is_mounted_is_said(tmp_path, proc):
    with pytest.raises(UnsupportedError, match="no memory cgroup is mounted"):
        cgroups.make(MB, proc("3:cpu:/\n", [("cgroup", "cpu", "/", tmp_path)]))


def test_a_group_that_may_not_be_made_is_said_with_its_folder(tmp_path, proc):
    where = proc("4:memory:/gone\n", [("cgroup", "memory", "/", tmp_path / "memory")])
    with pytest.raises(UnsupportedError, match=r"no group can be made in .*memory/gone: No such file or directory"):
        cgroups.make(MB, where)


@pytest.fixture(scope="module")
def capping():
    """Skip where this machine does not let us cap, for the reason that it gives."""
    try:
        cgroups.make(64 * MB).remove()
    except UnsupportedError as error:
        pytest.skip(str(error))


def capped(tmp_path, ram_bytes, cores, *argv, stdin=b""):
    async def go():
        async with CappedMachine("board", Cap(ram_bytes, cores), tmp_path) as machine:
            return await machine.run(argv, stdin)

    return asyncio.run(go())


def test_a_command_that_needs_more_than_the_cap_is_out_of_memory(capping, tmp_path):
    grow = "held = [bytearray(b'x') * 2**20 for _ in range({})]; print(len(held))"
    done = capped(tmp_path, 64 * MB, 1, sys.executable, "-S", "-c", grow.format(20))
    assert (done.code, done.out, done.out_of_memory) == (0, b"20\n", False)
    done = capped(tmp_path, 64 * MB, 1, sys.executable, "-S", "-c", grow.format(200))
    assert (done.code, done.out, done.out_of_memory) == (137, b"", True)


def test_a_command_killed_by_someone_else_is_not_out_of_memory(capping, tmp_path):
    done = capped(tmp_path, 64 * MB, 1, "sh", "-c", "kill -9 $$")
    assert (done.code, done.out_of_memory) == (137, False)


def test_a_command_runs_on_as_many_cores_as_the_device_has(capping, tmp_path):
    count = [sys.executable, "-S", "-c", "import os; print(len(os.sched_getaffinity(0)))"]
    assert capped(tmp_path, 64 * MB, 1, *count).out == b"1\n"
    assert int(capped(tmp_path, 64 * MB, 4096, *count).out) == len(os.sched_getaffinity(0))


def test_its_arguments_input_output_and_exit_code_are_its_own(capping, tmp_path):
    done = capped(
        tmp_path, 64 * MB, 1, "sh", "-c", 'cat; printf "%s" "$1"; echo no >&2; exit 3', "sh", '"; x #', stdin=b"in "
    )
    assert (done.code, done.out, done.errors) == (3, b'in "; x #', b"no\n")
    assert capped(tmp_path, 64 * MB, 1, "no-such-command").code == 127


def test_a_profile_decides_the_cap_and_a_card_is_refused(capping, tmp_path):
    profile = resolve("pi-zero-2w")

    with cap_of(profile) as cap:
        group = Path(cap.command([])[5]).parent
        limit = max(int(file.read_text()) for file in limit_files(group))
    assert capped_to(profile, tmp_path).name == "pi-zero-2w (capped)"
    assert 0 <= profile.memory.application_bytes - limit < os.sysconf("SC_PAGE_SIZE")  # kept in whole pages
    with pytest.raises(UsageError, match="t4 is a card"):
        capped_to(resolve("t4"), tmp_path)


def limit_files(group):
    return [file for file in (group / "memory.max", group / "memory.limit_in_bytes") if file.exists()]


def test_what_still_runs_ends_with_the_cap_and_no_group_stays(capping, tmp_path):
    with Cap(64 * MB, 1) as cap:
        procs = Path(cap.command([])[5])
        process = subprocess.Popen(cap.command(["sleep", "60"]))
        while str(process.pid) not in procs.read_text().split():
            time.sleep(0.02)
    assert process.wait(10) == -9
    assert not procs.parent.exists()
