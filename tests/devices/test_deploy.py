"""A bundle brought to a board over a real sshd, run there in the environment that was brought with it, and removed."""

import asyncio
import fcntl
import io
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import threading
import zipfile
from importlib.metadata import version
from pathlib import Path

import msgspec
import numpy as np
import pytest
from conftest import run_here, run_mrl_edge, the_one_error_line
from mrl_edge.devices.deploy import bring
from mrl_edge.devices.deploy import settle as module
from mrl_edge.devices.deploy.holder import LOCK
from mrl_edge.devices.deploy.onnxruntime_of import Onnxruntime, told_apart
from mrl_edge.devices.deploy.own_wheel import write_own_wheel
from mrl_edge.devices.deploy.settle import settle
from mrl_edge.devices.deploy.wheelhouse import _check_runtime, _download, _kind, _pinned
from mrl_edge.devices.facts import GraphicsProcessor
from mrl_edge.devices.reach.address import read_address
from mrl_edge.devices.reach.local import LocalMachine
from mrl_edge.devices.reach.ssh import SshMachine

from mrl_edge.bundle import open_bundle
from mrl_edge.encoder import load
from mrl_edge.errors import UnsupportedError
from mrl_edge.hashing import sha256
from mrl_edge.progress import silent

TEXT = "a small domesticated carnivorous mammal"
ENCODE = f"""
import json, sys
from mrl_edge.encoder import load
print(json.dumps(load(sys.argv[1]).encode([{TEXT!r}]).tolist()))
"""


@pytest.fixture
def own_bundle(tiny_bundle, tmp_path):
    """A copy of a bundle that a test may damage; what is brought may be tiny."""
    return shutil.copytree(tiny_bundle, tmp_path / "bundle")


def deploy(bundle, *options):
    return run_mrl_edge("deploy", bundle, "board", *options, env=os.environ)


def deployed(bundle):
    done = deploy(bundle, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def wheelhouse(board, folder, wheels):
    """A wheelhouse of the board's kind that says of itself that it is whole: the board's facts, and where it is."""
    facts = asyncio.run(LocalMachine(folder).info())
    runtime = f"onnxruntime=={version('onnxruntime')}"
    made = board.client / ".cache" / "mrl-edge" / "wheels" / _kind(facts, runtime)
    made.mkdir(parents=True)
    wanted = [*sorted([*_pinned(), f"pip=={version('pip')}", runtime]), f"annoy=={version('annoy')}"]
    (made / "gathered.json").write_text(json.dumps(wanted))
    for name, content in wheels.items():
        (made / name).write_bytes(content)
    return facts, made


def packed(zeros):
    """The bytes of a wheel of so many zeros."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as wheel:
        wheel.writestr("zeros.bin", bytes(zeros))
    return content.getvalue()


def runtime_wheel(folder, platform_tag):
    """A wheel of an onnxruntime for this Python that holds nothing."""
    tag = f"cp{sys.version_info[0]}{sys.version_info[1]}"
    path, info = folder / f"onnxruntime_gpu-9.9-{tag}-{tag}-{platform_tag}.whl", "onnxruntime_gpu-9.9.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: onnxruntime-gpu\nVersion: 9.9\n")
        wheel.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nTag: {tag}-{tag}-{platform_tag}\n")
        wheel.writestr(f"{info}/RECORD", "")
    return path


def test_a_gpu_gets_an_onnxruntime_that_there_is_for_it_and_what_is_named_is_taken(tmp_path):
    here = version("onnxruntime")
    plain = msgspec.structs.replace(asyncio.run(LocalMachine(tmp_path).info()), arch="x86_64", gpu=None)
    card = msgspec.structs.replace(plain, gpu=GraphicsProcessor("T4", "7.5", 16 << 30))
    jetson = msgspec.structs.replace(card, arch="aarch64")
    asked = [Onnxruntime(), Onnxruntime(for_gpu=True), Onnxruntime("onnxruntime-gpu[cuda,cudnn]", for_gpu=True)]
    assert [[one.requirement(machine) for one in asked] for machine in (plain, card, jetson)] == [
        [f"onnxruntime=={here}", f"onnxruntime=={here}", "onnxruntime-gpu[cuda,cudnn]"],
        [f"onnxruntime=={here}", f"onnxruntime-gpu<={here}", "onnxruntime-gpu[cuda,cudnn]"],
        [f"onnxruntime=={here}", f"onnxruntime=={here}", "onnxruntime-gpu[cuda,cudnn]"],
    ]


def test_a_jetsons_wheel_is_taken_as_it_is_and_each_wheel_gets_a_folder_of_its_own(tmp_path):
    """NVIDIA's have the platform `linux_aarch64`, which PyPI takes of nobody."""
    jetson = msgspec.structs.replace(asyncio.run(LocalMachine(tmp_path).info()), arch="aarch64", glibc="2.35")
    wheel = runtime_wheel(tmp_path, "linux_aarch64")
    (tmp_path / "gathered").mkdir()
    _download(jetson, [str(wheel)], tmp_path / "gathered")
    assert [path.name for path in (tmp_path / "gathered").iterdir()] == [wheel.name]
    (tmp_path / "moved").mkdir()
    usual, first, again = f"onnxruntime=={version('onnxruntime')}", told_apart(str(wheel)), Onnxruntime(str(wheel))
    assert told_apart(str(shutil.copy(wheel, tmp_path / "moved"))) == first == again.identity()  # gathered once
    with zipfile.ZipFile(wheel, "a") as more:
        more.writestr("another.bin", b"x")
    asked = [usual, "onnxruntime==1.20.0", "onnxruntime-gpu", first, again.identity()]
    assert len({_kind(jetson, one) for one in asked}) == len(asked)
    assert Onnxruntime().identity() == usual


def test_what_has_onnxruntimes_name_and_brings_none_is_refused(tmp_path):
    """As onnxruntime-extensions; a wheel that is named like it and holds nothing stands for it."""
    runtime_wheel(tmp_path, "linux_aarch64")
    with pytest.raises(UnsupportedError, match="onnxruntime-extensions brings no onnxruntime: name onnxruntime,"):
        _check_runtime(tmp_path, "onnxruntime-extensions")
    with zipfile.ZipFile(tmp_path / "onnxruntime-9.9-py3-none-any.whl", "w") as wheel:
        wheel.writestr("onnxruntime/__init__.py", "")
    _check_runtime(tmp_path, "onnxruntime-genai")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("missing.whl", "no such file"),
        ("numpy-2.0-py3-none-any.whl", "no wheel of onnxruntime's"),
        ("--index-url=http://x", "as in onnxruntime-gpu==1.31.1"),
        ("numpy", "as in onnxruntime-gpu==1.31.1"),
        ("onnxruntime-gpu @ file:///x", "as in onnxruntime-gpu==1.31.1"),
    ],
)
def test_what_is_no_onnxruntime_is_one_line(tiny_bundle, tmp_path, monkeypatch, given, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "numpy-2.0-py3-none-any.whl").write_bytes(packed(1))
    assert said in the_one_error_line(run_here("deploy", tiny_bundle, "board", f"--onnxruntime={given}"))


