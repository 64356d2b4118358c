"""What a reader of a page must know before they trust or compare its figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from mrl_edge.bench.report_devices import Shown
from mrl_edge.bench.results import BUSY_PERCENT

_DOUBTS = {
    "few samples": "of few samples",
    "interval": "with an interval wider than 2% to each side",
    "drift": "that drifted meanwhile",
    "bimodal": "at two speeds",
    "busy": "while other work had the core",
    "processes": "that differ between processes",
}


def notes(shown: Sequence[Shown]) -> list[str]:
    """Return a sentence or two each."""
    return [*_apart(shown), *(line for device in shown for line in _of(device))]


def _apart(shown: Sequence[Shown]) -> list[str]:
    said = []
    if len({device.results.bundle.sha256 for device in shown}) > 1:
        said.append("These files measured different bundles: differences are not the devices' alone.")
    data = {f"{device.results.settings.get('data_sha256')}" for device in shown}
    if len(data) > 1 and len({device.compared for device in shown}) > 1:
        sizes = {device.results.settings.get("documents") for device in shown}
        known = sorted(size for size in sizes if isinstance(size, int) and size)
        corpora = f" (over {' and '.join(f'{size:,}' for size in known)} documents)" if len(known) > 1 else ""
        said.append(
            f"These files measured different data{corpora}: they do not compare, neither in quality nor in what a "
            "search takes of time, memory and disk."
        )
    return said


def _of(device: Shown) -> list[str]:
    return [
        line
        for line in (_held(device), _left_out(device), _predicted(device), *_cautions(device), *_unsettled(device))
        if line
    ]


def _held(device: Shown) -> str:
    held = device.results.device.capped_to
    if held is None:
        return ""
    return (
        f"{device.label}: only its memory and cores were those of a {held}. Its times are of this machine's processor, "
        "and say nothing of that board's."
    )


def _left_out(device: Shown) -> str:
    tuned = [(file.path, file.results.narrowing) for file in device.files if file.results.narrowing is not None]
    if not tuned:
        return ""
    left: Counter[str] = Counter()
    for _, narrowing in tuned:
        left.update(narrowing.left_out)
    why = "; ".join(f"{count} {reason}" for reason, count in left.most_common())
    return (
        f"mrl-edge tune measured {', '.join(path for path, _ in tuned)} for one budget and left out "
        f"{left.total()} configurations{f' ({why})' if why else ''}: within another budget the best may be among those."
    )


def _predicted(device: Shown) -> str:
    count = sum(row.predicted for row in device.rows)
    of = f"{count} of {len(device.rows)} configurations on {device.label}"
    if not count:
        return ""
    if not device.corpora:
        return f"{of} are predicted, not measured."
    sizes = sorted({row.search.n_items for file in device.files for row in file.results.measurements if row.search})
    among = ", ".join(f"{size:,}" for size in sizes)
    return f"{of} are predicted for {device.corpora[-1]:,} documents, from what was measured with {among}."


def _cautions(device: Shown) -> list[str]:
    return [f"{device.label}: {line}." for line in device.cautions]


def _unsettled(device: Shown) -> list[str]:
    said = []
    records, measured = device.records, device.measurements
    moving = [record for record in records if not record["stable"]]
    if moving:
        doubts = Counter(doubt for record in moving for doubt in record["doubts"])
        why = ", ".join(f"{count} {_DOUBTS[doubt]}" for doubt, count in doubts.most_common())
        said.append(
            f"{len(moving)} of {len(records)} latencies on {device.label} are in doubt, and marked ~"
            f"{f': {why}' if why else '; the file does not say why'}."
        )
    slowed = sum(row.throttled is True for row in measured)
    if slowed:
        said.append(f"{device.label} was throttled during {slowed} of {len(measured)} measurements: it can be faster.")
    busy = [row.system.busy_before_percent for row in measured if row.system is not None]
    over = [share for share in busy if share > BUSY_PERCENT]
    if over:
        said.append(
            f"Other work took up to {max(over):.0f}% of {device.label} just before {len(over)} of {len(measured)} "
            "measurements: their latencies are too high."
        )
    return said
