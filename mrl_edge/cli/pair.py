"""`mrl-edge bench --compare A B`: two configurations in turn, and the ratio of their times."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from mrl_edge.cli import console
from mrl_edge.errors import UsageError

if TYPE_CHECKING:
    from mrl_edge.bench.jobs import EncodeConfiguration, LatencySample
    from mrl_edge.bench.pair import PairResult
    from mrl_edge.bundle import Bundle

_SPEC = re.compile(r"(?P<precision>[a-z0-9-]+?)(:d(?P<dim>\d+))?(-L(?P<depth>\d+))?(:t(?P<threads>[1-9]\d*))?")
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


def refuse(given: Mapping[str, object]) -> None:
    """Refuse options that would do nothing; None is what was not given."""
    for name, value in given.items():
        if value is not None:
            raise UsageError(f"{name} does nothing with --compare, which names two configurations itself")


def configuration(bundle: Bundle, name: str) -> EncodeConfiguration:
    """Read `int8:d64-L3:t2`; the dimension and depth are the largest where not said, and one thread."""
    from mrl_edge.bench.jobs import EncodeConfiguration

    match = _SPEC.fullmatch(name)
    if match is None:
        raise UsageError(f"--compare {name}: expected a configuration as in int8:d64, int8:d64-L3 or int8:d64:t2")
    there = bundle.manifest
    dim, depth = int(match["dim"] or there.dims[-1]), int(match["depth"] or there.depths[-1])
    if dim not in there.dims:
        raise UsageError(f"--compare {name}: the bundle has dimension {', '.join(map(str, there.dims))}")
    if depth not in there.depths:
        raise UsageError(f"--compare {name}: the bundle has depth {', '.join(map(str, there.depths))}")
    bundle.check_variant(bundle.variant(match["precision"], depth))
    return EncodeConfiguration(match["precision"], depth, dim, int(match["threads"] or 1))


def _sample(roles: dict[str, list[str]]) -> LatencySample:
    from mrl_edge.bench.jobs import Task

    items = roles.get("text") or roles.get("image") or []
    if not items and "query" not in roles:
        raise UsageError("--compare needs the texts to encode: name their column with --query or --text (or --image)")
    return Task(roles.get("query", []), [], [], items, []).latency_sample(_TEXTS)


def _print(found: PairResult) -> None:
    rows = [
        [side.name, side.p50_ms, f"{side.ci95_ms[0]:.2f} to {side.ci95_ms[1]:.2f}", round(side.rss_bytes / 1e6)]
        for side in (found.a, found.b)
    ]
    console.print_table("", ["", "p50 ms", "95% interval", "RSS MB"], rows)
    low, high = found.ratio_ci95
    verdict = "neither is shown to be faster" if low <= 1 <= high else "faster" if high < 1 else "slower"
    console.say(
        f"\n{found.a.name} takes {found.ratio:.3f} × the time of {found.b.name}, 95% interval {low:.3f} to {high:.3f}, "
        f"{found.rounds} rounds in turn: {verdict}"
    )
    if not found.stable:
        console.note(
            f"~ the ratio is not known to within 2% ({', '.join(found.doubts)}): give it a longer --max-seconds"
        )
