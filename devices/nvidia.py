"""NVIDIA's GPUs through NVML: the power and temperature of all, and the memory of some processes."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any


class Gpus:
    """The GPUs of this machine; `find_gpus` opens them."""

    def __init__(self, nvml: Any) -> None:
        self._nvml = nvml
        self._handles = [nvml.nvmlDeviceGetHandleByIndex(i) for i in range(nvml.nvmlDeviceGetCount())]

    def read_w(self) -> float:
        """Return the watts that all GPUs take."""
        return float(sum(self._nvml.nvmlDeviceGetPowerUsage(handle) for handle in self._handles)) / 1e3

    def temperature_c(self) -> float:
        """Return the hottest GPU's temperature."""
        sensor = self._nvml.NVML_TEMPERATURE_GPU
        return float(max(self._nvml.nvmlDeviceGetTemperature(handle, sensor) for handle in self._handles))

    def memory_bytes(self, pids: Collection[int]) -> int | None:
        """Return what the processes hold on all GPUs; None while NVML names none of them, as in a container."""
        used = [
            process.usedGpuMemory
            for handle in self._handles
            for process in self._nvml.nvmlDeviceGetComputeRunningProcesses(handle)
            if process.pid in pids and process.usedGpuMemory is not None
        ]
        return sum(used) if used else None


def find_gpus() -> Gpus | str:
    """Return the GPUs, or why there are none to ask."""
    try:
        import pynvml
    except ImportError:
        return "NVML is not read without nvidia-ml-py: pip install 'mrl-edge[nvidia]'"
    try:
        pynvml.nvmlInit()
        return Gpus(pynvml)
    except pynvml.NVMLError as error:
        return f"NVML does not answer: {error}"
