"""Ask this folder: python example.py "a small musical phrase" [more texts] [--json] [--deadline-ms 20]."""

import argparse
import json
import time
from pathlib import Path

STARTED = time.perf_counter()  # before anything large is imported

from mrl_edge.app import open_app  # noqa: E402

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("texts", nargs="+")
parser.add_argument("--json", action="store_true", help="a line a text")
parser.add_argument("--deadline-ms", type=float, help="step down to a lesser level where the best one is too slow")
options = parser.parse_args()

app = open_app(Path(__file__).parent)
for text in options.texts:
    answer = app.ask(text, k=10, deadline_ms=options.deadline_ms)
    ms = 1000 * (time.perf_counter() - STARTED)
    if options.json:
        rows = [[hit.id, hit.score, hit.text] for hit in answer.value]
        print(json.dumps({"text": text, "level": answer.level, "rows": rows, "ms_since_start": ms}))
        continue
    print(f"{text}  ({answer.level}, {ms:.0f} ms after the start)")
    for hit in answer.value[:5]:
        print(f"  {hit.score:.4f}  {hit.id:>6}  {hit.text}")