def test_an_onnxruntime_without_a_board_is_one_line(tiny_bundle, tmp_path):
    for command in (("bench",), ("tune", "--max-p50-ms", "9")):
        done = run_here(command[0], tiny_bundle, "--data", tmp_path, *command[1:], "--onnxruntime", "onnxruntime-gpu")
        assert "it is brought to boards: name one" in the_one_error_line(done)


def test_removing_brings_no_onnxruntime(tiny_bundle):
    line = the_one_error_line(run_here("deploy", tiny_bundle, "board", "--remove", "--onnxruntime", "onnxruntime-gpu"))
    assert "give one of them" in line


def test_an_onnxruntime_of_another_processor_is_named_before_anything_is_sent(board, tiny_bundle, tmp_path):
    other = {"x86_64": "aarch64", "aarch64": "x86_64"}[platform.machine()]
    wheel = runtime_wheel(tmp_path, f"linux_{other}")
    line = the_one_error_line(deploy(tiny_bundle, "--onnxruntime", wheel))
    assert f"{wheel.name} is not a supported wheel on this platform" in line
    assert list(board.home.iterdir()) == []


@pytest.mark.deploy
@pytest.mark.skipif(shutil.which("x86_64-linux-gnu-g++") is None, reason="compiles Annoy for x86-64")
def test_a_bundle_runs_where_it_was_brought_and_leaves_no_trace(board, own_bundle, wheels):
    board.gather_in(wheels)
    first = deployed(own_bundle)
    assert (first["kept"], first["installed"]) == (0, True)
    there = board.home / ".mrl-edge" / first["bundle"]
    python = board.home / ".mrl-edge" / "env" / "bin" / "python"
    said = subprocess.run([python, "-c", ENCODE, there], capture_output=True, text=True, check=True, cwd="/")
    np.testing.assert_allclose(json.loads(said.stdout), load(own_bundle).encode([TEXT]), atol=1e-6)
    native = subprocess.run([python, "-c", "import annoy; print(annoy.__file__)"], capture_output=True, check=True)
    assert str(board.home).encode() in native.stdout

    second = deployed(own_bundle)
    assert (second["files"], second["kept"], second["sent_bytes"]) == (first["files"], first["files"], 0)
    assert second["installed"] is False
    shutil.rmtree(next((board.home / ".mrl-edge" / "env").glob("lib/*/site-packages/numpy")))
    (board.home / ".mrl-edge" / LOCK).write_text('{"run": "runs/of/before", "pid": 1}')
    assert deployed(own_bundle)["installed"] is True
    assert (board.home / ".mrl-edge" / LOCK).read_text() == ""

    manifest = own_bundle / "bundle.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text())))
    weights = next(there.rglob("weights.bin"))
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    (there / "of-another-version.onnx").write_text("x")
    third = deployed(own_bundle)
    assert third["sent_bytes"] == manifest.stat().st_size + len(content)
    assert sha256(there / "bundle.json") == sha256(manifest)
    assert weights.read_bytes() == content
    assert not (there / "of-another-version.onnx").exists()

    assert deploy(own_bundle, "--remove").returncode == 0
    assert list(board.home.iterdir()) == []
    assert deploy(own_bundle, "--remove").returncode == 0  # nothing is there: nothing to do


