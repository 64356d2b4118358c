"""An arm64 board, emulated: a Debian userland behind its own sshd, on an old core and on the newest.

`make test-arm64` makes it under build/arm64 (root, mmdebstrap and qemu-user) and keeps it for the next time.
"""

import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import mrl_edge, run_mrl_edge, the_one_error_line
from mrl_edge.bench.results import read_results
from ship.shipping import ship, write_choice
from train.untrained import untrained_model

from mrl_edge.bundle import open_bundle

pytestmark = pytest.mark.arm64
HERE = Path(__file__).parent
ROOT = HERE.parents[1] / "build" / "arm64"
PRECISIONS = ("fp32", "int8", "int4")
QUERIES, DOCUMENTS = 16, 300  # all queries are compared with the host's; an emulated encoding takes a second
MIDDLING = 2  # of the queries, in the length of most; the others are the shortest that there are
CORES = {"a53": "cortex-a53", "newest": "max"}  # without and with dot products


@contextmanager
def phase(name):
    """Say how long something took: with it one sees where the minutes go."""
    started = time.monotonic()
    yield
    print(f"{time.monotonic() - started:5.0f} s: {name}", flush=True)


@pytest.fixture(scope="session")
def making_userland():
    """The process that makes the arm64 userland, while the host exports."""
    if os.geteuid() != 0:
        pytest.skip("making and entering the arm64 userland needs root")
    print(flush=True)
    with subprocess.Popen([HERE / "make-arm64-root.sh", ROOT, sys.executable], stdout=subprocess.PIPE, text=True) as it:
        yield it


@pytest.fixture(scope="session")
def userland(making_userland):
    """The root of the arm64 userland."""
    with phase("waiting for the userland"):
        said = making_userland.stdout.read().split()
        assert making_userland.wait() == 0
    print(*said)
    assert said[-1] == "aarch64"
    (ROOT / "etc" / "resolv.conf").unlink(missing_ok=True)  # no internet there: no name is found
    for name in CORES:
        shutil.rmtree(ROOT / "home" / name, ignore_errors=True)
        if f"{name}:" not in (ROOT / "etc" / "passwd").read_text():
            subprocess.run(["chroot", ROOT, "/usr/sbin/useradd", "--password", "*", name], check=True)
        subprocess.run(["chroot", ROOT, "install", "-d", "-o", name, f"/home/{name}"], check=True)
    yield ROOT
    for name in CORES:
        shutil.rmtree(ROOT / "home" / name, ignore_errors=True)
    subprocess.run(["umount", ROOT / "proc"], check=True)


