"""Importance ratios and the surrogate losses built on them. All sizes [T]."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from postlude.batch import Batch
from postlude.bounds import Bounds, NotNegative, Positive, Share, hold
from postlude.lazy import torch
from postlude.objectives.terms import exp_clamped

if TYPE_CHECKING:
    from torch import Tensor

Ratio = Literal["none", "token", "sequence_mean", "sequence_sum", "sequence_token"]
"""`sequence_mean`: GSPO's geometric mean; `sequence_sum`: RLOO's whole-sequence product; `sequence_token`:
GSPO-token, the detached sequence ratio times a token factor of value 1 that carries the gradient."""


def _token(batch: Batch, difference: Tensor) -> Tensor:
    return exp_clamped(difference)


def _sequence_mean(batch: Batch, difference: Tensor) -> Tensor:
    return batch.to_tokens(exp_clamped(batch.mean_by_sequence(difference)))


def _sequence_sum(batch: Batch, difference: Tensor) -> Tensor:
    return batch.to_tokens(exp_clamped(batch.sum_by_sequence(difference)))


def _sequence_token(batch: Batch, difference: Tensor) -> Tensor:
    level = batch.to_tokens(exp_clamped(batch.mean_by_sequence(difference.detach())))
    finite = torch.where(torch.isfinite(difference), difference, torch.zeros_like(difference))
    return level * (finite - finite.detach()).exp()


RATIOS: dict[str, Callable[[Batch, Tensor], Tensor]] = {
    "token": _token,
    "sequence_mean": _sequence_mean,
    "sequence_sum": _sequence_sum,
    "sequence_token": _sequence_token,
}
"""Name -> (batch, log-ratio of each trained token [T]) -> ratio [T]."""


@dataclass(frozen=True)
class Terms:
    """What a surrogate may read, [T] each: only `ratio` and `logprobs` carry a gradient."""

    ratio: Tensor
    advantages: Tensor
    logprobs: Tensor
    behaviour: Tensor
    """Log-prob under the policy that the ratio divides by."""


@dataclass(frozen=True)
class LogProb:
    """-A log pi: REINFORCE, and SFT with A = 1. No ratio."""

    kind: Literal["logprob"] = "logprob"
    bounds = (0.0, float("inf"))

    def __call__(self, terms: Terms) -> Tensor:
        return -terms.advantages * terms.logprobs


@dataclass(frozen=True)
class Linear:
    """-ratio A: the surrogate of TRPO (1502.05477) without its constraint."""

    kind: Literal["linear"] = "linear"
    bounds = (0.0, float("inf"))

    def __call__(self, terms: Terms) -> Tensor:
        return -terms.ratio * terms.advantages


@dataclass(frozen=True)
class Clip:
    """-min(ratio A, clip(ratio, 1-low, 1+high) A): PPO, 1707.06347 eq. 7; low != high is DAPO's clip-higher.

    `dual` caps the loss of a negative advantage at -dual * A (dual clip, 1912.09729); None is off.
    """

    low: Share = 0.2
    """How far the ratio may fall below 1 while it still counts."""
    high: NotNegative = 0.2
    """How far it may rise above 1."""
    dual: Annotated[float, Bounds(1, 1e9, above=True)] | None = None
    """Caps the loss of a negative advantage; 3 is usual where it is on."""
    kind: Literal["clip"] = "clip"

    def __post_init__(self) -> None:
        hold(self)

    @property
    def bounds(self) -> tuple[float, float]:
        return 1 - self.low, 1 + self.high

    def __call__(self, terms: Terms) -> Tensor:
        a = terms.advantages
        clipped = terms.ratio.clamp(*self.bounds)
        loss = torch.maximum(-terms.ratio * a, -clipped * a)
        if self.dual is None:
            return loss
        return torch.where(a < 0, torch.minimum(loss, -self.dual * a), loss)


@dataclass(frozen=True)
class Cispo:
    """-sg[clip(ratio, ratio_min, ratio_max)] A log pi: every token keeps a gradient (2506.13585 eq. 4).

    `ratio_max` is the cap itself: TRL's `epsilon_high`, verl's 1 + `clip_ratio_high`.
    """

    ratio_max: Positive = 5.0
    ratio_min: NotNegative = 0.0
    kind: Literal["cispo"] = "cispo"

    def __post_init__(self) -> None:
        hold(self)
        if not self.ratio_min < self.ratio_max:
            raise ValueError(f"need 0 <= ratio_min < ratio_max, got {self.ratio_min:g} and {self.ratio_max:g}")

    @property
    def bounds(self) -> tuple[float, float]:
        return self.ratio_min, self.ratio_max

    def __call__(self, terms: Terms) -> Tensor:
        weight = terms.ratio.detach().clamp(self.ratio_min, self.ratio_max)
        return -weight * terms.advantages * terms.logprobs


@dataclass(frozen=True)
class ProbabilityMask:
    """-keep * ratio * A, where a token is dropped once its probability moved too far in A's direction.

    Dropped: A > 0 and pi - mu > high, or A <= 0 and pi - mu < -low (DPPO's binary total variation, 2602.04879).
    """

    low: NotNegative = 0.2
    high: NotNegative = 0.2
    kind: Literal["probability_mask"] = "probability_mask"
    bounds = (0.0, float("inf"))

    def __post_init__(self) -> None:
        hold(self)

    def __call__(self, terms: Terms) -> Tensor:
        moved = terms.logprobs.detach().exp() - terms.behaviour.exp()
        up = terms.advantages > 0
        drop = torch.where(up, moved > self.high, moved < -self.low)
        return torch.where(drop, torch.zeros_like(terms.ratio), -terms.ratio * terms.advantages)


Surrogate = LogProb | Linear | Clip | Cispo | ProbabilityMask
