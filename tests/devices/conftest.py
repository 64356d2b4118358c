"""A board to log in to: a real sshd on loopback, with keys, a home and a known_hosts of its own."""

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import psutil
import pytest

_SSHD = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
_KEYGEN = shutil.which("ssh-keygen")
_LOGIN = """\
#!/bin/sh
HOME={home} PATH={path}; export HOME PATH {variables}
cd; exec /bin/sh -c "$SSH_ORIGINAL_COMMAND"
"""


class Board:
    """`home` is where its commands run; `client` is the home of the user who reaches it as `board`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.home, self.client = folder / "home", folder / "client"
        self.home.mkdir()
        (self.client / ".ssh").mkdir(parents=True)
        self.known_hosts = self.client / ".ssh" / "known_hosts"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._key(self.client / ".ssh" / "id_ed25519")
        (self.client / ".ssh" / "config").write_text(
            f"Host board\n  HostName 127.0.0.1\n  Port {self.port}\n  User {getpass.getuser()}\n"
        )
        self.set_path(os.environ["PATH"])
        (folder / "authorized").write_text(
            f'command="{folder}/login" {(self.client / ".ssh" / "id_ed25519.pub").read_text()}'
        )
        self._sshd = None
        self.new_host_key()
        self.trust()

    @property
    def environment(self) -> dict[str, str]:
        """The environment of the user who knows it."""
        return {**{k: v for k, v in os.environ.items() if k != "SSH_AUTH_SOCK"}, "HOME": str(self.client)}

    def set_path(self, path: str, **variables: object) -> None:
        """Choose what commands a login finds, and further variables of its environment."""
        login = self._folder / "login"
        more = " ".join(f"{name}={value}" for name, value in variables.items())
        login.write_text(_LOGIN.format(home=self.home, path=path, variables=more))
        login.chmod(0o755)

    def new_host_key(self) -> None:
        (self._folder / "host_key").unlink(missing_ok=True)
        self._key(self._folder / "host_key")

    def trust(self) -> None:
        """Write the host's key down, as a first `ssh board` does."""
        key = (self._folder / "host_key.pub").read_text()
        self.known_hosts.write_text(f"[127.0.0.1]:{self.port} {key}")

    def gather_in(self, wheels: Path) -> None:
        """Let its user's wheels be gathered in a folder that others share."""
        cache = self.client / ".cache" / "mrl-edge"
        cache.mkdir(parents=True)
        (cache / "wheels").symlink_to(wheels)

    def start(self) -> None:
        config = self._folder / "sshd_config"
        config.write_text(
            f"ListenAddress 127.0.0.1:{self.port}\nHostKey {self._folder}/host_key\nPidFile none\nUsePAM no\n"
            f"AuthorizedKeysFile {self._folder}/authorized\nStrictModes no\nPasswordAuthentication no\n"
            "KbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n"
        )
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)  # sshd's own, which its service would make
        log = (self._folder / "log").open("w")
        self._sshd = psutil.Popen([_SSHD, "-D", "-e", "-f", config], stdin=subprocess.DEVNULL, stderr=log)
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise AssertionError((self._folder / "log").read_text())

    def cut(self) -> int:
        """Kill the processes that serve the connections; return how many there were."""
        served = self._sshd.children()
        for process in served:
            with contextlib.suppress(psutil.NoSuchProcess):  # it ended by itself
                process.kill()
        return len(served)

    def freeze(self) -> None:
        """Let the connections stay open and say nothing more, as a cable that was pulled does."""
        for process in self._sshd.children(recursive=True):
            process.suspend()

    @contextlib.contextmanager
    def small_home(self, megabytes: int):
        """Let its home be an empty disk of so many 10^6 bytes; yields a function that gives it another size."""
        mount = shutil.which("mount")
        size = f"size={megabytes * 10**6}"
        if os.geteuid() != 0 or mount is None:
            pytest.skip("only root mounts a small disk")
        if subprocess.run([mount, "-t", "tmpfs", "-o", size, "tmpfs", self.home], check=False).returncode != 0:
            pytest.skip("this machine lets nobody mount a small disk")
        try:
            yield lambda new: subprocess.run([mount, "-o", f"remount,size={new * 10**6}", self.home], check=True)
        finally:
            subprocess.run(["umount", "-l", self.home], check=True)

    def stop(self) -> None:
        if self._sshd is not None:
            self.cut()
            self._sshd.terminate()
            self._sshd.wait(10)
            self._sshd = None

    def _key(self, path: Path) -> None:
        subprocess.run([_KEYGEN, "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)


@contextlib.contextmanager
def running_board(folder):
    """A board that runs until the end of `with`."""
    if _SSHD is None or _KEYGEN is None:
        pytest.skip("needs OpenSSH's sshd and ssh-keygen (apt install openssh-server)")
    made = Board(folder)
    made.start()
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture
def board(tmp_path, monkeypatch):
    """A board that runs, and is known to the user of this process."""
    with running_board(tmp_path) as made:
        monkeypatch.setenv("HOME", str(made.client))
        monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
        yield made


@pytest.fixture(scope="session")
def wheels(tmp_path_factory):
    """Where the wheels for this machine are gathered, once a session."""
    return tmp_path_factory.mktemp("wheels")


@pytest.fixture(scope="module")
def lasting_board(tmp_path_factory, wheels):
    """A board for all tests of a module; `environment` is that of the user who knows it."""
    with running_board(tmp_path_factory.mktemp("board")) as made:
        made.gather_in(wheels)
        yield made
