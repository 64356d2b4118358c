"""`mrl-edge ship`: a bundle and a choice → the smallest folder that does the job on a board."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mrl_edge.cli import console, options
from mrl_edge.errors import UsageError

if TYPE_CHECKING:
    from mrl_edge.ship.run import Shipped

_EPILOG = """Examples:

mrl-edge pick results.json --max-disk-mb 30 --out choice.json

mrl-edge ship bundle --pick choice.json --out app

mrl-edge ship bundle --pick choice.json --out app --also d32,d16-L3 --archive --systemd
"""


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("ship", epilog=_EPILOG)(ship)


def ship(
    bundle: options.BundleFolder,
    pick: Annotated[Path, typer.Option(help="What mrl-edge pick --out wrote.", show_default=False)],
    out: Annotated[Path, typer.Option(help="The folder to write.", show_default=False)],
    also: Annotated[
        str | None, typer.Option(help="Lesser levels to step down to, best first, as in d32,d16-L3.")
    ] = None,
    funnel: Annotated[
        str | None, typer.Option(help="Rank shortlists again at ever larger dimensions, as in 200@64,50@128.")
    ] = None,
    verify: Annotated[
        bool, typer.Option(help="Check it in a fresh environment, made by pip, not with this Python.")
    ] = True,
    archive: Annotated[bool, typer.Option("--archive", help="Pack it into OUT.tar.zst too.")] = False,
    systemd: Annotated[bool, typer.Option("--systemd", help="Add a small HTTP server, and a unit to run it.")] = False,
    overwrite: options.Overwrite = False,
    as_json: options.AsJson = False,
) -> None:
    """Write one graph, the bytes of the weights that it needs, the index and the few modules that search it.

    The folder runs with numpy, onnxruntime and tokenizers, and with annoy or usearch where its index is theirs. It is
    compared with the bundle on real texts, each level of it, before it is put in place.
    """
    from mrl_edge.app import MANIFEST
    from mrl_edge.atomic import check_target
    from mrl_edge.bundle import open_bundle
    from mrl_edge.choice import read_choice
    from mrl_edge.ship.archive import compressor
    from mrl_edge.ship.levels import chosen_level, further_levels
    from mrl_edge.ship.run import ship as make
    from mrl_edge.ship.unit import check_name

    target = out.resolve()
    if target in (here := Path.cwd(), *here.parents):
        raise UsageError(f"--out {out} is this folder, or one around it: name a new one")
    for option, given in (("--systemd", systemd), ("--archive", archive)):
        if given:
            check_name(option, target.name)
    check_target(out, MANIFEST, overwrite)
    packed = target.with_name(f"{target.name}.tar.zst")
    if archive:
        compressor()
        if packed.exists() and not overwrite:
            raise UsageError(f"{packed} already exists: replace it with --overwrite")
    opened = open_bundle(bundle)
    configuration = read_choice(pick, opened)
    best = chosen_level(configuration, opened, funnel)
    levels = [best, *(further_levels(also, best, opened) if also else [])]
    with console.progress_bar() as report:
        done = make(opened, configuration, levels, target, verify, systemd, packed if archive else None, report)
    by = done.packed_by
    if as_json:
        packing = {"file": str(packed), "bytes": packed.stat().st_size, "by": by} if by else None
        console.print_json({"shipped": done, "archive": packing})
        return
    print_shipped(done)
    if by:
        console.say(f"{packed}: {packed.stat().st_size / 1e6:.1f} MB, packed by {by}")
    console.say(f'\nnext: pip install -r {out}/requirements.txt && python {out}/example.py "your text"')


def print_shipped(done: Shipped) -> None:
    """Print what was written, and what the check saw."""
    for note in done.notes:
        console.note(f"note: {note}")
    parts = sorted(done.bytes.items(), key=lambda part: -part[1])
    rows: list[list[object]] = [[part, size / 1e6] for part, size in parts]
    rows.append(["all", done.total_bytes / 1e6])
    console.print_table(f"{done.folder}: {', '.join(done.levels)}", ["part", "MB"], rows)
    console.say(f"requires {', '.join(done.requirements)}")
    seen = done.check
    levels: list[list[object]] = [
        [level.level, f"{level.difference:.1e}", level.recall_at_10, (level.peak_rss_bytes or math.nan) / 1e6]
        for level in seen.levels
    ]
    where = "in a fresh environment" if seen.fresh else "with this Python, as was asked"
    console.print_table(
        f"\nanswers {seen.texts} texts as the bundle does, {where}",
        ["level", "scores within", "recall@10", "peak RSS MB"],
        levels,
    )
    console.say(
        f"from the start of a process to an answer: {seen.caller_ms:.0f} ms by the caller, {seen.printed_ms:.0f} ms as "
        f"the example prints it, {seen.cpu_ms:.0f} ms of processor time"
    )
