"""`mrl-edge verify`: whether a bundle is what was exported and computes here what it did there."""

from __future__ import annotations

import typer

from mrl_edge.cli import console, options

_EPILOG = """Example: mrl-edge verify bundle && echo "as it was exported"

Exit code 1: a file or graph is not what was exported.
"""


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("verify", epilog=_EPILOG)(verify)


def verify(bundle: options.BundleFolder, threads: options.Threads = None, as_json: options.AsJson = False) -> int:
    """Hash every file of a bundle again and run every graph on the texts that the bundle carries.

    A graph must be as near to PyTorch as the manifest says, within what processors differ by. Needs no torch.
    """
    from mrl_edge.bundle import open_bundle
    from mrl_edge.verify import verify as run

    opened = open_bundle(bundle)
    with console.progress_bar() as report:
        found = run(opened, threads, report)
    if as_json:
        console.print_json(found)
        return 1 if found.problems else 0
    for line in found.problems:
        console.say(line)
    if not found.problems:
        console.say(f"{bundle}: {found.files} files and {len(found.graphs)} graphs are as they were exported")
    elif found.not_run:
        console.note(f"  {len(found.not_run)} graphs were not run, since their files are broken or missing")
    return 1 if found.problems else 0
