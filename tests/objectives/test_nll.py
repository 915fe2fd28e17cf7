"""The likelihood term beside preference losses: the same for pairs and for single labels."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from postlude.batch import pack
from postlude.data import Completion, Group, Prompt
from postlude.objectives import ContrastObjective, Outputs
from postlude.objectives.contrast import KTO, Logistic


def answers(*rewards: float) -> list[Group]:
    made = [Completion((5 + i, 6, 7 + i)[: 2 + i % 2], reward=r) for i, r in enumerate(rewards)]
    return [Group(Prompt(str(i), "", tokens=(1, 2)), (c,)) for i, c in enumerate(made)]


def total(objective: ContrastObjective, groups: list[Group]) -> tuple[float, torch.Tensor]:
    batch = objective.advantages(pack(groups, torch.float64))
    batch = replace(batch, ref_logprobs=torch.zeros(batch.tokens.shape[0], dtype=torch.float64))
    policy = torch.linspace(-2, -0.1, batch.tokens.shape[0], dtype=torch.float64, requires_grad=True)
    loss = objective.loss(objective.weigh(batch), Outputs(logprobs=policy))
    loss.total.backward()
    assert policy.grad is not None
    return float(loss.total.detach()), policy.grad


def test_labelled_answers_get_the_likelihood_of_the_good_ones() -> None:
    """The difference that `nll` makes is its coefficient times the mean over the good answers' tokens."""
    groups = answers(1.0, 0.0, 1.0)
    plain, without = total(ContrastObjective("implicit", KTO()), groups)
    more, with_term = total(ContrastObjective("implicit", KTO(), nll=0.5), groups)
    batch = pack(groups, torch.float64)
    good = batch.mask & (batch.reward[batch.sequence.clamp(min=0)] > 0.5)
    policy = torch.linspace(-2, -0.1, batch.tokens.shape[0], dtype=torch.float64)
    assert more - plain == pytest.approx(-0.5 * float(policy[good].mean()), rel=1e-12)
    assert torch.allclose(with_term - without, -0.5 * good.double() / good.sum(), atol=1e-12)


def test_a_reward_model_writes_nothing() -> None:
    with pytest.raises(ValueError, match="reward models write nothing"):
        ContrastObjective("head", Logistic(1.0), nll=0.1)
