"""Figures of the passes of an update: tensors until it ends, since every number read earlier waits for the device."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from postlude.batch import Batch
from postlude.errors import TrainingError
from postlude.objectives import Loss
from postlude.runs.stats import Stats


@dataclass
class Pending:
    """The losses of one part of an update, pass by pass, and the rewards behind each."""

    loss: float | None = None
    """The first that is not finite, known once it is settled, and the rewards of its pass."""
    rewards: Tensor | None = None
    _losses: list[Loss] = field(default_factory=list[Loss])
    _rewards: list[Tensor] = field(default_factory=list[Tensor])

    def add(self, loss: Loss, micro: Batch) -> None:
        """One more pass; its graph is let go."""
        self._losses.append(Loss(loss.total.detach(), loss.sums, loss.largest))
        self._rewards.append(micro.reward)

    def settle(self) -> Stats:
        """The figures, in one transfer from the device; `loss` is the first that is not finite, where one is."""
        columns = [[one.total, *one.sums.values(), *one.largest.values()] for one in self._losses]
        numbers = iter(_floats([x for column in columns for x in column]))
        stats = Stats()
        for loss, rewards in zip(self._losses, self._rewards, strict=True):
            total = next(numbers)
            sums = {name: next(numbers) for name in loss.sums}
            largest = {name: next(numbers) for name in loss.largest}
            if self.loss is None and not abs(total) < float("inf"):
                self.loss, self.rewards = total, rewards
            stats += Stats(sums, largest)
        return stats


def not_finite(pending: Pending) -> TrainingError:
    """The error of a loss that is not finite, to whoever drives a trainer by hand."""
    assert pending.rewards is not None
    first = ", ".join(f"{r:g}" for r in pending.rewards.tolist()[:8])
    return TrainingError(
        f"the loss is {pending.loss} on a micro-batch of {len(pending.rewards)} completions (rewards {first}, ...). "
        "The weights were not changed. Common causes: a learning rate that is too high, or float16 overflow; try "
        "float32 or bf16.",
        code="not-finite",
    )


def _floats(values: list[Tensor]) -> list[float]:
    """All of them as Python numbers. They are added up there, in double precision and in the order of the passes."""
    if not values or values[0].device.type == "cpu":  # nothing to wait for, and a stack costs more than it saves
        return [float(x) for x in values]
    numbers: list[float] = torch.stack([x.detach().to(torch.float64) for x in values]).tolist()
    return numbers
