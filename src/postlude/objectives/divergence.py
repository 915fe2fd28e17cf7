"""KL estimators on sampled tokens, the penalties built on them, and the controllers of their coefficient.

With D = log pi_theta - log pi_ref on tokens sampled from pi_theta, all in nats (specification 3.7; Schulman,
"Approximating KL divergence", 2020).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from postlude.bounds import Count, NotNegative, Positive, hold
from postlude.lazy import torch
from postlude.objectives.terms import CLAMP, exp_clamped

if TYPE_CHECKING:
    from torch import Tensor


def k1(new: Tensor, reference: Tensor) -> Tensor:
    """D. Unbiased for KL(new||reference); as a loss its expected gradient is 0, so use it in rewards only."""
    return new - reference


def k2(new: Tensor, reference: Tensor) -> Tensor:
    """D^2/2. Expected gradient: that of KL(new||reference)."""
    return 0.5 * (new - reference).square()


def k3(new: Tensor, reference: Tensor) -> Tensor:
    """e^-D + D - 1 >= 0, D clamped to [-20, 20]. Expected gradient: that of KL(reference||new)."""
    d = (new - reference).clamp(-CLAMP, CLAMP)
    return (-d).exp() + d - 1


def reverse_k1(new: Tensor, old: Tensor) -> Tensor:
    """log old - log new: KL(old||new) from old samples; gradient -grad log new."""
    return old - new


def reverse_k3(new: Tensor, old: Tensor) -> Tensor:
    """ratio - 1 - log ratio: KL(old||new) from old samples."""
    d = (new - old).clamp(-CLAMP, CLAMP)
    return d.exp() - 1 - d


def ratio_k1(new: Tensor, old: Tensor) -> Tensor:
    """ratio log ratio, ratio live: KL(new||old) from old samples."""
    return exp_clamped(new - old) * (new - old).clamp(-CLAMP, CLAMP)


def straight_through(estimator: Callable[[Tensor, Tensor], Tensor], new: Tensor, reference: Tensor) -> Tensor:
    """Value of `estimator`, gradient of k2 (verl's `k1+`, `k3+`)."""
    gradient = k2(new, reference)
    return estimator(new, reference).detach() + gradient - gradient.detach()


_ESTIMATORS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "k1": k1,
    "k2": k2,
    "k3": k3,
    "k1_straight": lambda new, reference: straight_through(k1, new, reference),
    "k3_straight": lambda new, reference: straight_through(k3, new, reference),
    "reverse_k1": reverse_k1,
    "reverse_k3": reverse_k3,
    "ratio_k1": ratio_k1,
}


@dataclass(frozen=True)
class KL:
    """A KL term in the loss: coef * estimator, aggregated like the policy term.

    `k3_ratio` multiplies k3 by the live ratio to the old policy: the exact reverse-KL gradient off-policy
    (DeepSeek-V3.2). `against` names the other policy: the frozen reference, the rollout snapshot, or the sampler.
    """

    estimator: Literal[
        "k1", "k2", "k3", "k3_ratio", "k1_straight", "k3_straight", "reverse_k1", "reverse_k3", "ratio_k1"
    ] = "k3"
    """Which estimate of the KL per token; they differ in their gradients."""
    coef: NotNegative = 0.04
    """What the term counts in the loss."""
    against: Literal["reference", "old", "rollout"] = "reference"
    """The policy that the KL is measured to."""

    def __post_init__(self) -> None:
        hold(self)

    def __call__(self, new: Tensor, other: Tensor, ratio: Tensor) -> Tensor:
        """[T] estimates from log-probs [T]; without the coefficient."""
        if self.estimator == "k3_ratio":
            return ratio * k3(new, other)
        return _ESTIMATORS[self.estimator](new, other)


@dataclass(frozen=True)
class KLHinge:
    """beta/2 [K - delta]_+^2 with K the token mean of KL(old||new) (DisCO 2505.12366, DRPO 2510.04474).

    Exact in two passes: K from a forward pass without gradient sets the coefficient beta [K - delta]_+, which
    then multiplies the estimator's plain sum.
    """

    beta: NotNegative = 1e3
    """How steeply the loss rises beyond delta."""
    delta: NotNegative = 1e-4
    """KL to the old policy (nats per token) up to which nothing is added."""
    estimator: Literal["reverse_k1", "reverse_k3"] = "reverse_k1"

    def __post_init__(self) -> None:
        hold(self)

    def __call__(self, new: Tensor, old: Tensor) -> Tensor:
        return _ESTIMATORS[self.estimator](new, old)

    def coefficient(self, kl: Tensor) -> Tensor:
        """d/dK of the penalty."""
        return self.beta * (kl - self.delta).clamp(min=0)

    def penalty(self, kl: Tensor) -> Tensor:
        return 0.5 * self.beta * (kl - self.delta).clamp(min=0).square()


def doubling_controller(beta: float, kl: float, target: float) -> float:
    """Halve below target/1.5, double above 1.5 target, else keep (1707.06347 section 4); kl is new against old."""
    if not kl >= 0:
        return beta
    if kl < target / 1.5:
        return beta / 2
    return 2 * beta if kl > 1.5 * target else beta


def proportional_controller(beta: float, kl: float, target: float, samples: int, horizon: int = 10_000) -> float:
    """beta (1 + e samples/horizon), e = clip(kl/target - 1, -0.2, 0.2); kl in the unit of `target`.

    The form of TRL, verl and OpenRLHF. A negative or NaN kl leaves beta alone.
    """
    return beta * (1 + _error(kl, target) * samples / horizon)


def ziegler_controller(beta: float, kl: float, target: float, gain: float = 0.1) -> float:
    """beta (1 + gain e), e as above; kl = mean per-sequence sum against the reference (1909.08593 section 2.2)."""
    return beta * (1 + gain * _error(kl, target))


@dataclass(frozen=True)
class KLControl:
    """Adapts the coefficient of the KL term, or of the KL penalty in the reward, after every draw (section 3.8).

    `doubling` looks at the KL between the new and the old policy in the last update of the draw (nats per token, k3),
    so it needs several; the others at that to the reference: `sequence` sums it over an answer, `token` averages it.
    """

    kind: Literal["proportional", "ziegler", "doubling"] = "proportional"
    target: Positive = 6.0
    unit: Literal["sequence", "token"] = "sequence"
    horizon: Count = 10_000
    """Of `proportional`, in answers."""
    gain: Positive = 0.1
    """Of `ziegler`."""

    def __post_init__(self) -> None:
        hold(self)

    def __call__(self, beta: float, figures: Mapping[str, float], last: Mapping[str, float]) -> float:
        """The next coefficient, from the figures of a step and those of its last update."""
        if self.kind == "doubling":
            return doubling_controller(beta, last.get("kl_old/k3", math.nan), self.target)
        kl = figures.get("kl_ref/sequence" if self.unit == "sequence" else "kl_ref/k1", math.nan)
        if self.kind == "ziegler":
            return ziegler_controller(beta, kl, self.target, self.gain)
        return proportional_controller(beta, kl, self.target, int(figures.get("samples", 0)), self.horizon)


def _error(kl: float, target: float) -> float:
    return min(max(kl / target - 1, -0.2), 0.2) if kl >= 0 else 0.0


def kl_categorical(p: Tensor, q: Tensor) -> Tensor:
    """KL(p||q) in nats over the last axis, from log-probabilities."""
    return torch.sum(p.exp() * (p - q), dim=-1)
