"""What nesting costs a training step, and our fine-tuning beside sentence-transformers' trainer, in turn in one run.

    python bench/peers/training.py [--rounds 8] [--steps 4] [--json]

Every round trains a few steps of each side on the same kind of batches; a ratio is taken within a round, where
the machine was the same for both, and its median and 95% interval over the rounds are printed. A promise is kept where
the whole interval keeps it, and undecided where a part does. Exit code 1 unless all are kept.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from mrl_edge.bench.measure.intervals import LEAST_PASSES, in_words, median_interval
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.losses import MatryoshkaLoss, MultipleNegativesRankingLoss
from training_promises import PROMISES, judged
from transformers import TrainerCallback
from verdicts import SHOWN

from mrl_edge.cli.quickstart import find_encoder
from mrl_edge.datasets import Columns, Table, read_table
from mrl_edge.progress import silent
from mrl_edge.train.features import has_fast_bfloat16
from mrl_edge.train.run import Run, Setup
from mrl_edge.train.settings import Settings
from mrl_edge.train.source import read_encoder

DIMS = (8, 16, 32, 64, 128, 256, 384)
BATCH = 64
CACHED_ROWS, CACHED_BATCH = 30_000, 512

Steps = Callable[[int], float]  # how many → seconds a step


def settings(dims: tuple[int, ...], fine_tune: bool, batch: int) -> Settings:
    """What `mrl-edge train` does by default, with nothing of exits and classes."""
    return Settings(
        dims=dims, depths=(6,), weights=(1.0,) * len(dims), tied=False, epochs=1, batch_size=batch, accumulate=1,
        learning_rate=2e-3, trunk_learning_rate=1e-4, temperature=0.05, label_weight=1.0, exit_weight=1.0,
        exit_distillation=0.0, self_distillation=0.0, sample_exits=False, head_epochs=0, fine_tune=fine_tune,
        train_word_embeddings=False, seed=0, mixed_precision="bf16" if has_fast_bfloat16() else "no",
    )  # fmt: skip


def ours(pairs: Table, dims: tuple[int, ...], fine_tune: bool, batch: int, cache: Path) -> Steps:
    """Return a function that trains some steps of our loop."""
    dev = pairs.first(64)
    run = Run(Setup(read_encoder(find_encoder()), pairs, dev, settings(dims, fine_tune, batch), cache), silent)
    loop = run.loop()
    batches = loop.batches(0)
    place = 0

    def steps(count: int) -> float:
        nonlocal place
        started = time.perf_counter()
        for _ in range(count):
            loop.step(batches[place % len(batches)], place, 10_000)
            place += 1
        return (time.perf_counter() - started) / count

    return steps


class _Clock(TrainerCallback):
    """Seconds from the end of the first step to the end of the last."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Note the time."""
        self.ends.append(time.perf_counter())


def peer(pairs: Table) -> Steps:
    """Return a function that trains some steps of sentence-transformers' trainer with its MatryoshkaLoss."""
    model = SentenceTransformer(find_encoder(), device="cpu")
    loss = MatryoshkaLoss(model, MultipleNegativesRankingLoss(model), matryoshka_dims=list(DIMS[::-1]))
    data = Dataset.from_dict({"anchor": pairs.roles["query"], "positive": pairs.roles["positive"]})

    def steps(count: int) -> float:
        with tempfile.TemporaryDirectory() as folder:
            arguments = SentenceTransformerTrainingArguments(
                output_dir=folder, per_device_train_batch_size=BATCH, max_steps=count + 1, save_strategy="no",
                report_to="none", disable_tqdm=True, logging_strategy="no", use_cpu=True, seed=int(time.time()),
            )  # fmt: skip
            clock = _Clock()
            SentenceTransformerTrainer(model, arguments, data, loss=loss, callbacks=[clock]).train()
        return (clock.ends[-1] - clock.ends[0]) / count

    return steps


def ratio(above: Steps, below: Steps, rounds: int, count: int) -> dict[str, Any]:
    """Run both in turn; return the median of above ÷ below with its 95% interval."""
    above(2), below(2)
    times = np.empty((rounds, 2))
    for number in range(rounds):  # who goes first alternates
        for side in (0, 1) if number % 2 else (1, 0):
            times[number, side] = (above, below)[side](count)
    ratios = times[:, 0] / times[:, 1]
    seconds = [float(np.median(column)) for column in times.T]
    return {"ratio": float(np.median(ratios)), "ci95": median_interval(ratios), "seconds_a_step": seconds}


def main() -> None:
    """Print the ratios; exit code 1 when a promise is not kept, or undecided."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=8, help="at least 6: fewer have no interval")
    parser.add_argument("--steps", type=int, default=4, help="steps of each side a round")
    parser.add_argument("--cache", type=Path, default=Path("quickstart/cache"), help="where frozen embeddings are kept")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.rounds < LEAST_PASSES:
        parser.error(f"--rounds {options.rounds}: expected at least {LEAST_PASSES}, fewer have no interval")
    table = read_table("builtin:wordnet_nouns/train", Columns(query="gloss", positive="lemmas"))
    several = [row % len(table) for row in range(CACHED_ROWS)]
    cached = Table(table.source, {role: [texts[i] for i in several] for role, texts in table.roles.items()})
    few = table.first(6400)
    # The peer's trainer resets what Accelerate shares in a process: all of ours is built, and compared, before it.
    nested, alone = (ours(few, dims, True, BATCH, options.cache) for dims in (DIMS, DIMS[-1:]))
    cached_sides = [ours(cached, dims, False, CACHED_BATCH, options.cache) for dims in (DIMS, DIMS[-1:])]
    found = {
        "fine_tune_step": ratio(nested, alone, options.rounds, options.steps),
        "frozen_epoch": ratio(*cached_sides, options.rounds, CACHED_ROWS // CACHED_BATCH),
        "peer_step": ratio(peer(few), nested, options.rounds, options.steps),
    }
    verdicts = judged(found)
    if options.json:
        print(json.dumps({name: {**row, "verdict": verdicts[name]} for name, row in found.items()}, indent=2))
    else:
        names = {
            "fine_tune_step": "fine-tuned step, 7 dimensions ÷ the full one alone",
            "frozen_epoch": f"frozen epoch of {CACHED_ROWS:,} rows, 7 dimensions ÷ one",
            "peer_step": "sentence-transformers' trainer with MatryoshkaLoss ÷ ours",
        }
        for name, side, limit in PROMISES:
            row = found[name]
            seen = f"{row['ratio']:6.2f} ({in_words(row['ci95'])})"
            print(f"{names[name]:60}{seen}, promised at {side} {limit}: {verdicts[name]}")
    sys.exit(not SHOWN.issuperset(verdicts.values()))


if __name__ == "__main__":
    main()
