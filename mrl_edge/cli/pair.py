"""`mrl-edge bench --compare A B`: two configurations in turn, and the ratio of their times."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mrl_edge.cli import console
from mrl_edge.errors import UsageError
from mrl_edge.providers import CPU, check_provider

if TYPE_CHECKING:
    import typer

    from mrl_edge.bench.jobs import EncodeConfiguration, LatencySample
    from mrl_edge.bench.pair import PairResult
    from mrl_edge.bundle import Bundle

_SPEC = re.compile(
    r"(?P<precision>[a-z0-9-]+?)(:d(?P<dim>\d+))?(-L(?P<depth>\d+))?(:t(?P<threads>[1-9]\d*))?(:(?P<provider>[a-z]+))?"
)
_USED = frozenset({"bundle", "data", "text", "image", "query", "max_seconds", "compare", "as_json"})
_TEXTS = 16  # a pass: short enough that many rounds fit the time


def compare_two(
    bundle: Bundle, names: tuple[str, str], roles: dict[str, list[str]], max_seconds: float, as_json: bool
) -> None:
    """Measure two configurations in turn and print the ratio with its interval."""
    from mrl_edge.bench.pair import measure_pair

    a, b = (configuration(bundle, name) for name in names)
    if a == b:
        raise UsageError(f"--compare: {names[0]} and {names[1]} are one configuration")
    found = measure_pair(bundle, _sample(roles), a, b, 2 * max_seconds)
    if as_json:
        console.print_json(found)
    else:
        _print(found)


def refuse_idle_options(context: typer.Context) -> None:
    """Refuse options on the command line that would do nothing; all but `_USED` do not."""
    for parameter in context.command.params:
        name = parameter.name or ""
        source = context.get_parameter_source(name)
        if name not in _USED and source is not None and source.name == "COMMANDLINE":
            raise UsageError(f"{parameter.opts[0]} does nothing with --compare, which names two configurations itself")


def configuration(bundle: Bundle, name: str) -> EncodeConfiguration:
    """Read `int8:d64-L3:t2:cuda`; where not said: the largest dimension and depth, one thread, on the processor."""
    from mrl_edge.bench.jobs import EncodeConfiguration

    match = _SPEC.fullmatch(name)
    if match is None:
        raise UsageError(
            f"--compare {name}: expected a configuration as in int8:d64, int8:d64-L3, int8:d64:t2 or fp16:d64:cuda"
        )
    there = bundle.manifest
    dim, depth = int(match["dim"] or there.dims[-1]), int(match["depth"] or there.depths[-1])
    if dim not in there.dims:
        raise UsageError(f"--compare {name}: the bundle has dimension {', '.join(map(str, there.dims))}")
    if depth not in there.depths:
        raise UsageError(f"--compare {name}: the bundle has depth {', '.join(map(str, there.depths))}")
    provider = match["provider"] or CPU
    check_provider(provider)
    bundle.check_variant(bundle.variant(match["precision"], depth, provider))
    return EncodeConfiguration(match["precision"], depth, dim, int(match["threads"] or 1), provider)


def _sample(roles: dict[str, list[str]]) -> LatencySample:
    from mrl_edge.bench.jobs import Task

    items = roles.get("text") or roles.get("image") or []
    if not items and "query" not in roles:
        raise UsageError("--compare needs the texts to encode: name their column with --query or --text (or --image)")
    return Task(roles.get("query", []), [], [], items, []).latency_sample(_TEXTS)


def verdict(found: PairResult) -> str:
    """Say which is faster, where the interval leaves out 1 and the ratio did not drift from round to round.

    How well the ratio is known is another question: one of 0.25 that may be 0.22 or 0.29 is faster.
    """
    if found.ratio_ci95 is None or "drift" in found.doubts:
        return "undecided"
    low, high = found.ratio_ci95
    if low <= 1 <= high:
        return "neither is shown to be faster" if found.stable else "undecided"
    return "faster" if high < 1 else "slower"


def _print(found: PairResult) -> None:
    from mrl_edge.bench.measure.intervals import in_words

    rows = [
        [side.name, side.p50_ms, in_words(side.ci95_ms), round(side.rss_bytes / 1e6)] for side in (found.a, found.b)
    ]
    console.print_table("", ["", "p50 ms", "95% interval", "RSS MB"], rows)
    console.say(
        f"\n{found.a.name} takes {found.ratio:.3f} × the time of {found.b.name}, 95% interval "
        f"{in_words(found.ratio_ci95, 3)}, {found.rounds} rounds in turn: {verdict(found)}"
    )
    if not found.stable:
        console.note(
            f"~ the ratio is not known to within 2% ({', '.join(found.doubts)}): give it a longer --max-seconds"
        )
