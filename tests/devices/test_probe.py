"""What a machine says of itself: this one over a real sshd, and the ways in which boards answer."""

import asyncio
import json
import os
import platform
import shutil
from pathlib import Path

import psutil
import pytest
from conftest import run_mrl_edge
from mrl_edge.devices.facts import Cores, Python, read
from mrl_edge.devices.probe import missing, profile_of, state
from mrl_edge.devices.profiles import read_profile
from mrl_edge.devices.reach.local import LocalMachine

from mrl_edge.errors import ReachError, UnsupportedError

SECTIONS = {
    "kernel": "aarch64\nrock\nLinux\n6.1.75",
    "bits": "64",
    "os": 'NAME="Debian"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"',
    "model": "Radxa ROCK 5B",
    "compatible": "radxa,rock-5b\nrockchip,rk3588",
    "cpuinfo": "",
    "meminfo": "MemTotal:  8117244 kB\nMemFree:  200000 kB\nMemAvailable:  7300000 kB\nSwapTotal:  0 kB",
    "topology": "",
    "governor": "ondemand",
    "temperature": "41250\n48300\n",
    "throttle_count": "",
    "throttled": "",
    "glibc": "glibc 2.36",
    "ldd": "ldd (Debian GLIBC 2.36-9+deb12u9) 2.36",
    "python": "3.11.2 1 venv /usr/bin/python3",
    "gpu": "",
    "disk": "Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/mmcblk0p2 60000000 8000000 52000000 14% /",
    "tools": "",
}


def processor(number, part, features="fp asimd aes asimdhp asimddp"):
    return f"processor\t: {number}\nFeatures\t: {features}\nCPU implementer\t: 0x41\nCPU part\t: {part}\n\n"


def answer(**sections):
    return "".join(f"\n@@ {name}\n{text}\n" for name, text in {**SECTIONS, **sections, "end": ""}.items())


def facts(**sections):
    one = {"cpuinfo": processor(0, "0xd0b"), "topology": "0 2400000 0"}
    return read(answer(**{**one, **sections}))


def test_clusters_are_told_apart_and_the_fastest_comes_first():
    little = [processor(n, "0xd05", "fp asimd asimdhp asimddp") for n in range(4)]
    big = [processor(n, "0xd0b", "fp asimd asimdhp asimddp i8mm") for n in range(4, 8)]
    topology = "\n".join(f"{n} {1800000 if n < 4 else 2256000} {n}" for n in range(8))
    found = facts(cpuinfo="".join(little + big), topology=topology)
    assert found.clusters == (Cores("Cortex-A76", 4, 1, 2256.0), Cores("Cortex-A55", 4, 1, 1800.0))
    assert found.features == ("asimd", "asimdhp", "asimddp")  # i8mm is not on every core


def test_two_threads_of_a_core_are_one_core():
    lines = "".join(f"processor\t: {n}\nmodel name\t: Intel(R) N100\nflags\t\t: avx2 fma\n\n" for n in range(4))
    topology = "0 3400000 0-1\n1 3400000 0-1\n2 3400000 2-3\n3 3400000 2-3"
    found = facts(kernel="x86_64\nn\nLinux\n6.1", cpuinfo=lines, topology=topology)
    assert found.clusters == (Cores("Intel(R) N100", 2, 2, 3400.0),)
    assert profile_of(found).cpu.logical_cores == 4


def test_heat_is_the_hottest_sensor_and_a_raspberry_pi_says_whether_it_slowed_down():
    assert facts().temperature_c == 48.3
    assert facts(throttled="throttled=0x0").throttled is False
    assert facts(throttled="throttled=0x50005").throttled is True  # under voltage and throttled, now and before
    assert facts(throttled="throttled=0x50000").throttled is True  # not now, but since the start
    assert facts(throttled="throttled=0x10001").throttled is False  # under voltage alone slows nothing
    assert state(facts(throttle_count="3\n4"))[2] == "7 throttlings since it started"
    assert state(facts(governor="", temperature="")) == (
        "no governor to read", "no temperature to read", "no throttling to read",
    )  # fmt: skip


