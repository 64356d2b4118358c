"""The execution providers that options name, checked before anything is loaded."""

from __future__ import annotations

from mrl_edge.cli import console, options
from mrl_edge.errors import UsageError
from mrl_edge.providers import CPU, TENSORRT, check_provider


def read_provider(name: str) -> str:
    """Return a provider that the installed onnxruntime has, after saying what takes long; else as `check_provider`."""
    check_provider(name)
    if name == TENSORRT:
        console.note("  TensorRT builds its engine at the first call of a shape, which takes minutes, and keeps it")
    return name


def read_providers(text: str, there: bool) -> tuple[str, ...]:
    """Read `cpu,cuda` for `bench`; `there`: it measures on boards, whose onnxruntime `mrl-edge deploy` brings."""
    found = options.names(text) or ()
    if not found or len(set(found)) < len(found):
        raise UsageError(f"--provider {text}: name each provider once, as in cpu,cuda")
    if there and found != (CPU,):
        raise UsageError(
            f"--provider {text}: what is brought to a board computes on its processor; install mrl-edge and "
            "onnxruntime-gpu there, and run mrl-edge bench there"
        )
    for name in found:
        check_provider(name)
    return found
