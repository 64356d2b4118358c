"""Sessions on a GPU: opened so that they are what was asked for, and run until the outputs are on the host.

onnxruntime computes on the processor what a provider cannot, and everything where the provider does not start (a
missing cuDNN is enough), without an error. Here a session that did not get what was asked for is one.
"""

from __future__ import annotations

import io
import re
import threading
from collections import Counter
from collections.abc import Sequence
from contextlib import redirect_stdout, suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime as ort

from mrl_edge.caches import cache_folder
from mrl_edge.errors import UnsupportedError
from mrl_edge.providers import CPU, CUDA, GPU_PACKAGE, ON_GPU, PROVIDERS, TENSORRT, check_provider

if TYPE_CHECKING:
    from mrl_edge.nesting import Floats
    from mrl_edge.tokens import Batch

_RECORD = "session.record_ep_graph_assignment_info"
_OPENING = threading.Lock()  # of what is the process' own: onnxruntime's default logger and Python's standard output
_SILENT, _WARNING = 4, 2  # of onnxruntime's log: what went wrong is in our own line
_PLACE = re.compile(r"^\S+\.cc:\d+ .*?\) ")  # in its own source, before some of its errors
_ENGINES = {"fp16": "trt_fp16_enable", "int8-static": "trt_int8_enable"}  # what TensorRT may compute in, beside fp32


def open_on(provider: str, path: Path, options: ort.SessionOptions, precision: str) -> ort.InferenceSession:
    """Open a graph on a GPU; what the provider cannot compute is left to the next: TensorRT, CUDA, the processor.

    TensorRT builds an engine at the first call, and anew for texts longer or batches larger than any before: minutes.
    It is kept in the user's cache. Raises as `check_provider`, and `UnsupportedError` where the provider does not start
    or can compute nothing of the graph.

    Calls wait for each other. Meanwhile onnxruntime's default logger is silent for the whole process, and it is left at
    warnings, its default, whatever it was before; what other threads print while the libraries are loaded, at the first
    call, is lost.
    """
    check_provider(provider)
    with _OPENING:
        return _open_alone(provider, path, options, precision)


def _open_alone(provider: str, path: Path, options: ort.SessionOptions, precision: str) -> ort.InferenceSession:
    said = _load_libraries(provider)
    options.log_severity_level = _SILENT
    options.add_session_config_entry(_RECORD, "1")
    ort.set_default_logger_severity(_SILENT)  # it says there why a provider does not start, in lines of its own
    try:
        chain = tried(provider, path, precision)
        session = ort.InferenceSession(str(path), options, providers=chain, enable_fallback=0)
    except (MemoryError, UnsupportedError):
        raise
    except Exception as error:  # onnxruntime's own types, derived from Exception
        because = _PLACE.sub("", " ".join(str(error).split()))
        raise UnsupportedError(f"provider {provider} cannot open {path}: {because}{_needs(provider)}") from None
    finally:
        ort.set_default_logger_severity(_WARNING)  # as it was: onnxruntime's default
    refuse_fallback(session, provider, said)
    return session


def tried(provider: str, path: Path, precision: str) -> list[tuple[str, dict[str, str]]]:
    """Return the providers that are tried for each node of a graph, in turn, with their options."""
    # By default CUDA rounds the factors of fp32 products to 10 bits (TF32): fp32 would be no fp32.
    # TensorRT may round so too, and onnxruntime has no option for that: docs/devices.md says what a user can set.
    chain = [(PROVIDERS[CUDA], {"use_tf32": "0"}), (PROVIDERS[CPU], {})]
    return chain if provider == CUDA else [(PROVIDERS[TENSORRT], _tensorrt(path, precision)), *chain]


def refuse_fallback(session: ort.InferenceSession, provider: str, said: str = "") -> None:
    """Raise `UnsupportedError` for a session that computes nothing by its provider; `said` is what may tell why."""
    got, name = session.get_providers()[0], PROVIDERS[provider]
    if got != name:
        why = f" ({said})" if said else ""
        raise UnsupportedError(
            f"provider {provider} did not start, and onnxruntime took {got} in its place{why}{_needs(provider)}"
        )
    nodes = nodes_by_provider(session)
    if nodes and name not in nodes:
        raise UnsupportedError(f"provider {provider} computes no node of this graph: {', '.join(nodes)} would, all")


def nodes_by_provider(session: ort.InferenceSession) -> dict[str, int]:
    """Return how many nodes of a GPU's session each provider computes; empty where onnxruntime did not note it."""
    if not hasattr(session, "get_provider_graph_assignment_info"):  # older ones do not say
        return {}
    found: Counter[str] = Counter()
    for part in session.get_provider_graph_assignment_info():
        found[part.ep_name] += len(part.get_nodes())
    return dict(found)


def memory_of(session: ort.InferenceSession) -> str:
    """Return where a session's tensors are, as onnxruntime names it: `cuda` or `cpu`."""
    return "cuda" if session.get_providers()[0] in ON_GPU else "cpu"


def run_bound(session: ort.InferenceSession, batch: Batch, outputs: Sequence[str], memory: str) -> list[Floats]:
    """Run one batch by I/O binding and return each output as [n, columns], once it is on the host.

    Inputs are copied to the device once; outputs stay in `memory` until all is computed, and are fetched then.
    """
    held = {name: np.ascontiguousarray(values) for name, values in batch.items()}  # read where they lie
    binding = session.io_binding()
    for name, values in held.items():
        binding.bind_cpu_input(name, values)
    for name in outputs:
        binding.bind_output(name, memory)
    binding.synchronize_inputs()
    session.run_with_iobinding(binding)
    binding.synchronize_outputs()
    return list(binding.copy_outputs_to_cpu())


def _tensorrt(path: Path, precision: str) -> dict[str, str]:
    from mrl_edge.prepacked import state_of  # with much of the standard library, which no start on a processor needs

    # A folder each: TensorRT's own names of engines do not tell the weights of two exports apart.
    folder = cache_folder() / TENSORRT / state_of(path)[:16]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UnsupportedError(f"provider {TENSORRT}: {folder} cannot be written to: {error.strerror}") from None
    lower = {option: "True" for name, option in _ENGINES.items() if name == precision}  # it takes no 1 for that
    return {"trt_engine_cache_enable": "True", "trt_engine_cache_path": str(folder), **lower}


@cache
def _load_libraries(provider: str) -> str:
    """Load CUDA, cuDNN and TensorRT as pip installs them, where no system's linker looks; return what could not be."""
    if provider == TENSORRT:
        with suppress(ImportError):  # it may be the system's
            import_module(TENSORRT)
    with redirect_stdout(io.StringIO()) as said:
        if hasattr(ort, "preload_dlls"):  # from 1.21 on
            ort.preload_dlls()
    return (said.getvalue().strip().splitlines() or [""])[0]


def _needs(provider: str) -> str:
    more = ", TensorRT (pip install tensorrt)" if provider == TENSORRT else ""
    return f"; it needs NVIDIA's driver{more} and the libraries that pip install '{GPU_PACKAGE}' brings"
