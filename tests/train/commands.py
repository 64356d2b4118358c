"""Short trainings of tiny encoders through the command line."""

import signal
import subprocess
import sys

from conftest import mrl_edge_here


def kill_when_it_says(words, *arguments):
    """Start a training and kill it (SIGKILL) when it says the words; it must say them."""
    process = subprocess.Popen(tiny_command(*arguments), stderr=subprocess.PIPE, text=True)
    said = any(words in line for line in process.stderr)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert said


def tiny_command(encoder, data, out, *options):
    """Return the command of a short training in fp32, the precision that processes and tests can share."""
    return [
        sys.executable, "-m", "mrl_edge", "train", "--encoder", str(encoder), "--data", str(data), "--out", str(out),
        "--cache", str(out.parent / "cache"), "--mixed-precision", "no",
        *(() if "--dims" in options else ("--dims", "4,32")),
        *map(str, options),
    ]  # fmt: skip


def train_tiny(encoder, data, out, *options):
    """Train in this process, which has torch loaded."""
    mrl_edge_here(*tiny_command(encoder, data, out, *options)[3:])