def test_removing_one_bundle_keeps_another_and_its_environment(board, tmp_path):
    for name in ("one", "two"):
        (board.home / ".mrl-edge" / "bundles" / name).mkdir(parents=True)
    (board.home / ".mrl-edge" / "env").mkdir()
    assert deploy(tmp_path / "one", "--remove").returncode == 0
    assert sorted(path.name for path in (board.home / ".mrl-edge").iterdir()) == ["bundles", "env"]
    assert [path.name for path in (board.home / ".mrl-edge" / "bundles").iterdir()] == ["two"]
    assert deploy(tmp_path / "two", "--remove").returncode == 0
    assert list(board.home.iterdir()) == []


def test_removing_leaves_what_is_not_ours_and_says_so(board, tmp_path):
    ours = board.home / ".mrl-edge"
    (ours / "bundles" / "one").mkdir(parents=True)
    (ours / "wheels").mkdir()
    (ours / "diary.txt").write_text("mine")
    done = deploy(tmp_path / "one", "--remove")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert ".mrl-edge could not be removed" in done.stderr
    assert [path.name for path in ours.iterdir()] == ["diary.txt"]


def test_a_board_that_lacks_something_is_one_line_and_nothing_is_sent(board, own_bundle, tmp_path):
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("sh", "uname", "getconf", "cat", "tr", "df"):
        (tools / name).symlink_to(shutil.which(name))
    board.set_path(str(tools))
    done = deploy(own_bundle)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "no Python: install 3.10 or newer" in done.stderr
    assert list(board.home.iterdir()) == []


def test_a_bundle_is_hashed_without_keeping_other_boards_waiting(board, own_bundle, tmp_path, monkeypatch):
    opened, hashing = open_bundle(own_bundle), []

    def noted(path):
        hashing.append(threading.get_ident())
        return sha256(path)

    async def go():
        async with SshMachine(read_address("board")) as machine:
            await bring.bring(machine, opened, Onnxruntime(), tmp_path, silent)

    monkeypatch.setattr(bring, "sha256", noted)
    monkeypatch.setattr(bring, "lacking", lambda facts: ("everything",))
    with pytest.raises(UnsupportedError, match="everything"):
        asyncio.run(go())
    assert len(hashing) == len(opened.manifest.files) + 1
    assert threading.get_ident() not in hashing


@pytest.mark.parametrize(("which", "zeros_mb"), [("bundle", 0), ("tiny_bundle", 80)])
def test_a_home_without_room_for_what_is_sent_or_made_of_it_is_one_line_and_nothing_is_sent(
    board, tmp_path, request, which, zeros_mb
):
    """The bundle alone is too large for it, or what a small wheel becomes when it is unpacked."""
    bundle = request.getfixturevalue(which)
    _, house = wheelhouse(board, tmp_path, {"zeros-1-py3-none-any.whl": packed(zeros_mb * 10**6)})
    with board.small_home(90):
        line = the_one_error_line(deploy(bundle))
        assert list(board.home.iterdir()) == []
    said = r"board has (\d+) MB free in the home folder and (\d+) are needed: (\d+) to be sent and (\d+) for the"
    free, needed, sent, made = map(int, re.search(said, line).groups())
    own = write_own_wheel(tmp_path)
    there = [*(path for path in bundle.rglob("*") if path.is_file()), *house.glob("*.whl"), own]
    assert abs(sent - sum(path.stat().st_size for path in there) / 1e6) < 1
    with zipfile.ZipFile(own) as ours:
        least = zeros_mb + sum(entry.file_size for entry in ours.infolist()) / 1e6
    assert least < made < least + 25
    assert free <= 90 < needed
    assert abs(needed - sent - made) <= 1


