"""The execution providers that options name, checked before anything is loaded."""

from __future__ import annotations

from mrl_edge.cli import console, options
from mrl_edge.errors import UsageError
from mrl_edge.providers import TENSORRT, check_name, check_provider


def read_provider(name: str) -> str:
    """Return a provider that the installed onnxruntime has, after saying what takes long; else as `check_provider`."""
    check_provider(name)
    if name == TENSORRT:
        console.note("  TensorRT builds its engine at the first call of a shape, which takes minutes, and keeps it")
    return name


def read_providers(text: str, there: bool) -> tuple[str, ...]:
    """Read `cpu,cuda` for `bench` and `tune`; `there`: on boards, where rows say what the onnxruntime there lacks."""
    found = options.names(text) or ()
    if not found or len(set(found)) < len(found):
        raise UsageError(f"--provider {text}: name each provider once, as in cpu,cuda")
    for name in found:
        (check_name if there else check_provider)(name)
    return found


def read_onnxruntime(text: str | None, there: bool) -> str | None:
    """Return what --onnxruntime names, checked; `there`: boards are named, which alone get one."""
    from mrl_edge.devices.deploy.onnxruntime_of import read_named

    if text is None:
        return None
    if not there:
        raise UsageError(f"--onnxruntime {text}: it is brought to boards: name one, as in --device user@host")
    return read_named(text)
