"""Policy and critic: gradients, rates and clipping of their own, and everything comes back from a checkpoint."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from postlude.algorithms import ALGORITHMS
from postlude.batch import Batch
from postlude.engines.local.engine import LocalEngine
from postlude.engines.settings import Local, Optimizer
from postlude.models.load import inspect
from postlude.models.spec import Critic, ModelSpec
from postlude.streams import Stream
from tests.streaming import rolled_out


def engine(folder: Path, critic: Critic, norm: float = 0.0) -> LocalEngine:
    spec = ModelSpec(str(folder))
    return LocalEngine.start(
        spec, inspect(spec), Optimizer(max_grad_norm=norm), Local(token_budget=10_000), True, critic=critic
    )


def update(made: LocalEngine) -> Batch:
    stream = Stream("ppo", None, ALGORITHMS["ppo"].objective, 1, 1, 1.0)  # type: ignore[arg-type]
    return stream.objective.weigh(asyncio.run(stream.prepare(made, rolled_out(4, 3))))


def copies(made: LocalEngine, part: str) -> list[Tensor]:
    return [p.detach().clone() for p in made.trainer.parts[part].params]


def same(a: list[Tensor], b: list[Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("on", ["own", "trunk"])
def test_each_part_moves_at_its_own_rate(on: str, model_folder: Path) -> None:
    objective = ALGORITHMS["ppo"].objective
    made = engine(model_folder, Critic(on))  # type: ignore[arg-type]
    batch = update(made)
    assert batch.old_values is not None and not batch.old_values.any(), "a new critic says 0"
    for rates, moves in (((0.0, 1e-3), (False, True)), ((1e-3, 0.0), (True, False)), ((1e-3, 1e-3), (True, True))):
        before = copies(made, "policy"), copies(made, "critic")
        made.trainer.forward_backward(batch, objective)
        stats = made.trainer.step(*rates)
        assert stats.sums["update/grad_norm"] > 0 and stats.sums["update/critic/grad_norm"] > 0
        assert (not same(before[0], copies(made, "policy")), not same(before[1], copies(made, "critic"))) == moves


def test_the_value_loss_reaches_the_policy_only_on_a_trunk(model_folder: Path) -> None:
    objective = ALGORITHMS["ppo"].objective
    alone = replace(objective, value=replace(objective.value, coef=1e3))
    for on, same_gradient in (("own", True), ("trunk", False)):
        norms = []
        for which in (objective, alone):
            made = engine(model_folder, Critic(on))  # type: ignore[arg-type]
            with torch.no_grad():  # a head of zeros would hide its gradient
                for p in made.trainer.parts["critic"].params:
                    p.add_(0.1)
            stream = Stream("ppo", None, which, 1, 1, 1.0)  # type: ignore[arg-type]
            batch = which.weigh(asyncio.run(stream.prepare(made, rolled_out(4, 3))))
            made.trainer.forward_backward(batch, which)
            norms.append(made.trainer.parts["policy"].norm())
        assert (abs(norms[0] - norms[1]) < 1e-6) == same_gradient


def test_gradients_are_clipped_by_part(model_folder: Path) -> None:
    objective = ALGORITHMS["ppo"].objective
    big = replace(objective, value=replace(objective.value, coef=1e6))
    moved = []
    for which in (objective, big):
        made = engine(model_folder, Critic("own"), norm=1.0)
        batch = which.weigh(asyncio.run(Stream("ppo", None, which, 1, 1, 1.0).prepare(made, rolled_out(4, 3))))  # type: ignore[arg-type]
        made.trainer.forward_backward(batch, which)
        made.trainer.step(1e-3, 1e-3)
        moved.append(copies(made, "policy"))
    assert same(*moved), "a huge gradient of the critic must not shrink the policy's step"


@pytest.mark.parametrize("on", ["own", "trunk"])
def test_a_checkpoint_brings_both_back(on: str, model_folder: Path, tmp_path: Path) -> None:
    objective = ALGORITHMS["ppo"].objective
    made = engine(model_folder, Critic(on))  # type: ignore[arg-type]
    batch = update(made)
    for _ in range(2):
        made.trainer.forward_backward(batch, objective)
        made.trainer.step(1e-3, 1e-2)
    made.write(tmp_path / "saved")
    other = engine(model_folder, Critic(on))  # type: ignore[arg-type]
    asyncio.run(other.load(tmp_path / "saved"))
    for each in (made, other):
        each.trainer.forward_backward(batch, objective)
        each.trainer.step(1e-3, 1e-2)
    for part in ("policy", "critic"):
        assert same(copies(made, part), copies(other, part)), part


def test_values_do_not_depend_on_micro_batches(model_folder: Path) -> None:
    for on in ("own", "trunk"):
        made = engine(model_folder, Critic(on))  # type: ignore[arg-type]
        with torch.no_grad():
            for p in made.trainer.parts["critic"].params:
                p.add_(0.1 * torch.randn_like(p))
        batch = update(made)
        whole = made.trainer.outputs(batch, "values").values
        made.trainer.token_budget = 40
        torch.testing.assert_close(made.trainer.outputs(batch, "values").values, whole, atol=1e-5, rtol=0)