@pytest.mark.parametrize("change", ["unknown", "another"])
def test_a_host_that_is_not_known_or_has_another_key_is_one_line_and_nothing_is_sent(board, own_bundle, change):
    if change == "unknown":
        board.known_hosts.unlink()
    else:
        board.stop()
        board.new_host_key()
        board.start()
    said = {"unknown": "board is an unknown host, its key SHA256:", "another": "board has another key than"}[change]
    assert said in the_one_error_line(deploy(own_bundle))
    assert list(board.home.iterdir()) == []


def test_a_hostile_name_is_removed_as_a_name(board, tmp_path):
    hostile = '"; touch x #'
    for name in (hostile, "two"):
        (board.home / ".mrl-edge" / "bundles" / name).mkdir(parents=True)
    assert deploy(tmp_path / hostile, "--remove").returncode == 0
    assert [path.name for path in (board.home / ".mrl-edge" / "bundles").iterdir()] == ["two"]
    assert not list(board.home.rglob("x"))


def test_a_wheel_of_another_processor_is_named_before_anything_is_sent(board, tiny_bundle, tmp_path):
    other = {"x86_64": "aarch64", "aarch64": "x86_64"}[platform.machine()]
    foreign = f"numpy-2.4.6-cp311-cp311-manylinux_2_27_{other}.manylinux_2_28_{other}.whl"
    facts, _ = wheelhouse(board, tmp_path, {foreign: b"x", "rich-15.0.0-py3-none-any.whl": b"x"})
    line = the_one_error_line(deploy(tiny_bundle))
    assert f"{foreign} is no wheel for {facts.arch}" in line
    assert list(board.home.iterdir()) == []


def test_a_wheel_that_was_damaged_here_is_named_before_anything_is_sent(board, tiny_bundle, tmp_path):
    wheelhouse(board, tmp_path, {"rich-15.0.0-py3-none-any.whl": b"x"})
    assert "rich-15.0.0-py3-none-any.whl is no wheel (File is not a zip file)" in the_one_error_line(
        deploy(tiny_bundle)
    )
    assert list(board.home.iterdir()) == []


def test_what_is_not_right_on_the_board_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("bundle/a", "bundle/b", "bundle/old/c"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    wanted = {"a": sha256(tmp_path / "bundle/a"), "b": "0" * 64, "missing": "0" * 64}
    found = settle("bundle", wanted, {}, LOCK)
    assert found == {
        "installed": False,
        "problems": ["bundle/b has another sha256 than what was sent", "bundle/missing is missing"],
    }
    assert not (tmp_path / "bundle" / "old").exists()
    assert not (tmp_path / "env").exists()


def test_no_environment_is_made_while_a_run_or_another_deployment_is_in_it(tmp_path, monkeypatch):
    """Nor on a board without flock(1), where nothing was refused before."""
    monkeypatch.chdir(tmp_path)
    with Path(LOCK).open("ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        found = settle("bundle", {}, {}, LOCK)
    assert "a run measures there, or another deployment goes on" in found["problems"][0]
    assert not (tmp_path / "env").exists()


def test_the_script_for_the_board_needs_nothing_but_python():
    code = "import runpy, sys; runpy.run_path(sys.argv[1])"
    subprocess.run([sys.executable, "-I", "-S", "-c", code, module.__file__], check=True)


def test_the_own_wheel_holds_what_is_installed_and_no_program_that_lies_beside_it(tmp_path):
    wheel = write_own_wheel(tmp_path)
    (tmp_path / "again").mkdir()
    assert write_own_wheel(tmp_path / "again").read_bytes() == wheel.read_bytes()
    target = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", target, wheel]
    subprocess.run(pip, check=True)
    code = "import mrl_edge.devices.probe, mrl_edge.bench.child, mrl_edge.cli, mrl_edge; print(mrl_edge.__file__)"
    said = subprocess.run([sys.executable, "-P", "-c", code], env={**os.environ, "PYTHONPATH": str(target)},
                          capture_output=True, text=True, check=True, cwd="/")  # fmt: skip
    assert said.stdout.startswith(str(target))
    for name in ("devices/pi-5-8gb.toml", "devices/probe.sh", "bench/report.html.j2", "py.typed", "data/wordnet_nouns"):
        assert (target / "mrl_edge" / name).exists(), name
    assert not (target / "mrl_edge" / "bench" / "peers").exists()
