"""Run every command and program of docs/tutorial.md in a folder, as a reader would; stop at the first that fails.

    python docs/run_tutorial.py --folder build/tutorial

Commands are the lines of ```console blocks that begin with `$`, programs the ```python blocks. The encoder is taken
from its PyPI package where that is installed, since it holds the same files as the hub.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mrl_edge.cli.quickstart import find_encoder

PAGE = Path(__file__).with_name("tutorial.md")
ENCODER = "sentence-transformers/all-MiniLM-L6-v2"
_BLOCK = re.compile(r"^```(console|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMAND = re.compile(r"^\$ ((?:.*\\\n)*.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Step:
    """A command for a shell, or a program in Python, and where it stands."""

    line: int
    text: str
    is_python: bool


def steps(page: str) -> Iterator[Step]:
    """Yield what a page tells its reader to run, in its order."""
    for block in _BLOCK.finditer(page):
        first = page.count("\n", 0, block.start(2)) + 1
        if block[1] == "python":
            yield Step(first, block[2], True)
            continue
        for command in _COMMAND.finditer(block[2]):
            yield Step(first + block[2].count("\n", 0, command.start()), command[1], False)


def main() -> None:
    """Run all of it in an empty folder and say what each step took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True)
    folder = parser.parse_args().folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    started = time.perf_counter()
    for step in steps(PAGE.read_text(encoding="utf-8")):
        shown = "the program" if step.is_python else step.text
        print(f"\n{PAGE.name}:{step.line} $ {shown}", flush=True)
        text = step.text.replace(ENCODER, find_encoder())
        command = [sys.executable, "-c", text] if step.is_python else ["sh", "-c", text]
        begun = time.perf_counter()
        done = subprocess.run(command, cwd=folder, env={**os.environ, "PATH": programs}, check=False)
        if done.returncode:
            sys.exit(f"{PAGE.name}:{step.line} exited with {done.returncode}")
        print(f"({time.perf_counter() - begun:.1f} s)", flush=True)
    print(f"\nall of {PAGE.name} ran in {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
