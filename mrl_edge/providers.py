"""Where a graph is computed, by name: the processor, or a GPU by one of onnxruntime's execution providers."""

from __future__ import annotations

from mrl_edge.errors import UnsupportedError, UsageError

CPU, CUDA, TENSORRT = "cpu", "cuda", "tensorrt"
PROVIDERS = {CPU: "CPUExecutionProvider", CUDA: "CUDAExecutionProvider", TENSORRT: "TensorrtExecutionProvider"}
ON_GPU = frozenset({PROVIDERS[CUDA], PROVIDERS[TENSORRT]})
GPU_PACKAGE = (
    "onnxruntime-gpu[cuda,cudnn]"  # it stands in the place of `onnxruntime`, whose modules have the same names
)
TO_A_BOARD = f"to a board mrl-edge brings it with --onnxruntime '{GPU_PACKAGE}', or the path of a wheel"


def short_name(provider: str) -> str:
    """Return our name of one of onnxruntime's providers; another's is its own."""
    return next((short for short, name in PROVIDERS.items() if name == provider), provider)


def check_name(provider: str) -> None:
    """Raise `UsageError` for an unknown provider."""
    if provider not in PROVIDERS:
        raise UsageError(f"unknown provider {provider!r}: there is {', '.join(PROVIDERS)}")


def check_provider(provider: str) -> None:
    """Raise as `check_name`, and `UnsupportedError` for a provider that the installed onnxruntime lacks."""
    check_name(provider)
    import onnxruntime as ort  # not above: what only names providers need not load it

    there = ort.get_available_providers()
    if PROVIDERS[provider] not in there:
        raise UnsupportedError(
            f"provider {provider}: onnxruntime {ort.__version__}, which is installed, has {', '.join(there)} alone; "
            f"with a GPU of NVIDIA's: pip uninstall onnxruntime, then pip install '{GPU_PACKAGE}'; {TO_A_BOARD}"
        )


def package_version(package: str) -> str:
    """Return the version of an installed package; `onnxruntime` may be there as `onnxruntime-gpu`.

    Raises `PackageNotFoundError`.
    """
    from importlib.metadata import PackageNotFoundError, version  # brings email with it

    try:
        return version(package)
    except PackageNotFoundError:
        if package != "onnxruntime":
            raise
        return version("onnxruntime-gpu")
