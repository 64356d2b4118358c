"""Which onnxruntime a board gets: the processor's in the version that is here, or one that computes on its GPU too."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from mrl_edge.devices.facts import Facts

from mrl_edge.errors import UsageError
from mrl_edge.hashing import sha256
from mrl_edge.providers import package_version

_VERSION = r"(?:~=|==|!=|<=|>=|<|>)[\w.*+!-]+"
# It goes to pip as an argument: a package of onnxruntime's, and none of pip's options.
_REQUIREMENT = re.compile(rf"onnxruntime[\w.-]*(?:\[[\w,-]+\])?(?:{_VERSION}(?:,{_VERSION})*)?", re.ASCII)


@dataclass(frozen=True)
class Onnxruntime:
    """What was asked for."""

    named: str | None = None  # for pip: a requirement, or the path of a wheel here
    for_gpu: bool = False  # a provider of a GPU is measured

    def requirement(self, facts: Facts) -> str:
        """Return what pip is to download for a machine.

        Unless one is named, a GPU on x86-64 gets PyPI's newest that is no newer than the one here, whose versions it
        has not all. CUDA's libraries, which are gigabytes, are not brought unasked. For aarch64 PyPI has none.
        """
        if self.named is not None:
            return self.named
        here = package_version("onnxruntime")
        if self.for_gpu and facts.gpu is not None and facts.arch == "x86_64":
            return f"onnxruntime-gpu<={here}"
        return f"onnxruntime=={here}"

    def identity(self) -> str:
        """Return what tells it from another that is asked for by the same providers, whatever the machine."""
        return told_apart(self.named or f"onnxruntime=={package_version('onnxruntime')}")


def told_apart(requirement: str) -> str:
    """Return what tells a requirement from another: a wheel by its name and content, wherever it lies."""
    if not requirement.endswith(".whl"):
        return requirement
    path = Path(requirement)
    return f"{path.name} {sha256(path)}"


def read_named(text: str) -> str:
    """Return what `--onnxruntime` names for pip, a wheel by its whole path; raises `UsageError` for anything else."""
    if text.endswith(".whl"):
        path = Path(text).expanduser().absolute()
        if not path.is_file():
            raise UsageError(f"--onnxruntime {text}: no such file")
        if not path.name.startswith("onnxruntime"):
            raise UsageError(f"--onnxruntime {text}: no wheel of onnxruntime's, whose names begin with onnxruntime")
        return str(path)
    if _REQUIREMENT.fullmatch(text) is None:
        raise UsageError(
            f"--onnxruntime {text}: name a wheel's file, which ends in .whl, or what pip downloads, as in "
            "onnxruntime-gpu==1.31.1 or 'onnxruntime-gpu[cuda,cudnn]'"
        )
    return text
