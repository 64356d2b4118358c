"""Ask this folder: python example.py "a small musical phrase" [more texts] [--json] [--deadline-ms 20]."""

import argparse
import json
import time
from pathlib import Path

STARTED = time.perf_counter()  # before anything large is imported

from mrl_edge.app import open_app  # noqa: E402
from mrl_edge.errors import UsageError  # noqa: E402


def peak_rss_bytes() -> int | None:
    """Return the most memory that this process had; None where the system does not say."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM")), None)


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("texts", nargs="*")
parser.add_argument("--file", type=Path, help="a JSON list of further texts")
parser.add_argument("--json", action="store_true", help="a line a text")
parser.add_argument("--deadline-ms", type=float, help="step down to a lesser level where the best one is too slow")
parser.add_argument("--level", help="the level that answers, one of app.json's, whatever it takes")
options = parser.parse_args()
texts = [*options.texts, *(json.loads(options.file.read_text("utf-8")) if options.file else [])]
if not texts:
    parser.error("give a text")

app = open_app(Path(__file__).parent)
for text in texts:
    try:
        if options.level is None:
            answer = app.ask(text, k=10, deadline_ms=options.deadline_ms)
            level, hits = answer.level, answer.value
        else:
            level, hits = options.level, app.level_named(options.level).ask(text, 10)
    except UsageError as error:
        parser.error(str(error))
    ms = 1000 * (time.perf_counter() - STARTED)
    if options.json:
        rows = [[hit.id, hit.score, hit.text] for hit in hits]
        said = {"text": text, "level": level, "rows": rows, "ms_since_start": ms, "peak_rss_bytes": peak_rss_bytes()}
        print(json.dumps(said))
        continue
    print(f"{text}  ({level}, {ms:.0f} ms after the start)")
    for hit in hits[:5]:
        print(f"  {hit.score:.4f}  {hit.id:>6}  {hit.text}")