def test_what_is_fit_for_a_deployment_lacks_nothing():
    assert missing(facts()) == ()


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"python": ""}, "no Python: install 3.10 or newer"),
        ({"python": "3.9.2 1 venv /usr/bin/python3"}, "Python 3.10 or newer: there is 3.9.2"),
        ({"python": "3.11.2 0 venv /usr/bin/python3"}, "a 64-bit Python"),
        ({"python": "3.11.2 1 - /usr/bin/python3"}, "module venv"),
        ({"kernel": "armv7l\npi\nLinux\n6.1", "bits": "32"}, "no wheel for armv7l with 32-bit programs"),
        ({"bits": "32"}, "no wheel for aarch64 with 32-bit programs"),  # a 32-bit system on a 64-bit kernel
        ({"glibc": "", "ldd": "musl libc (aarch64)\nVersion 1.2.4"}, "no wheel for musl"),
        ({"glibc": "glibc 2.27"}, "glibc 2.28 or newer, which onnxruntime's wheels need: there is 2.27"),
        ({"disk": SECTIONS["disk"].replace("52000000", "100000")}, "300 MB free in the home folder: there are 102"),
        ({"tools": "sha256sum\nxargs"}, "the commands sha256sum, xargs"),
    ],
)
def test_what_is_missing_is_said(sections, said):
    (line,) = missing(facts(**sections))
    assert said in line


def test_a_new_python_beside_an_old_one_is_found():
    lines = "3.6.9 1 venv /usr/bin/python3\n3.11.9 1 venv /opt/my python/bin/python3.11"
    assert facts(python=lines).python == Python("/opt/my python/bin/python3.11", "3.11.9", 64, True)


def test_glibc_is_found_without_getconf():
    assert facts(glibc="", ldd="ldd (Ubuntu GLIBC 2.35-0ubuntu3.8) 2.35\nCopyright").glibc == "2.35"


def test_gpus_are_found_on_a_card_and_on_a_jetson():
    card = facts(gpu="NVIDIA L4, 23034, 8.9").gpu
    assert (card.name, card.compute_capability, card.memory_bytes) == ("NVIDIA L4", "8.9", 23034 << 20)
    jetson = facts(
        compatible="nvidia,p3768-0000+p3767-0005\nnvidia,p3767-0005\nnvidia,tegra234", gpu="Orin, [N/A], [N/A]"
    )
    assert (jetson.gpu.compute_capability, jetson.gpu.memory_bytes) == ("8.7", None)
    assert profile_of(jetson).providers[0] == "CUDAExecutionProvider"


@pytest.mark.parametrize(
    "said",
    [
        "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure that it is running.",
        "No devices were found",
    ],
)
def test_a_gpu_without_its_driver_is_none_and_the_rest_is_read(said):
    """nvidia-smi says so on its standard output, where a GPU would stand."""
    found = facts(gpu=said)
    assert (found.gpu, found.hostname) == (None, "rock")


@pytest.mark.parametrize("row", ["/dev/sda1 100 50 50 50% /media/My Disk", "//nas/my share 100 50 50 50% /home"])
def test_room_is_read_beside_names_with_spaces(row):
    table = f"Filesystem 1024-blocks Used Available Capacity Mounted on\n{row}"
    found = facts(disk=table)
    assert (found.disk, found.free_bytes) == (row.split(" 100 ")[0], 50 * 1024)


def test_a_hostile_answer_makes_no_escape_and_no_odd_file_name():
    found = facts(kernel="aarch64\n../../\x1b[2Jx y\nLinux\n6.1", model="\x1b]0;x\x07board")
    assert "\x1b" not in found.hostname + found.model
    assert profile_of(found).name == "2Jx-y"


