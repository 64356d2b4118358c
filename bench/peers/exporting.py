"""Our export of every dimension, depth and precision beside optimum's export and one quantisation a precision.

    python bench/peers/exporting.py [--folder quickstart] [--rounds 6] [--json]

Ours: 7 dimensions × fp32, fp16, int8 and int4 × 2 depths, each graph checked against PyTorch. Theirs: `optimum-cli
export onnx`, then fp16, int8 and int4 of that one graph, unchecked. Every command is a process of its own, timed
from start to end, in turn; the memory is the largest resident set that the kernel saw of any one of them.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from pathlib import Path

import numpy as np
from mrl_edge.bench.measure.intervals import LEAST_PASSES, in_words, median_interval
from verdicts import SHOWN, held

from mrl_edge.cli.quickstart import find_encoder
from mrl_edge.cpu import this_target

DIMS, DEPTHS, PRECISIONS = "8,16,32,64,128,256,384", "3,6", "fp32,fp16,int8,int4"
MOST_TIMES, MOST_BYTES = 2.0, 2e9
_HALF = (
    "import sys, onnx; from onnxruntime.transformers.float16 import convert_float_to_float16 as half;"
    "onnx.save(half(onnx.load(sys.argv[1]), keep_io_types=True), sys.argv[2])"
)
_PYTHON = sys.executable
_OPTIMUM = str(Path(_PYTHON).parent / "optimum-cli")


def model(folder: Path) -> Path:
    """Return a MiniLM with two depths, trained briefly where it is missing: how well does not matter here."""
    place = folder / "exporting" / "model"
    if not (place / "mrl.json").is_file():
        command = [_PYTHON, "-m", "mrl_edge", "train", "--encoder", str(find_encoder())]
        command += ["--data", "builtin:wordnet_nouns/train", "--query", "gloss", "--positive", "lemmas"]
        command += ["--dims", DIMS, "--depths", DEPTHS, "--max-rows", "512", "--out", str(place)]
        run(command)
    return place


def ours(model: Path, work: Path) -> list[list[str]]:
    """Return our one command."""
    options = ["--out", str(work / "ours"), "--precision", PRECISIONS]
    return [[_PYTHON, "-m", "mrl_edge", "export", str(model), *options]]


def theirs(model: Path, work: Path) -> list[list[str]]:
    """Return optimum's export and what makes each other precision of its graph."""
    onnx, half, int8, int4 = work / "onnx", work / "fp16.onnx", work / "int8", work / "int4.onnx"
    flag = f"--{this_target().replace('-', '_').replace('any', 'avx2')}"
    nbits = "onnxruntime.quantization.matmul_nbits_quantizer"
    return [
        [_OPTIMUM, "export", "onnx", "--model", str(model), "--task", "feature-extraction", str(onnx)],
        [_PYTHON, "-c", _HALF, str(onnx / "model.onnx"), str(half)],
        [_OPTIMUM, "onnxruntime", "quantize", "--onnx_model", str(onnx), flag, "-o", str(int8)],
        [_PYTHON, "-m", nbits, "--input_model", str(onnx / "model.onnx"), "--output_model", str(int4), "--bits", "4"],
    ]


def run(command: list[str]) -> tuple[float, int]:
    """Run a command silently; return its seconds and the largest resident set of its process in bytes."""
    started = time.perf_counter()
    quiet = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_WRONLY, 0) for number in (1, 2)]
    pid = os.posix_spawn(command[0], command, os.environ, file_actions=quiet)
    _, status, usage = os.wait4(pid, 0)
    if status:
        sys.exit(f"exit code {os.waitstatus_to_exitcode(status)}: {' '.join(command)}")
    return time.perf_counter() - started, usage.ru_maxrss * 1024


def measure(model: Path, work: Path, rounds: int) -> dict[str, object]:
    """Run both sides in turn; return seconds, the ratio with its interval, and the largest resident sets."""
    seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
    rss = dict.fromkeys(seconds, 0)
    for number in range(rounds):
        for name, commands in (("ours", ours), ("theirs", theirs)):
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir(parents=True)
            took = [run(command) for command in commands(model, work)]
            seconds[name].append(sum(each for each, _ in took))
            rss[name] = max(rss[name], *(each for _, each in took))
        print(f"  round {number + 1} of {rounds}", end="\r", file=sys.stderr)
    shutil.rmtree(work)
    ratios = np.array(seconds["ours"]) / np.array(seconds["theirs"])
    return {
        "ours_s": float(np.median(seconds["ours"])),
        "theirs_s": float(np.median(seconds["theirs"])),
        "ratio": float(np.median(ratios)),
        "ratio_ci95": median_interval(ratios),
        "ours_rss_mb": rss["ours"] / 1e6,
        "theirs_rss_mb": rss["theirs"] / 1e6,
        "time": held(median_interval(ratios), most=MOST_TIMES),
        "memory": held((rss["ours"], rss["ours"]), most=MOST_BYTES),
    }


def main() -> None:
    """Print the comparison, or JSON; exit code 1 unless ours is shown to take at most twice as long and 2 GB."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("quickstart"), help="where to work")
    parser.add_argument("--rounds", type=int, default=LEAST_PASSES, help="fewer than 6 decide nothing")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    row = measure(model(options.folder), options.folder / "exporting" / "work", options.rounds)
    if options.json:
        print(json.dumps(row, indent=2))
    else:
        interval = in_words(row["ratio_ci95"])  # type: ignore[arg-type]
        print(f"ours, 7 dimensions × 4 precisions × 2 depths: {row['ours_s']:.0f} s, {row['ours_rss_mb']:.0f} MB")
        print(f"optimum, one graph in 4 precisions:           {row['theirs_s']:.0f} s, {row['theirs_rss_mb']:.0f} MB")
        print(f"ours ÷ optimum: {row['ratio']:.2f} ({interval}); asked at most {MOST_TIMES}: {row['time']}")
        print(f"our largest process within {MOST_BYTES / 1e9:.0f} GB: {row['memory']}")
    sys.exit(not SHOWN.issuperset((row["time"], row["memory"])))


if __name__ == "__main__":
    main()