@pytest.fixture(scope="session")
def arm_boards(userland, tmp_path_factory):
    """A board a core, each an account of the userland; yields the environment of a user who knows them by name."""
    folder = tmp_path_factory.mktemp("arm")
    port = free_port()
    ssh, etc = folder / "client" / ".ssh", userland / "etc" / "ssh"
    ssh.mkdir(parents=True)
    for key in (ssh / "id_ed25519", folder / "host_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    shutil.copy(folder / "host_key", etc / "throw_away_key")
    shutil.copy(ssh / "id_ed25519.pub", etc / "throw_away_authorized")
    config = [f"Port {port}", "ListenAddress 127.0.0.1", "HostKey /etc/ssh/throw_away_key", "PidFile none", "UsePAM no",
              "PasswordAuthentication no", "AuthorizedKeysFile /etc/ssh/throw_away_authorized"]  # fmt: skip
    known = [f"[127.0.0.1]:{port} {(folder / 'host_key.pub').read_text()}"]
    hosts = []
    for name, core in CORES.items():
        config += [f"Match User {name}", f"  SetEnv QEMU_CPU={core}"]
        hosts += [f"Host {name}", "  HostName 127.0.0.1", f"  Port {port}", f"  User {name}"]
    (etc / "throw_away_config").write_text("\n".join(config) + "\n")
    (ssh / "known_hosts").write_text("".join(known))
    (ssh / "config").write_text("\n".join(hosts) + "\n")
    (userland / "run" / "sshd").mkdir(parents=True, exist_ok=True)
    command = ["chroot", userland, "/usr/sbin/sshd", "-D", "-f", "/etc/ssh/throw_away_config"]
    with subprocess.Popen(command) as sshd:
        try:
            wait_for(port)
            options = f"-F {ssh}/config -i {ssh}/id_ed25519 -o UserKnownHostsFile={ssh}/known_hosts"
            yield {**{k: v for k, v in os.environ.items() if k != "SSH_AUTH_SOCK"}, "HOME": str(folder / "client"),
                   "SSH_OPTIONS": options}  # fmt: skip
        finally:
            sshd.kill()


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def wait_for(port):
    for _ in range(300):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise AssertionError("sshd did not start")


@pytest.fixture(scope="session")
def three_precisions(making_userland, minilm, dev, tmp_path_factory):
    """MiniLM's bundle with random heads, an index of some documents in it, and the file of the task."""
    folder = tmp_path_factory.mktemp("three")
    with phase("here: export of three precisions"):
        mrl_edge("export", untrained_model(folder / "model", minilm, (6,), dims=(16, 384)), "--out",
                 folder / "bundle", "--precision", ",".join(PRECISIONS))  # fmt: skip
    lines = [json.dumps({"q": q, "p": p}) + "\n" for q, p in zip(dev["query"], dev["positive"], strict=True)]
    by_length = sorted(range(len(lines)), key=lambda row: len(dev["query"][row]))
    middle = len(lines) // 2
    asked = by_length[: QUERIES - MIDDLING] + by_length[middle : middle + MIDDLING]
    task, documents = folder / "task.jsonl", folder / "documents.jsonl"
    task.write_text("".join(lines[row] for row in asked))
    documents.write_text("".join(lines[:DOCUMENTS]))
    with phase("here: index"):
        mrl_edge("index", folder / "bundle", documents, "--text", "p", "--dims", "16")
    return folder / "bundle", task


def test_arm64_boards_without_internet_make_the_hosts_vectors_and_hits(three_precisions, arm_boards, tmp_path):
    bundle, task = three_precisions
    with phase("probe"):
        probed = run_mrl_edge("devices", "probe", "a53", env=arm_boards, cwd=tmp_path)
    assert ", aarch64" in probed.stdout, probed.stderr
    with phase("deploy and bench, both cores at once"):
        bench_and_say_when(bundle, task, tmp_path / "results.json", arm_boards)
    for name, core in CORES.items():
        results = read_results(tmp_path / f"results-{name}.json")
        print(core, {what: round(seconds) for what, seconds in results.spent_s.items()})
        assert (results.device.name, results.device.arch, results.device.emulated) == (name, "aarch64", True)
        assert [(row.precision, row.status) for row in results.measurements] == [(p, "ok") for p in PRECISIONS]
        for row in results.measurements:
            print(f"aarch64 {core} {row.precision}: least cosine to the host's vectors {row.host_cosine:.7f}")
            assert row.host_cosine > (0.99999 if row.precision == "fp32" else 0.99)
    text = json.loads(task.read_text().splitlines()[-1])["q"]
    with phase("searches there"), ThreadPoolExecutor() as pool:
        found = pool.map(lambda name: search(arm_boards, name, bundle, text), CORES)
        here = hits(mrl_edge("search", bundle, text, "--dim", "16", "--json"))
        for core, there in zip(CORES.values(), found, strict=True):
            print(f"aarch64 {core} Annoy: hits {hits(there)}, here {here}")
            assert hits(there) == here
    with phase("shipped folder"):
        shipped_folder_answers_alike(arm_boards, bundle, text, tmp_path)
    for command in ("pick", "report"):
        assert "emulated machine" in the_one_error_line(run_mrl_edge(command, tmp_path / "results-a53.json"))


def bench_and_say_when(bundle, task, out, environment):
    """Deploy to the boards, measure on them at once, and print each thing that is said with the second it was said."""
    arguments = ("bench", bundle, "--data", task, "--query", "q", "--positive", "p", "--dims", "16", "--tokens", "0",
                 "--index", "annoy", "--repeats", "1", "--max-seconds", "0.5", "--device", "a53", "--device", "newest",
                 "--out", out)  # fmt: skip
    command, started = [sys.executable, "-m", "mrl_edge", *map(str, arguments)], time.monotonic()
    said, stages = [], set()
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        for line in process.stderr:
            said.append(line)
            board, stage = [*line.split(), "", ""][:2]
            if stage != "send" or ("send", board) not in stages:  # a line a file otherwise
                print(f"{time.monotonic() - started:7.0f} {line.rstrip()}", flush=True)
            stages.add((stage, board))
    assert process.returncode == 0, "".join(said)


def hits(answer):
    return [hit["id"] for hit in json.loads(answer)]


def shipped_folder_answers_alike(environment, bundle, text, folder):
    """Copy a shipped folder to the old core, as its user would, and compare its answer with this machine's."""
    index = {"index": "annoy", "parameters": {"n_trees": 8, "search_k": 10_000}}
    target = open_bundle(bundle).variant("int8", 6).target
    choice = write_choice(bundle, folder / "choice.json", precision="int8", target=target, depth=6, dim=16, **index)
    ship(bundle, choice, folder / "app")
    packed = subprocess.run(["tar", "c", "-C", folder, "app"], stdout=subprocess.PIPE, check=True).stdout
    ask = f"app/example.py {shlex.quote(text)} --json"
    on_board = f"tar x && .mrl-edge/env/bin/python {ask}"
    there = subprocess.run([*ssh(environment, "a53"), on_board], input=packed, stdout=subprocess.PIPE, check=True)
    here = subprocess.run([sys.executable, *shlex.split(ask)], cwd=folder, stdout=subprocess.PIPE, check=True)
    rows = [json.loads(answer.stdout)["rows"] for answer in (there, here)]
    print(f"aarch64 cortex-a53 shipped folder: {rows[0][0]}, here {rows[1][0]}")
    for (board_id, board_score, board_text), (own_id, own_score, own_text) in zip(*rows, strict=True):
        assert (board_id, board_text) == (own_id, own_text)
        assert abs(board_score - own_score) < 0.01


def search(environment, name, bundle, text):
    """What the board's own search prints of the index that was deployed with the bundle."""
    remote = f"cd .mrl-edge && env/bin/mrl-edge search bundles/{bundle.name} {shlex.quote(text)} --dim 16 --json"
    return subprocess.run([*ssh(environment, name), remote], capture_output=True, text=True, check=True).stdout


def ssh(environment, name):
    """The beginning of a command that a board runs."""
    return ["ssh", *environment["SSH_OPTIONS"].split(), name]
