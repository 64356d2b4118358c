"""The entry point of `mrl-edge` and `python -m mrl_edge`: one line and an exit code for every error."""

from __future__ import annotations

import io
import signal
import sys
from types import FrameType


def main() -> None:
    """Run the command line; exit 0, 2 for the user's error, 3 when nothing fits a budget, 130 for Ctrl-C."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal, or a pipe, that cannot show a sign is no error
    try:
        signal.signal(signal.SIGTERM, _terminate)
        from mrl_edge.cli import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        code = 130
    sys.exit(code)


def _terminate(number: int, frame: FrameType | None) -> None:
    # SIGTERM unwinds the stack as Ctrl-C does, so that temporary folders are removed.
    raise SystemExit(128 + number)


if __name__ == "__main__":
    main()
