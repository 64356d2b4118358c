"""The wheels that a board needs, gathered here for its processor, its Python and its glibc.

What has wheels is downloaded in the versions that are installed here, so that both compute alike, unless another
onnxruntime is asked for; Annoy has none for Linux and is compiled for the board's instructions.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable
from importlib.metadata import requires, version
from pathlib import Path

from mrl_edge.devices.deploy.onnxruntime_of import Onnxruntime, told_apart
from mrl_edge.devices.deploy.own_wheel import write_own_wheel
from mrl_edge.devices.facts import Facts, Python, version_of

from mrl_edge.atomic import new_folder
from mrl_edge.errors import UnsupportedError
from mrl_edge.progress import Report
from mrl_edge.providers import package_version

# A cross-compiler's name by architecture; Debian's package is g++-<this without the last part>.
_COMPILERS = {"aarch64": "aarch64-linux-gnu-g++", "x86_64": "x86_64-linux-gnu-g++"}
_FLAGS = ("-O3", "-ffast-math", "-fno-associative-math", "-std=c++14", "-fpermissive", "-DANNOYLIB_MULTITHREADED_BUILD")
_OLDEST_GLIBC = 17
_REPRODUCIBLE = {"SOURCE_DATE_EPOCH": "315532800"}  # the same source makes the same bytes, which need not be sent again
_GATHERED = "gathered.json"
_BLOCK = 4096  # a file takes whole ones
_BESIDE = 12_000_000  # folders, and what Python compiles of what it imports: 9 MB of an environment that was used


def gather(facts: Facts, python: Python, onnxruntime: Onnxruntime, cache: Path, report: Report) -> list[Path]:
    """Return the wheels that a machine needs, kept under `cache` so that only what changed is made again.

    Raises `UnsupportedError` when one cannot be had, with the reason.
    """
    if version_of(python.version)[:2] != sys.version_info[:2]:
        raise UnsupportedError(
            f"{facts.hostname} has Python {python.version} and this is {sys.version_info[0]}.{sys.version_info[1]}:"
            f" run mrl-edge with its Python, since Annoy is compiled here for it"
        )
    report("wheels", 0, 2, "download")
    runtime = onnxruntime.requirement(facts)
    asked = told_apart(runtime)
    folder = cache / _kind(facts, asked)
    annoy = f"annoy=={version('annoy')}"
    others = [*_pinned(), f"pip=={version('pip')}"]
    gathered = [*sorted([*others, asked]), annoy]
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f".{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # boards of one kind, deployed to at once, gather once
        if not _is_gathered(folder, gathered):
            with new_folder(folder) as new:
                _download(facts, [*others, runtime], new)
                _check_runtime(new, runtime)
                report("wheels", 1, 2, "compile Annoy")
                _compile_annoy(facts, annoy, new)
                (new / _GATHERED).write_text(json.dumps(gathered), encoding="utf-8")
    ours = cache / "mrl-edge"
    ours.mkdir(parents=True, exist_ok=True)
    report("wheels", 2, 2)
    wheels = sorted(folder.glob("*.whl"))
    _check_architecture(wheels, facts)
    return sorted([*wheels, write_own_wheel(ours)])


def environment_bytes(wheels: Iterable[Path]) -> int:
    """Return how much disk the environment takes that is made of wheels there; pip's is run and not installed.

    Raises `UnsupportedError` for a wheel that cannot be read.
    """
    total = _BESIDE
    for wheel in wheels:
        if wheel.name.startswith("pip-"):
            continue
        try:
            with zipfile.ZipFile(wheel) as packed:
                total += sum(-(-entry.file_size // _BLOCK) * _BLOCK for entry in packed.infolist())
        except (OSError, zipfile.BadZipFile) as error:
            advice = f"remove {wheel.parent}, and it is gathered anew"
            raise UnsupportedError(f"{wheel.name} is no wheel ({error}): {advice}") from None
    return total


def _check_runtime(folder: Path, runtime: str) -> None:
    """Raise `UnsupportedError` for what is named like onnxruntime and brings none, as onnxruntime-extensions does."""
    for wheel in folder.glob("onnxruntime*.whl"):
        with zipfile.ZipFile(wheel) as packed:
            if "onnxruntime/__init__.py" in packed.namelist():
                return
    raise UnsupportedError(f"{runtime} brings no onnxruntime: name onnxruntime, onnxruntime-gpu or a wheel of one")


def _check_architecture(wheels: list[Path], facts: Facts) -> None:
    """Raise `UnsupportedError` for a wheel of another processor, as one that was copied here, before any is sent."""
    for wheel in wheels:
        platforms = wheel.stem.rpartition("-")[2].split(".")
        if not any(platform == "any" or platform.endswith(f"_{facts.arch}") for platform in platforms):
            raise UnsupportedError(
                f"{wheel.name} is no wheel for {facts.arch}: remove {wheel.parent}, and it is gathered anew"
            )


def _kind(facts: Facts, asked: str) -> str:
    """Name the wheels' folder: one for each kind of machine, and for each onnxruntime that is not the usual one.

    `asked` is the onnxruntime as `told_apart` returns it.
    """
    vector = "-avx2" if "avx2" in facts.features else ""
    kind = f"{facts.arch}{vector}-cp{sys.version_info[0]}{sys.version_info[1]}-glibc{facts.glibc}"
    if asked == f"onnxruntime=={package_version('onnxruntime')}":
        return kind
    return f"{kind}-{hashlib.sha256(asked.encode()).hexdigest()[:12]}"


def _is_gathered(folder: Path, wanted: list[str]) -> bool:
    path = folder / _GATHERED
    return path.is_file() and json.loads(path.read_text(encoding="utf-8")) == wanted


def _pinned() -> list[str]:
    """Return what mrl-edge's base install requires, in the versions that are here, without Annoy and onnxruntime."""
    lines = [line for line in requires("mrl-edge") or [] if "extra ==" not in line]
    names = [re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in lines if "python_version <" not in line]
    return [f"{name}=={version(name)}" for name in names if name.lower() not in ("annoy", "onnxruntime")]


