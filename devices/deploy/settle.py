"""Runs on the board with its own Python and nothing else: settles what was sent, and says whether it is right.

Standard input: JSON with `bundle`, its folder; `files` and `wheels`, the SHA-256 of each by name; `lock`, the file that
a run which measures there holds. In the folder it runs in, it removes what is no longer wanted, compares every hash,
and makes the environment `env`, anew where what is there does not import; not under a run, whose files it would take.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import subprocess
import sys
import venv
from pathlib import Path

# mrl_edge first, which keeps onnxruntime from reporting what runs here.
_IMPORTS = "import mrl_edge, annoy, msgspec, numpy, onnxruntime, tokenizers, mrl_edge.encoder, mrl_edge.index.kinds"
_PROVIDERS = "print(*onnxruntime.get_available_providers())"
_PYTHON = str(Path("env", "bin", "python"))
_STAMP = Path("env", "installed.json")
_BUSY = (
    "a run measures there, or another deployment goes on, in the environment that is to be made anew: wait for it to"
    " end, and run the same command again"
)


def settle(bundle: str, files: dict[str, str], wheels: dict[str, str], lock: str) -> dict[str, object]:
    """Return whether the environment was made anew, what is wrong, a line each, and what onnxruntime can compute by."""
    problems = [*_compare(Path("wheels"), wheels), *_compare(Path(bundle), files)]
    if problems:
        return {"installed": False, "problems": problems}
    wanted = json.dumps([sys.version, sorted(wheels.items())])
    if _STAMP.is_file() and _STAMP.read_text() == wanted:
        broken: list[str] = []
        providers = _import(broken)
        if not broken:
            return {"installed": False, "problems": [], "providers": providers}
    with Path(lock).open("ab") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return {"installed": False, "problems": [_BUSY]}
        held.truncate(0)  # it may name a run of before, and a process id that another has now
        _install(wheels, problems)
        providers = _import(problems)
        if not problems:
            _STAMP.write_text(wanted)
    return {"installed": True, "problems": problems, "providers": providers}


def _install(wheels: dict[str, str], problems: list[str]) -> None:
    _STAMP.unlink(missing_ok=True)  # first: what is only half made does not look whole
    venv.create("env", clear=True, symlinks=True, with_pip=False)
    pip = next(f"wheels/{name}/pip" for name in wheels if name.startswith("pip-"))
    paths = sorted(f"wheels/{name}" for name in wheels if not name.startswith("pip-"))
    # Only what is imported gets compiled, below and later: most of what the wheels hold never is.
    options = ["--quiet", "--no-index", "--no-deps", "--no-cache-dir", "--no-compile"]
    _run([_PYTHON, pip, "install", *options, *paths], problems)


def _import(problems: list[str]) -> list[str]:
    """Import all that a run needs; return what onnxruntime can compute by."""
    return _run([_PYTHON, "-c", f"{_IMPORTS}; {_PROVIDERS}"], problems).split()


def _compare(folder: Path, wanted: dict[str, str]) -> list[str]:
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()
        elif path.is_file() and path.relative_to(folder).as_posix() not in wanted:
            path.unlink()
    found = []
    for name, content in wanted.items():
        path = folder / name
        if not path.is_file():
            found.append(f"{path} is missing")
        elif _sha256(path) != content:
            found.append(f"{path} has another sha256 than what was sent")
    return found


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _run(command: list[str], problems: list[str]) -> str:
    # pip (through rustup) and onnxruntime leave files in the home folder as soon as they start: theirs is `env`.
    home = {name: value for name, value in os.environ.items() if not name.startswith("XDG_")}
    home["HOME"] = str(Path("env").absolute())
    done = subprocess.run(command, env=home, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        problems.append(f"{' '.join(command[:3])}: {last}")
    return done.stdout


if __name__ == "__main__":
    sys.stdout.write(json.dumps(settle(**json.load(sys.stdin))))
