"""Updates in which something is not finite: what it is, in whose answer, and which weight it reaches first."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from postlude.algorithms import ALGORITHMS
from postlude.batch import Batch, pack
from postlude.engines.local.engine import LocalEngine
from postlude.engines.local.unfinite import corrupt
from postlude.engines.protocol import Part, Rates, Skip
from postlude.errors import TrainingError
from postlude.objectives import Loss, Outputs, TokenObjective
from tests.refusals import refused
from tests.streaming import rolled_out

NAN = float("nan")


@pytest.fixture(scope="module")
def engine(model_folder: Path) -> LocalEngine:
    return LocalEngine.open(str(model_folder), dtype="float64")


def objective() -> TokenObjective:
    one = ALGORITHMS["grpo"].objective
    assert isinstance(one, TokenObjective)
    return replace(one, kl=None, correction=None)


def weighed(**known: Tensor) -> Batch:
    """12 answers to 4 prompts, ready for an update."""
    batch = replace(pack(rolled_out(4, 3), torch.float64), **known)
    return objective().weigh(objective().advantages(batch))


def at(batch: Batch, sequence: int, value: float) -> Tensor:
    """[T] ones, and the value at the second trained token of a sequence."""
    numbers = torch.ones(batch.tokens.shape[0], dtype=torch.float64)
    numbers[((batch.sequence == sequence) & batch.mask).nonzero()[1]] = value
    return numbers


def left_out(engine: LocalEngine, *parts: Part) -> Skip:
    before = [p.detach().clone() for p in engine.model.net.parameters()]
    each, step = asyncio.run(engine.trainer.update(parts, Rates(1e-2)))
    assert step.sums == {"skipped_updates": 1.0} and not any(stats.sums for stats in each)
    assert all(torch.equal(p, old) for p, old in zip(engine.model.net.parameters(), before, strict=True))
    assert all(p.grad is None for p in engine.model.net.parameters())
    assert engine.trainer.skip is not None
    return engine.trainer.skip


KNOWN: dict[str, Callable[[Batch], Batch]] = {
    "reward": lambda b: replace(
        b, reward=torch.where(torch.arange(12) == 7, math.inf, b.reward), advantages=at(b, 7, NAN)
    ),
    "old log-prob": lambda b: replace(b, old_logprobs=at(b, 7, NAN)),
    "log-prob of the reference": lambda b: replace(b, ref_logprobs=at(b, 7, math.inf), advantages=at(b, 7, NAN)),
    "advantage": lambda b: replace(b, advantages=at(b, 7, -math.inf)),
    "weight": lambda b: replace(b, policy_weight=at(b, 7, math.inf)),
}


@pytest.mark.parametrize("figure", KNOWN)
def test_what_was_known_before_the_update_is_named_first(figure: str, engine: LocalEngine) -> None:
    good = weighed()
    skip = left_out(engine, Part(good, objective()), Part(KNOWN[figure](good), objective()))
    assert (skip.figure, skip.part, skip.sequence) == (figure, 1, 7) and not math.isfinite(skip.value)


@dataclass(frozen=True)
class Spoiling(TokenObjective):
    """GRPO, but for answers with this token."""

    token: int = -1
    how: str = "loss"

    def loss(self, micro: Batch, outputs: Outputs) -> Loss:
        loss = super().loss(micro, outputs)
        assert outputs.logprobs is not None
        if not bool((micro.tokens[micro.mask] == self.token).any()):
            return loss
        zero = 0 * outputs.logprobs.sum()
        return replace(loss, total=loss.total + (torch.sqrt(zero) if self.how == "gradient" else zero / zero))


def with_token_alone(batch: Batch, sequence: int, token: int) -> Batch:
    """The same, with this token in one answer and nowhere else."""
    tokens = torch.where(batch.tokens == token, token + 1, batch.tokens)
    tokens[((batch.sequence == sequence) & batch.mask).nonzero()[0]] = token
    return replace(batch, tokens=tokens)


@pytest.mark.parametrize(("how", "value"), [("loss", "nan"), ("gradient", "nan")])
def test_a_loss_or_a_gradient_is_found_in_the_answer_it_comes_from(how: str, value: str, engine: LocalEngine) -> None:
    base = {name: getattr(objective(), name) for name in objective().__dataclass_fields__}
    skip = left_out(engine, Part(with_token_alone(weighed(), 5, 40), Spoiling(**base, token=40, how=how)))
    assert (skip.figure, skip.sequence, repr(skip.value)) == (how, 5, value)
    assert skip.parameter == "model.embed_tokens.weight"


def test_the_log_prob_of_the_policy_is_named_where_it_is_the_cause(model_folder: Path) -> None:
    """Weights are finite, and one token's row is so large that its logit is not."""
    engine = LocalEngine.open(str(model_folder), dtype="float32", token_budget=24)
    batch = objective().weigh(objective().advantages(pack(rolled_out(4, 3))))
    net: Any = engine.model.net
    with torch.no_grad():
        net.get_output_embeddings().weight[40] = 3e38
    skip = left_out(engine, Part(batch, objective()))
    assert skip.figure == "log-prob" and skip.sequence is not None


def test_a_loop_by_hand_is_told_by_errors(engine: LocalEngine) -> None:
    bad = replace(weighed(), advantages=at(weighed(), 0, NAN))
    with refused("not-finite", said="weights were not changed", kind=TrainingError):
        engine.trainer.forward_backward(bad, objective())
    engine.trainer.skipped = 0
    for count in (1, 2, 3):
        engine.trainer.forward_backward(weighed(), objective())
        next(p for p in engine.model.net.parameters() if p.grad is not None).grad.view(-1)[0] = NAN  # type: ignore[union-attr]
        if count < 3:
            assert engine.trainer.step(1e-3).sums == {"skipped_updates": 1.0}
    with refused("not-finite", said="not finite in 3 updates in a row", kind=TrainingError):
        engine.trainer.step(1e-3)


@pytest.mark.parametrize(("pair", "expected"), [((math.inf, -math.inf), False), ((NAN, 0.0), True)])
def test_infinite_log_probs_of_either_sign_are_no_nan_wherever_they_stand(
    pair: tuple[float, float], expected: bool
) -> None:
    """Else a batch would be corrupt in one process, and not on two ranks that have one of them each."""
    batch = pack(rolled_out(2, 2))
    old = torch.zeros_like(batch.tokens, dtype=batch.dtype)
    old[0], old[-1] = pair
    assert corrupt(replace(batch, old_logprobs=old)) is expected
