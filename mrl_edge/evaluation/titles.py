"""What tables call the metrics of an evaluation."""

from __future__ import annotations

import re

from mrl_edge.metrics import TITLES

_PATTERNS = (
    (re.compile(r"linear_accuracy"), r"linear probe"),
    (re.compile(r"precision_at_(\d+)"), r"precision@\1"),
    (re.compile(r"knn(\d+)_top1"), r"\1-NN accuracy"),
    (re.compile(r"few_shot_1"), r"1 example"),
    (re.compile(r"few_shot_(\d+)"), r"\1 examples"),
)
_SLICES = ("superclass", "head", "medium", "tail")


def metric_title(metric: str) -> str:
    """Return the title of a metric, such as `recall_at_5` or `knn_top1_tail`."""
    whole, _, part = metric.rpartition("_")
    if part in _SLICES:
        return f"{metric_title(whole)}, {part}"
    for pattern, title in _PATTERNS:
        if pattern.fullmatch(metric):
            return pattern.sub(title, metric)
    name, at, k = metric.partition("_at_")
    return TITLES[f"{name}_at_10"].replace("@10", f"@{k}") if at else TITLES[metric]
