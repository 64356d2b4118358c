"""An arm64 board, emulated: a Debian userland behind its own sshd, on an old core and on the newest.

`make test-arm64` makes it under build/arm64 (root, debootstrap and qemu-user) and keeps it for the next time.
"""

import contextlib
import json
import os
import shlex
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest
from conftest import mrl_edge, run_mrl_edge, the_one_error_line
from mrl_edge.bench.results import read_results
from train.untrained import untrained_model

pytestmark = pytest.mark.arm64
HERE = Path(__file__).parent
ROOT = HERE.parents[1] / "build" / "arm64"
PRECISIONS = ("fp32", "int8", "int4")
QUERIES, DOCUMENTS = 20, 300


@pytest.fixture(scope="session")
def userland():
    """The root of the arm64 userland."""
    if os.geteuid() != 0:
        pytest.skip("making and entering the arm64 userland needs root")
    made = subprocess.run([HERE / "make-arm64-root.sh", ROOT], stdout=subprocess.PIPE, text=True, check=True)
    print(f"\n{made.stdout.strip()}")
    assert made.stdout.split()[-1] == "aarch64"
    (ROOT / "etc" / "resolv.conf").unlink(missing_ok=True)  # no internet there: no name is found
    yield ROOT
    subprocess.run(["umount", ROOT / "proc"], check=True)


@pytest.fixture(params=["cortex-a53", "max"])
def arm_board(request, userland, tmp_path):
    """A board with that core; yields the environment of a user who knows it as `board`."""
    home, client, port = userland / "root", tmp_path / "client", free_port()
    shutil.rmtree(home / ".mrl-edge", ignore_errors=True)
    (client / ".ssh").mkdir(parents=True)
    for key in (client / ".ssh" / "id_ed25519", tmp_path / "host_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    (home / ".ssh").mkdir(exist_ok=True)
    shutil.copy(client / ".ssh" / "id_ed25519.pub", home / ".ssh" / "authorized_keys")
    shutil.copy(tmp_path / "host_key", userland / "etc" / "ssh" / "throw_away_key")
    (client / ".ssh" / "known_hosts").write_text(f"[127.0.0.1]:{port} {(tmp_path / 'host_key.pub').read_text()}")
    (client / ".ssh" / "config").write_text(f"Host board\n  HostName 127.0.0.1\n  Port {port}\n  User root\n")
    (userland / "run" / "sshd").mkdir(parents=True, exist_ok=True)
    options = ["ListenAddress=127.0.0.1", "PasswordAuthentication=no", "UsePAM=no", f"SetEnv=QEMU_CPU={request.param}",
               "HostKey=/etc/ssh/throw_away_key", "PidFile=none"]  # fmt: skip
    command = ["chroot", userland, "/usr/sbin/sshd", "-D", "-p", str(port)]
    with subprocess.Popen([*command, *(part for option in options for part in ("-o", option))]) as sshd:
        try:
            wait_for(port)
            ssh = client / ".ssh"
            options = f"-F {ssh}/config -i {ssh}/id_ed25519 -o UserKnownHostsFile={ssh}/known_hosts"
            yield {**{k: v for k, v in os.environ.items() if k != "SSH_AUTH_SOCK"}, "HOME": str(client),
                   "SSH_OPTIONS": options}  # fmt: skip
        finally:
            sshd.kill()
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(home / ".mrl-edge")


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
def three_precisions(minilm, dev, tmp_path_factory):
    """MiniLM's bundle with random heads, an index of some documents in it, and the file of the task."""
    folder = tmp_path_factory.mktemp("three")
    mrl_edge("export", untrained_model(folder / "model", minilm, (6,), dims=(16, 384)), "--out", folder / "bundle",
             "--precision", ",".join(PRECISIONS))  # fmt: skip
    lines = [json.dumps({"q": q, "p": p}) + "\n" for q, p in zip(dev["query"], dev["positive"], strict=True)]
    task, documents = folder / "task.jsonl", folder / "documents.jsonl"
    task.write_text("".join(lines[:QUERIES]))
    documents.write_text("".join(lines[:DOCUMENTS]))
    mrl_edge("index", folder / "bundle", documents, "--text", "p", "--dims", "16")
    return folder / "bundle", task


def test_an_arm64_board_without_internet_makes_the_hosts_vectors_and_hits(arm_board, three_precisions, tmp_path):
    bundle, task = three_precisions
    probed = run_mrl_edge("devices", "probe", "board", env=arm_board, cwd=tmp_path)
    assert ", aarch64" in probed.stdout, probed.stderr

    out = tmp_path / "results.json"
    done = run_mrl_edge(
        "bench", bundle, "--data", task, "--query", "q", "--positive", "p", "--dims", "16", "--tokens", "0", "--index",
        "annoy", "--repeats", "1", "--max-seconds", "0.5", "--device", "board", "--out", out, env=arm_board,
        timeout=1500,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    results = read_results(out)
    assert results.device.arch == "aarch64"
    assert results.device.emulated
    assert [(row.precision, row.status) for row in results.measurements] == [(name, "ok") for name in PRECISIONS]
    for row in results.measurements:
        print(f"aarch64 {row.precision}: least cosine to the host's vectors {row.host_cosine:.7f}")
        assert row.host_cosine > (0.99999 if row.precision == "fp32" else 0.99)

    text = json.loads(task.read_text().splitlines()[0])["q"]
    there = subprocess.run(
        ["ssh", *arm_board["SSH_OPTIONS"].split(), "board", "cd .mrl-edge && env/bin/mrl-edge search bundles/bundle "
         f"{shlex.quote(text)} --dim 16 --json"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    here = json.loads(mrl_edge("search", bundle, text, "--dim", "16", "--json"))
    print(f"aarch64 Annoy: {there.stdout}")
    assert [hit["id"] for hit in json.loads(there.stdout)["hits"]] == [hit["id"] for hit in here["hits"]]

    refused = run_mrl_edge("pick", out)
    assert "emulated machine" in the_one_error_line(refused)
    assert "emulated machine" in the_one_error_line(run_mrl_edge("report", out, "--out", tmp_path / "r.html"))