def test_lines_and_figures_that_no_machine_has_make_no_other_profile():
    found = facts(governor="x\nname = 1", model="a\tb\nc")
    assert found.governor == "x name = 1"
    assert profile_of(found).title == "a b c"
    with pytest.raises(UnsupportedError, match=r"rock: no profile can be made of what it says: .*ram_bytes"):
        profile_of(facts(meminfo=f"MemTotal: {2**60} kB\nMemFree: 1 kB"))
    assert facts(glibc="glibc 2.99999999999", ldd="").glibc is None


def test_other_systems_and_processors_are_refused_in_one_line():
    with pytest.raises(ReachError, match="mac runs Darwin: only Linux"):
        facts(kernel="arm64\nmac\nDarwin\n23.1")
    with pytest.raises(UnsupportedError, match="rock is a riscv64"):
        profile_of(facts(kernel="riscv64\nrock\nLinux\n6.1"))


def test_this_machine_is_what_python_says_of_it(tmp_path):
    found = asyncio.run(LocalMachine(tmp_path).info())
    assert (found.arch, found.hostname) == (platform.machine(), platform.node())
    assert found.ram_bytes == psutil.virtual_memory().total
    assert sum(kind.cores * kind.threads_per_core for kind in found.clusters) == psutil.cpu_count()
    assert found.kernel == f"{platform.system()} {platform.release()}"
    if platform.libc_ver()[0] == "glibc":
        assert found.glibc == platform.libc_ver()[1]
    free = shutil.disk_usage(Path.home()).free
    assert abs(found.free_bytes - free) < 0.05 * free + 1e9


def test_the_command_writes_a_profile_that_devices_show_reads(board, tmp_path):
    done = run_mrl_edge("devices", "probe", "board", "--out", "b.toml", "--json", cwd=tmp_path, env=os.environ)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["profile"] == "b.toml"
    profile = read_profile(tmp_path / "b.toml")
    assert profile.memory.ram_bytes == said["facts"]["ram_bytes"] == psutil.virtual_memory().total
    assert profile.software.python == said["facts"]["python"]["version"]
    assert list(board.home.iterdir()) == []
    again = run_mrl_edge("devices", "probe", "board", "--out", "b.toml", cwd=tmp_path, env=os.environ)
    assert (again.returncode, again.stderr.count("\n")) == (2, 1)
    assert "--overwrite" in again.stderr


def test_a_board_without_python_is_probed_and_says_so(board, tmp_path):
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in (
        "sh",
        "uname",
        "getconf",
        "cat",
        "tr",
        "df",
        "dirname",
        "mkdir",
        "mv",
        "rm",
        "rmdir",
        "sha256sum",
        "tail",
        "wc",
    ):
        (tools / name).symlink_to(shutil.which(name))
    board.set_path(str(tools))
    done = run_mrl_edge("devices", "probe", "board", "--out", "b.toml", cwd=tmp_path, env=os.environ)
    assert done.returncode == 0, done.stderr
    lines = [line.split(maxsplit=1) for line in done.stdout.splitlines()]
    assert ["Python", "no Python"] in lines
    assert {"no Python: install 3.10 or newer (apt install python3)", "the commands xargs"} <= {
        said for name, said in lines if name == "missing"
    }
    assert read_profile(tmp_path / "b.toml").software.python is None


def test_what_a_board_says_steers_no_terminal(board, tmp_path):
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "sh").write_text("#!/bin/sh\nprintf 'x\\033[2J' >&2; exit 1\n")
    (tmp_path / "tools" / "sh").chmod(0o755)
    board.set_path(f"{tmp_path}/tools:{os.environ['PATH']}")
    done = run_mrl_edge("devices", "probe", "board", cwd=tmp_path, env=os.environ)
    assert (done.returncode, done.stderr) == (2, "error: board did not answer the probe: x\\x1b[2J\n")


def test_faults_of_the_command_are_one_line(board, tmp_path):
    board.known_hosts.unlink()
    for host, said in (("board", "unknown host"), ("-oProxyCommand=x", "no address"), ("a b", "no address")):
        done = run_mrl_edge("devices", "probe", "--", host, cwd=tmp_path, env=os.environ)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert said in done.stderr
    assert not list(tmp_path.glob("*.toml"))