def _download(facts: Facts, wanted: list[str], folder: Path) -> None:
    newest = version_of(facts.glibc or "2.17")[1]
    tags = [f"manylinux_2_{minor}_{facts.arch}" for minor in range(newest, _OLDEST_GLIBC - 1, -1)]
    tags += [f"manylinux2014_{facts.arch}", f"linux_{facts.arch}"]  # the last: NVIDIA's wheels for its Jetsons
    platforms = [part for tag in tags for part in ("--platform", tag)]
    short = f"{sys.version_info[0]}{sys.version_info[1]}"
    python = ["--implementation", "cp", "--python-version", short, "--abi", f"cp{short}", "--abi", "abi3"]
    python += ["--abi", "none"]
    _pip(["download", "--only-binary=:all:", "--dest", str(folder), *platforms, *python, *wanted])


def _compile_annoy(facts: Facts, requirement: str, folder: Path) -> None:
    compiler = shutil.which(_COMPILERS[facts.arch])
    if compiler is None:
        package = "g++-" + _COMPILERS[facts.arch].removesuffix("-g++").replace("_", "-")
        raise UnsupportedError(f"Annoy has no wheel and must be compiled for {facts.arch}: apt install {package}")
    flags = ["-march=armv8-a"] if facts.arch == "aarch64" else ["-mavx2", "-mfma"] * ("avx2" in facts.features)
    environment = {
        "CC": compiler,
        "CXX": compiler,
        "LDSHARED": f"{compiler} -shared",
        "ANNOY_COMPILER_ARGS": ",".join([*_FLAGS, *flags]),  # never its own -march=native: that is this machine
        "_PYTHON_HOST_PLATFORM": f"linux-{facts.arch}",
        "SETUPTOOLS_EXT_SUFFIX": f".cpython-{sys.version_info[0]}{sys.version_info[1]}-{facts.arch}-linux-gnu.so",
        **_REPRODUCIBLE,
    }
    _pip(["wheel", "--no-deps", "--no-cache-dir", "--no-binary", "annoy", "--wheel-dir", str(folder), requirement],
         environment)  # fmt: skip


def _pip(arguments: list[str], environment: dict[str, str] | None = None) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments]
    with tempfile.TemporaryDirectory() as work:
        done = subprocess.run(
            command, cwd=work, env={**os.environ, **(environment or {})}, capture_output=True, text=True, check=False
        )
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if line.lower().lstrip().startswith("error")]
        reason = (said or done.stderr.strip().splitlines() or ["no message"])[-1]
        raise UnsupportedError(f"pip {arguments[0]} could not get the wheels for the board: {reason}")
