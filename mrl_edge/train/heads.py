"""What stands on each exit: a projection whose first d rows are the head of dimension d, and class heads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor, nn

from mrl_edge.train.objectives.classification import Classifiers, SeparateHeads, TiedHead


class Heads(nn.ModuleList):
    """One head an exit, ascending; a list whose items are known to be heads."""

    def __iter__(self) -> Iterator[Head]:
        """Return the heads."""
        return super().__iter__()  # type: ignore[return-value]

    def __getitem__(self, place: int) -> Head:  # type: ignore[override]
        """Return the head of one exit."""
        return super().__getitem__(place)  # type: ignore[return-value]


class Head(nn.Module):
    """The projection [full, width] of one exit and, when the model classifies, its class heads (paper §3)."""

    def __init__(self, width: int, dims: Sequence[int], classes: int, tied: bool) -> None:
        super().__init__()
        self.projection = nn.Linear(width, dims[-1], bias=False)
        kind = TiedHead if tied else SeparateHeads
        self.classifiers: Classifiers | None = kind(dims, classes) if classes else None

    def logits(self, projected: Tensor) -> Tensor:
        """Return [dims, batch, classes], from `projected` [batch, full] before normalisation."""
        if self.classifiers is None:
            raise ValueError("this model does not classify")
        logits: Tensor = self.classifiers(projected)
        return logits

    def tensors(self, dims: Sequence[int]) -> dict[str, Tensor]:
        """Return the weights as a file holds them: `projection`, and `64.weight`, `64.bias` a dimension."""
        stored = {"projection": self.projection.weight.detach().contiguous()}
        if self.classifiers is None:
            return stored
        for dim in dims:
            weight, bias = self.classifiers.linear(dim)
            stored |= {f"{dim}.weight": weight.clone(), f"{dim}.bias": bias.clone()}
        return stored
