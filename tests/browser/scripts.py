"""Run a script of this folder in Node."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def run(script, *arguments, task):
    """Run a script in Node with a task as JSON on its standard input, and return its answer."""
    if not (HERE / "node_modules").is_dir():
        pytest.fail("npm's packages are missing; `make browser` installs them", pytrace=False)
    command = [tool("node"), HERE / script, *arguments]
    done = subprocess.run(command, input=json.dumps(task), capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def tool(name):
    """Return where a program is; a test that was asked for by its mark fails without it."""
    return shutil.which(name) or pytest.fail(f"{name} is missing", pytrace=False)
