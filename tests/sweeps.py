"""A small sweep's task and arguments, for the parts that look at its rows and those that interrupt it."""

import json


def write_task(path, dev, count):
    """Write the first dev rows as pairs `q`, `p` with classes `c`."""
    rows = zip(dev["query"][:count], dev["positive"][:count], dev["label"][:count], strict=True)
    path.write_text("".join(json.dumps({"q": q, "p": p, "c": c}) + "\n" for q, p, c in rows))
    return path


def sweep_arguments(bundle, task, out, dims, *options):
    """Return the arguments of a short `mrl-edge bench` on pairs and classes."""
    columns = ("--query", "q", "--positive", "p", "--text", "q", "--label", "c")
    short = ("--dims", ",".join(map(str, dims)), "--tokens", "16", "--max-seconds", "0.3", "--repeats", "1")
    return ("bench", bundle, "--data", task, *columns, *short, "--out", out, *options)
