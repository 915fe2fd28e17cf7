"""A method of your own: `method: examples/my_method.py:SOFT` in a recipe.

A method is a value, an objective with its defaults. This one takes GRPO and replaces the clip by a smooth gate on the
ratio, as in SAPO (arXiv 2511.20347): a token counts less the further its ratio is from 1, and never stops abruptly.
"""

from dataclasses import dataclass, replace

import torch

from postlude import Algorithm, methods


@dataclass(frozen=True)
class SoftGate:
    """-(4 / tau) sigmoid(tau (ratio - 1)) A: at ratio 1 the gradient is that of -ratio A."""

    tau_positive: float = 1.0
    tau_negative: float = 1.05
    kind: str = "soft_gate"
    bounds = (0.0, float("inf"))  # ratios beyond are counted as clipped: here none are

    def __call__(self, terms):
        """[T] losses; `terms` has `ratio`, `advantages` and `logprobs`, all [T]."""
        tau = torch.where(terms.advantages > 0, self.tau_positive, self.tau_negative)
        return -terms.advantages * torch.sigmoid(tau * (terms.ratio - 1)) * 4 / tau


GRPO = methods["grpo"]
SOFT = Algorithm(
    name="soft",
    summary="GRPO with a smooth gate on the ratio.",
    cite="arXiv 2511.20347",
    objective=replace(GRPO.objective, surrogate=SoftGate(), kl=None),
    updates=2,
)
