"""The value term of methods with a critic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from postlude.bounds import NotNegative, Positive, hold
from postlude.lazy import torch
from postlude.objectives.weights import Aggregate

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class ValueLoss:
    """coef * 1/2 (V - return)^2, [T] in reward units squared (1707.06347; clip as in OpenAI baselines).

    With `clip`, the larger of the plain square and the one with V held within `clip` of the rollout-time value.
    """

    coef: NotNegative = 0.5
    clip: Positive | None = 0.2
    aggregate: Aggregate = Aggregate("token_mean")

    def __post_init__(self) -> None:
        hold(self)

    def __call__(self, values: Tensor, returns: Tensor, old_values: Tensor | None) -> Tensor:
        plain = (values - returns).square()
        if self.clip is None or old_values is None:
            return 0.5 * plain
        held = torch.maximum(torch.minimum(values, old_values + self.clip), old_values - self.clip)
        return 0.5 * torch.maximum(plain, (held - returns).square())


def explained_variance(values: Tensor, returns: Tensor) -> Tensor:
    """1 - Var(returns - values)/Var(returns); 0 where the returns do not vary."""
    variance = returns.var(unbiased=False) if returns.numel() else returns.new_zeros(())
    if variance == 0:
        return returns.new_zeros(())
    return 1 - (returns - values).var(unbiased=False) / variance
