"""State of an unfinished training run, so that the same command continues it. No pickle: safetensors and JSON."""

from __future__ import annotations

import hashlib
import json
import shutil
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from mrl_edge.atomic import write_file


@dataclass
class Progress:
    """Where a run is: the next step, the losses of the epoch so far, the epochs behind it."""

    step: int = 0
    losses: list[float] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)


class Checkpoint:
    """One file in a hidden folder beside the model folder to come, valid for one exact `run` only."""

    def __init__(self, out: Path, run: dict[str, Any]) -> None:
        self.folder = out.absolute().parent / f".{out.name}.training"
        self._key = hashlib.sha256(json.dumps(run, sort_keys=True).encode()).hexdigest()
        self._file = self.folder / f"{self._key}.safetensors"

    def stage(self, name: str) -> Checkpoint:
        """Return the checkpoint of a later stage of the same run."""
        later = copy(self)
        later._file = self.folder / f"{self._key}.{name}.safetensors"
        return later

    def save(
        self,
        progress: Progress,
        state: dict[str, Tensor],
        optimizer: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler | None = None,
    ) -> None:
        """Store everything that the steps to come depend on; fp16 has a `scaler`."""
        tensors = {f"model.{name}": value for name, value in state.items()}
        for number, values in optimizer.state_dict()["state"].items():
            for name, value in values.items():
                tensors[f"optimizer.{number}.{name}"] = value
        self.folder.mkdir(parents=True, exist_ok=True)
        contiguous = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
        metadata = {
            "step": str(progress.step),
            "losses": json.dumps(progress.losses),
            "history": json.dumps(progress.history),
            "scaler": json.dumps(scaler and scaler.state_dict()),
        }
        write_file(self._file, save(contiguous, metadata=metadata))

    def restore(
        self,
        state: dict[str, Tensor],
        optimizer: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler | None = None,
    ) -> Progress:
        """Copy what was stored, if anything, into `state`, the optimizer and the scaler; return where it was."""
        if not self._file.is_file():
            return Progress()
        with safe_open(self._file, framework="pt") as opened:
            metadata = opened.metadata()
        tensors = load_file(self._file)
        with torch.no_grad():
            for name, value in state.items():
                value.copy_(tensors[f"model.{name}"])
        optimizer.load_state_dict({**optimizer.state_dict(), "state": _optimizer_state(tensors)})
        if scaler is not None:
            scaler.load_state_dict(json.loads(metadata["scaler"]))
        history = [
            {**epoch, "dev": {int(dim): quality for dim, quality in epoch["dev"].items()}}  # JSON's keys are texts
            for epoch in json.loads(metadata["history"])
        ]
        return Progress(int(metadata["step"]), json.loads(metadata["losses"]), history)

    def remove(self) -> None:
        """Delete the state, once the model is saved."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _optimizer_state(tensors: dict[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        kind, _, rest = key.partition(".")
        if kind == "optimizer":
            number, _, name = rest.partition(".")
            state.setdefault(int(number), {})[name] = value
    return state
