"""The command line, in the order of the work: train → export → index → bench → tune → pick → report → ship.

Each command lives in a module of its own that imports its stage only when it runs, so that `--help` is instant.
"""

from __future__ import annotations

import errno
import sys
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

from mrl_edge.cli import (
    bench,
    classify,
    compare,
    deploy,
    devices,
    evaluate,
    export,
    index,
    next_step,
    pick,
    probe,
    quickstart,
    report,
    schema,
    search,
    serve,
    ship,
    show,
    train,
    tune,
    verify,
)
from mrl_edge.errors import MrlEdgeError

_INTERRUPTED = 130


class _Commands(TyperGroup):
    """Without a command it says what to do next; typer's own way to one takes 0.2 s of imports."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Leave before anything is parsed where there is nothing to parse."""
        if not args and not ctx.resilient_parsing:
            next_step.print_next(Path.cwd(), self.list_commands(ctx))
            ctx.exit()
        return super().parse_args(ctx, args)


app = typer.Typer(
    name="mrl-edge",
    cls=_Commands,
    help="Train, export, measure and pick Matryoshka embeddings for the device you have.",
    epilog="Without a command it says what to do next with what lies in this folder.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for module in (
    train,
    evaluate,
    export,
    show,
    verify,
    index,
    search,
    classify,
    bench,
    compare,
    tune,
    pick,
    report,
    ship,
    serve,
    deploy,
    quickstart,
    devices,
    probe,
    schema,
):
    module.register(app)


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code; a user's error is one line on stderr and code 2."""
    try:
        code = app(arguments, prog_name="mrl-edge", standalone_mode=False)
    except typer.TyperException as error:
        return _fail(error.format_message())
    except MrlEdgeError as error:
        return _fail(str(error))
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("mrl_edge"):
            raise
        extras = "train,export,report,remote,ship,serve"
        return _fail(f"this command needs the package {error.name}: pip install 'mrl-edge[{extras}]'")
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except OSError as error:
        return _fail(_reason(error))
    if code == _INTERRUPTED:  # typer turns Ctrl-C into this code without a word
        raise KeyboardInterrupt
    return code if isinstance(code, int) else 0


def _reason(error: OSError) -> str:
    if error.errno == errno.ENOSPC or "requested and" in str(error):  # numpy's short write carries no errno
        where = f" while writing {error.filename}" if error.filename else ""
        return f"the disk is full{where}: free some space and run the same command again"
    return str(error)


def _fail(message: str) -> int:
    line = " ".join(message.split())
    # A message may quote a bundle, or a board: nothing in it steers the terminal.
    shown = "".join(sign if sign.isprintable() else f"\\x{ord(sign):02x}" for sign in line)
    sys.stderr.write(f"error: {shown}\n")
    return 2
