"""Where a graph is computed, by name: the processor, or a GPU by one of onnxruntime's execution providers."""

from __future__ import annotations

from mrl_edge.errors import UnsupportedError, UsageError

CPU, CUDA, TENSORRT = "cpu", "cuda", "tensorrt"
PROVIDERS = {CPU: "CPUExecutionProvider", CUDA: "CUDAExecutionProvider", TENSORRT: "TensorrtExecutionProvider"}
ON_GPU = frozenset({PROVIDERS[CUDA], PROVIDERS[TENSORRT]})
PACKAGE = "onnxruntime-gpu[cuda,cudnn]"  # it stands in the place of `onnxruntime`, whose modules have the same names


def short_name(provider: str) -> str:
    """Return our name of one of onnxruntime's providers; another's is its own."""
    return next((short for short, name in PROVIDERS.items() if name == provider), provider)


def check_provider(provider: str) -> None:
    """Raise `UsageError` for an unknown provider, `UnsupportedError` for one that the installed onnxruntime lacks."""
    if provider not in PROVIDERS:
        raise UsageError(f"unknown provider {provider!r}: there is {', '.join(PROVIDERS)}")
    import onnxruntime as ort  # not above: what only names providers need not load it

    there = ort.get_available_providers()
    if PROVIDERS[provider] not in there:
        raise UnsupportedError(
            f"provider {provider}: onnxruntime {ort.__version__}, which is installed, has {', '.join(there)} alone; on "
            f"a machine with a GPU of NVIDIA's: pip uninstall onnxruntime, then pip install '{PACKAGE}'"
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
