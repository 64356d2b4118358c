"""What a budget's answer must be, by trying every row of a results file.

Nothing of mrl-edge is imported: the file is read with `json`, and what each word means is written out again.
"""

import json
from dataclasses import dataclass, field, replace

COSTS = {  # the figure that a limit is held against
    "p50_ms": lambda row: row["query"]["p50_ms"],
    "p99_ms": lambda row: row["query"]["p99_ms"],
    "cold_start_ms": lambda row: row["cold_start_ms"],
    "peak_rss_mb": lambda row: row["memory"]["peak_rss_bytes"] / 1e6,
    "disk_mb": lambda row: sum(row["disk"][part] for part in ("model_bytes", "index_bytes", "vectors_bytes")) / 1e6,
}
SHOWN = ("p50_ms", "peak_rss_mb", "disk_mb")  # savings are told of these, whatever the limits, and the front is of them


@dataclass(frozen=True)
class Held:
    """A budget. With `confident` the p50 is held by the upper end of its measured 95% interval."""

    max: dict = field(default_factory=dict)
    min: dict = field(default_factory=dict)
    keep: dict = field(default_factory=dict)
    objective: str = "ndcg_at_10"
    utility: dict = field(default_factory=dict)
    confident: bool = False

    def with_limit(self, name, value):
        """The same with one limit, or one floor, in the place of its own."""
        return replace(self, max={**self.max, name: value}) if name in COSTS else self.with_floor(name, value)

    def with_floor(self, name, value):
        keep = {metric: share for metric, share in self.keep.items() if metric != name}
        return replace(self, min={**self.min, name: value}, keep=keep)


def read_rows(path):
    rows = json.loads(path.read_text(encoding="utf-8"))["measurements"]
    return [row for row in rows if row["status"] == "ok" and row["tokens"] is None]


def identity(row):
    """What a row of the results file is; `said` gives the same of a row that `pick` names."""
    search = row["search"]
    beside = search["index"], search["shortlist"], search["rerank_dim"]
    return row["precision"], row["depth"], row["dim"], row["threads"], *beside


def said(row):
    names = ("precision", "depth", "dim", "threads", "index", "shortlist", "rerank_dim")
    return tuple(row[name] for name in names)


def figure(row, name):
    return COSTS[name](row) if name in COSTS else row["quality"][name]


def worth(row, held):
    if held.utility:
        return sum(weight * figure(row, name) for name, weight in held.utility.items())
    return row["quality"][held.objective]


def full_model(rows, metric):
    """fp32, all layers, the largest dimension; of its kinds of index the best."""
    fp32 = [row for row in rows if row["precision"] == "fp32"]
    largest = max((row["depth"], row["dim"]) for row in fp32)
    return max((row for row in fp32 if (row["depth"], row["dim"]) == largest), key=lambda row: figure(row, metric))


def floors(rows, held):
    shares = {name: share * figure(full_model(rows, name), name) for name, share in held.keep.items()}
    return {**held.min, **shares}  # no budget here has both of one metric


def held_value(row, name, held):
    return row["query"]["ci95_ms"][1] if held.confident and name == "p50_ms" else figure(row, name)


def misses(row, rows, held):
    """Each limit that a row misses: its value, the limit, and by what share of it."""
    found = {}
    for name, limit in held.max.items():
        value = held_value(row, name, held)
        if value > limit:
            found[name] = value, limit, (value - limit) / limit
    for name, floor in floors(rows, held).items():
        value = figure(row, name)
        if value < floor:
            found[name] = value, floor, (floor - value) / floor
    return found


def fitting(rows, held):
    return [row for row in rows if not misses(row, rows, held)]


def best(rows, held):
    """The best that fits; equals are decided by time, then memory, then disk. None where nothing fits."""
    return min(
        fitting(rows, held), key=lambda row: (-worth(row, held), *(figure(row, name) for name in SHOWN)), default=None
    )


def nearest(rows, these, held):
    """Of these the one whose worst miss is the least; of equals the best, then as the choice."""

    def order(row):
        worst = max(share for _, _, share in misses(row, rows, held).values())
        return worst, -worth(row, held), *(figure(row, name) for name in SHOWN)

    return min(these, key=order, default=None)


def front(rows, held):
    """Every row that no other beats: nowhere worse, and somewhere better."""
    keys = {identity(row): (-worth(row, held), *(figure(row, name) for name in SHOWN)) for row in rows}
    return {
        name
        for name, ours in keys.items()
        if not any(all(a <= b for a, b in zip(other, ours, strict=True)) and other != ours for other in keys.values())
    }


def alone(rows, name, held):
    """The rows that miss this limit and no other, each with its value."""
    return [(missed[name][0], row) for row in rows if (missed := misses(row, rows, held)) and set(missed) == {name}]


def purchases(rows, chosen, held):
    """For each limit the least that it must give for something better than the chosen, and the best that it gets."""
    found = {}
    for name, limit in {**held.max, **floors(rows, held)}.items():
        better = [
            (abs(value - limit), row)
            for value, row in alone(rows, name, held)
            if worth(row, held) > worth(chosen, held)
        ]
        if better:
            least = min(amount for amount, _ in better)
            row = max((row for amount, row in better if amount == least), key=lambda row: worth(row, held))
            found[name] = (least if name in COSTS else -least), worth(row, held) - worth(chosen, held), identity(row)
    return found


def savings(rows, chosen, held):
    """For each cost what fits and costs less, beyond the noise, and gives up least."""
    found = {}
    for name in COSTS:
        less = [row for row in fitting(rows, held) if saves(row, chosen, name)]
        if less and (name in held.max or name in SHOWN):
            row = min(less, key=lambda row: (-worth(row, held), figure(row, name)))
            gain = worth(row, held) - worth(chosen, held)
            found[name] = figure(row, name) - figure(chosen, name), gain, identity(row)
    return found


def saves(row, chosen, name):
    """Of the p50 the intervals lie apart; of what has none it is more than a hundredth less."""
    if name == "p50_ms":
        return row["query"]["ci95_ms"][1] < chosen["query"]["ci95_ms"][0]
    return figure(row, name) < 0.99 * figure(chosen, name)


def relaxations(rows, held):
    """For each limit the value to which it alone must give for something to fit; None where it alone cannot."""
    found = {}
    for name in {**held.max, **floors(rows, held)}:
        values = [value for value, _ in alone(rows, name, held)]
        found[name] = (min if name in COSTS else max)(values, default=None)
    return found
