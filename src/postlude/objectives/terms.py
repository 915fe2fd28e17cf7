"""What an engine gives an objective, and what the objective gives back."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Literal

from postlude.errors import ConfigError
from postlude.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

Want = Literal["policy", "reference", "values", "scores", "entropy"]
"""What a forward pass can be asked for."""


class Need(StrEnum):
    """What an objective needs beyond rewards, masks and the log-probs of the pass that has a gradient."""

    OLD = "old"
    """Log-probs under the policy as it was when the draw was made."""
    REFERENCE = "reference"
    ROLLOUT = "rollout"
    """The sampler's own log-probs."""
    VALUES = "values"
    """A critic's, of before the update."""
    SCORES = "scores"
    """A scalar head: the model is a reward model."""
    MISMATCHED = "mismatched"
    """Answers to other prompts, as extra sequences (KTO's reference point)."""
    GROUP = "group"
    """Several answers to a prompt."""
    STEPS = "steps"
    """Rewards of the steps of answers."""
    CORRECT = "correct"
    """Whether answers are right or wrong."""


CLAMP = 20.0
"""Bound on a log-ratio before exp, in nats (verl and OpenRLHF use the same): e^20 = 4.9e8."""


@dataclass(frozen=True)
class Outputs:
    """Per-token results of a forward pass, [T] each, at the token they describe; None where not asked for."""

    logprobs: Tensor | None = None
    entropy: Tensor | None = None
    values: Tensor | None = None
    scores: Tensor | None = None


@dataclass(frozen=True)
class Loss:
    """A loss to minimise and figures about it.

    `total` carries the gradient. `sums` add up over micro-batches and ranks; `largest` are combined by maximum.
    """

    total: Tensor
    sums: dict[str, Tensor] = field(default_factory=dict[str, "Tensor"])
    largest: dict[str, Tensor] = field(default_factory=dict[str, "Tensor"])


def per_token(x: Tensor, tokens: int, what: str) -> Tensor:
    """`x`, which has one number per token. Raises ConfigError, with the way out, where it has another shape."""
    if x.shape != (tokens,):
        raise ConfigError(
            f"{what} gave {list(x.shape)}; one number per token, [{tokens}], is wanted: batch.to_tokens makes that of "
            "one per answer, batch.group_to_tokens of one per prompt.",
            code="wrong-shape",
        )
    return x


def log_ratio(new: Tensor, old: Tensor, keep: Tensor) -> Tensor:
    """new - old in nats where `keep`, 0 elsewhere; a -inf log-prob stays out of the graph of other tokens."""
    return torch.where(keep, new - old, new.new_zeros(()))


def exp_clamped(x: Tensor) -> Tensor:
    """exp of x clamped to [-20, 20]; the gradient outside is 0 (specification 0.5)."""
    return x.clamp(-CLAMP, CLAMP).exp()


def weighted_sum(weight: Tensor, value: Tensor) -> Tensor:
    """Sum of weight * value where the weight is not 0, so that infinities under weight 0 do no harm."""
    return (weight * torch.where(weight != 0, value, value.new_zeros(()))).sum()
