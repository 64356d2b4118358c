"""The virtual environments of other software, one each, which make installs from `requirements/`."""

from __future__ import annotations

from pathlib import Path

from mrl_edge.errors import ResultsError

ENVIRONMENTS = Path("build/peers")


def python_of(environment: Path, target: str) -> Path:
    """Return an environment's interpreter; `ResultsError` with pip's last word where it could not be installed.

    `target` is what make installs it by.
    """
    if (environment / "installed").is_file():
        return environment / "bin" / "python"
    told = environment / "pip.txt"
    lines = told.read_text(encoding="utf-8").strip().splitlines() if told.is_file() else []
    raise ResultsError(f"not installed: {lines[-1] if lines else f'{environment} is missing, run make {target}'}")
