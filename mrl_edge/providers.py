"""Where a graph is computed, by name: the processor, or a GPU by one of onnxruntime's execution providers."""

from __future__ import annotations

from mrl_edge.errors import UnsupportedError, UsageError

CPU, CUDA, TENSORRT = "cpu", "cuda", "tensorrt"
PROVIDERS = {CPU: "CPUExecutionProvider", CUDA: "CUDAExecutionProvider", TENSORRT: "TensorrtExecutionProvider"}
ON_GPU = frozenset({PROVIDERS[CUDA], PROVIDERS[TENSORRT]})
# It stands in the place of `onnxruntime`, whose modules have the same names.
GPU_PACKAGE = "onnxruntime-gpu[cuda,cudnn]"
_OTHER = {"onnxruntime": "onnxruntime-gpu", "onnxruntime-gpu": "onnxruntime"}


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
            f"with a GPU of NVIDIA's: pip uninstall onnxruntime, then pip install '{GPU_PACKAGE}'"
        )


def package_version(package: str) -> str:
    """Return the version of an installed package; either of `onnxruntime` and `onnxruntime-gpu` may be there alone.

    Raises `PackageNotFoundError`.
    """
    from importlib.metadata import PackageNotFoundError, version  # brings email with it

    try:
        return version(package)
    except PackageNotFoundError:
        if package not in _OTHER:
            raise
        return version(_OTHER[package])
