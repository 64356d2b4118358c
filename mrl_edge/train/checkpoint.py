"""State of an unfinished training run, so that the same command continues it. No pickle: safetensors and JSON."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from mrl_edge.atomic import write_file


class Checkpoint:
    """One file in a hidden folder beside the model folder to come, valid for one exact `run` only."""

    def __init__(self, out: Path, run: dict[str, Any]) -> None:
        self._folder = out.absolute().parent / f".{out.name}.training"
        key = hashlib.sha256(json.dumps(run, sort_keys=True).encode()).hexdigest()
        self._file = self._folder / f"{key}.safetensors"

    def save(
        self, step: int, model: nn.Module, optimizer: torch.optim.Optimizer, history: list[dict[str, Any]]
    ) -> None:
        """Store everything that the steps after `step` depend on."""
        tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
        for number, state in optimizer.state_dict()["state"].items():
            for name, value in state.items():
                tensors[f"optimizer.{number}.{name}"] = value
        self._folder.mkdir(parents=True, exist_ok=True)
        contiguous = {name: value.detach().contiguous().clone() for name, value in tensors.items()}
        metadata = {"step": str(step), "history": json.dumps(history)}
        write_file(self._file, save(contiguous, metadata=metadata))

    def restore(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[int, list[dict[str, Any]]]:
        """Load the state, if there is one, and return (the next step, the history so far)."""
        if not self._file.is_file():
            return 0, []
        with safe_open(self._file, framework="pt") as opened:
            metadata = opened.metadata()
        tensors = load_file(self._file)
        prefix = "model."
        model.load_state_dict({k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)})
        optimizer.load_state_dict({**optimizer.state_dict(), "state": _optimizer_state(tensors)})
        return int(metadata["step"]), json.loads(metadata["history"])

    def remove(self) -> None:
        """Delete the state, once the model is saved."""
        shutil.rmtree(self._folder, ignore_errors=True)


def _optimizer_state(tensors: dict[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        kind, _, rest = key.partition(".")
        if kind == "optimizer":
            number, _, name = rest.partition(".")
            state.setdefault(int(number), {})[name] = value
    return state
