"""onnxruntime's levers that trade time for memory, by name, as `load(…, levers=("no-arena",))` takes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import onnxruntime as ort

from mrl_edge.errors import UsageError


def _no_arena(options: ort.SessionOptions) -> None:
    """Give memory back after every call instead of keeping it for the next."""
    options.enable_cpu_mem_arena = False


def _no_pattern(options: ort.SessionOptions) -> None:
    """Allocate each tensor by itself, not all by a plan made for the first inputs' shapes."""
    options.enable_mem_pattern = False


def _no_prepack(options: ort.SessionOptions) -> None:
    """Keep weights as they are mapped from the file, not a second time in the order that kernels like."""
    options.add_session_config_entry("session.disable_prepacking", "1")


LEVERS: dict[str, Callable[[ort.SessionOptions], None]] = {
    "no-arena": _no_arena,
    "no-pattern": _no_pattern,
    "no-prepack": _no_prepack,
}


# Prepacked weights are kept in a file of this processor's and mapped (`mrl_edge.prepacked`).
MAPPED_PREPACK = "mapped-prepack"
NAMES = (*LEVERS, MAPPED_PREPACK)


def check(levers: Sequence[str]) -> None:
    """Refuse, with a `UsageError`, names that there are not, and two that exclude each other."""
    for name in levers:
        if name not in NAMES:
            raise UsageError(f"unknown runtime setting {name!r}: there is {', '.join(NAMES)}")
    if {"no-prepack", MAPPED_PREPACK} <= set(levers):
        raise UsageError(f"runtime settings no-prepack and {MAPPED_PREPACK}: only one of them makes sense")


def pull(options: ort.SessionOptions, levers: Sequence[str]) -> None:
    """Set the named levers, but for `mapped-prepack`, which is about the file that is opened; errors as of `check`."""
    check(levers)
    for name in levers:
        if name in LEVERS:
            LEVERS[name](options)
