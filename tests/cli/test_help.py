import re

import pytest
from conftest import mrl_edge_here, run_here, the_one_error_line

COMMANDS = (
    "train",
    "evaluate",
    "export",
    "show",
    "verify",
    "index",
    "search",
    "classify",
    "bench",
    "compare",
    "tune",
    "pick",
    "report",
    "ship",
    "serve",
    "deploy",
    "quickstart",
    "schema",
    "devices",
)


def test_the_help_names_every_command_in_the_order_of_the_work():
    text = mrl_edge_here("--help")
    places = [text.index(f"  {command} ") for command in COMMANDS]
    assert places == sorted(places)


@pytest.mark.parametrize("command", [*COMMANDS, "devices list", "devices show", "devices probe"])
def test_every_command_says_what_it_does_and_gives_an_example(command):
    text = mrl_edge_here(*command.split(), "--help")
    assert re.search(rf"^ *(Example: )?mrl-edge {command}", text, re.MULTILINE)
    assert "Example" in text
    assert "\x1b" not in text


@pytest.mark.parametrize("command", COMMANDS)
def test_an_unknown_option_is_named(command):
    assert "--nonsense" in the_one_error_line(run_here(command, "--nonsense"))


def test_an_unknown_command_is_named():
    assert "fly" in the_one_error_line(run_here("fly"))


def test_a_closed_pipe_is_no_error(bundle):
    import subprocess
    import sys

    command = f"{sys.executable} -m mrl_edge classify {bundle} text --json | head -c 1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False)
    assert done.stderr == ""
