"""Ask this folder: python example.py "a small musical phrase" [more texts] [--json] [--deadline-ms 20]."""

import argparse
import json
import sys
import time
from pathlib import Path

STARTED = time.perf_counter()  # before anything large is imported
from mrl_edge.app import leave, open_app, peak_rss_bytes  # noqa: E402
from mrl_edge.errors import MrlEdgeError  # noqa: E402

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("texts", nargs="+", help="or -, for a JSON list of them on standard input")
parser.add_argument("--json", action="store_true", help="a line a text")
parser.add_argument("--deadline-ms", type=float, help="step down to a lesser level where the best one is too slow")
parser.add_argument("--level", help="the level that answers, one of app.json's, whatever it takes")
options = parser.parse_args()
try:
    app = open_app(Path(__file__).parent)
    for text in json.load(sys.stdin) if options.texts == ["-"] else options.texts:
        answer = app.ask(text, k=10, deadline_ms=options.deadline_ms, level=options.level)
        said = {"text": text, "level": answer.level, "rows": [[hit.id, hit.score, hit.text] for hit in answer.value]}
        said |= {"ms_since_start": 1000 * (time.perf_counter() - STARTED), "peak_rss_bytes": peak_rss_bytes()}
        head = f"{text}  ({answer.level}, {said['ms_since_start']:.0f} ms after the start)"
        rows = [f"  {score:.4f}  {number:>6}  {found}" for number, score, found in said["rows"][:5]]
        print(json.dumps(said) if options.json else "\n".join([head, *rows]))
except (MrlEdgeError, TypeError, ValueError) as error:
    parser.error(str(error))
leave()
