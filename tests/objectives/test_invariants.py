"""Invariants of every method of the catalogue (specification section 15), on random ragged batches."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from postlude.algorithms import ALGORITHMS
from postlude.batch import Batch, minibatches, pack, select, split
from postlude.data import Completion, Group, Prompt
from postlude.objectives import Outputs, TokenObjective
from postlude.objectives.advantages import DecoupledReward, DecoupledValue
from postlude.objectives.weights import Aggregate

DOUBLE = torch.float64
METHODS = sorted(ALGORITHMS)
FAST = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def objective_of(name: str) -> Any:
    """The entry's objective with the lengths filled that a recipe would fill."""
    objective = ALGORITHMS[name].objective
    if isinstance(objective, TokenObjective):
        factor = objective.advantage
        if isinstance(factor, DecoupledReward | DecoupledValue):
            objective = replace(objective, advantage=replace(factor, cap=8))
        if objective.aggregate.mode == "seq_mean_token_sum_norm":
            objective = replace(objective, aggregate=Aggregate("seq_mean_token_sum_norm", 8))
    return objective


@st.composite
def worlds(draw: st.DrawFn) -> list[Group]:
    """Two to four groups of ragged completions, some empty, unscored or cut off; pairs for preference methods."""
    number = draw(st.integers(2, 4))
    size = draw(st.integers(2, 4))
    groups = []
    for g in range(number):
        completions = []
        for _ in range(size):
            n = draw(st.integers(0, 6))
            scored = draw(st.integers(0, 7)) > 0
            correct = draw(st.booleans())
            noise = draw(st.sampled_from([0.0, 0.25, 0.5]))
            ends = tuple((t, draw(st.sampled_from([0.0, 1.0]))) for t in range(n) if draw(st.booleans()))
            completions.append(
                Completion(
                    tokens=(1,) * n,
                    sampled=tuple(draw(st.integers(0, 5)) > 0 for _ in range(n)),
                    reward=float(correct) - noise if scored else None,
                    correct=correct if scored else None,
                    stop="length" if draw(st.integers(0, 5)) == 0 else "eos",
                    steps=ends,
                )
            )
        groups.append(Group(Prompt(str(g), "p", tokens=(0,) * (g + 1)), tuple(completions)))
    return groups


def world(groups: list[Group], name: str, seed: int = 0) -> tuple[Batch, dict[str, torch.Tensor]]:
    """A packed batch with random log-probs and values that depend on the token's place in the data only."""
    if name in ("reward_model_soft",):
        groups = [replace(g, completions=g.completions[:2]) for g in groups]
    batch = pack(groups, dtype=DOUBLE)
    if name in ("reward_model_binary", "reward_model_soft"):
        batch = replace(batch, reward=batch.reward.clamp(0, 1))
    if batch.step_reward is None:
        batch = replace(batch, step_reward=torch.full((batch.tokens.shape[0],), float("nan"), dtype=DOUBLE))
    generator = torch.Generator().manual_seed(seed)

    def random(scale: float, shift: float = 0.0) -> torch.Tensor:
        return torch.randn(batch.tokens.shape[0], generator=generator, dtype=DOUBLE) * scale + shift

    live = {
        "logprobs": random(0.5, -1.5),
        "entropy": random(0.1, 1.0),
        "values": random(0.5),
        "scores": random(1.0),
    }
    batch = replace(
        batch,
        old_logprobs=live["logprobs"] + random(0.2),
        ref_logprobs=live["logprobs"] + random(0.3),
        rollout_logprobs=live["logprobs"] + random(0.2),
        old_values=live["values"] + random(0.2),
    )
    return batch, live


def prepared(name: str, batch: Batch, live: dict[str, torch.Tensor]) -> Batch:
    objective = objective_of(name)
    batch = objective.advantages(batch)
    return objective.weigh(batch, Outputs(**live) if objective.live else None)


def gradient(name: str, weighed: Batch, live: dict[str, torch.Tensor]) -> tuple[float, dict[str, torch.Tensor]]:
    leaves = {k: v.clone().requires_grad_() for k, v in live.items()}
    total = objective_of(name).loss(weighed, Outputs(**leaves)).total
    total.backward()
    grads = {k: torch.zeros_like(v) if v.grad is None else v.grad for k, v in leaves.items()}
    return float(total.detach()), grads


@pytest.mark.parametrize("name", METHODS)
@FAST
@given(groups=worlds())
def test_loss_and_gradient_are_finite_and_masked_tokens_have_none(name: str, groups: list[Group]) -> None:
    batch, live = world(groups, name)
    loss, grads = gradient(name, prepared(name, batch, live), live)
    assert torch.isfinite(torch.tensor(loss))
    for grad in grads.values():
        assert torch.isfinite(grad).all()
        assert (grad[~batch.mask] == 0).all()


@pytest.mark.parametrize("name", METHODS)
@FAST
@given(groups=worlds(), budget=st.integers(5, 30))
def test_micro_batches_add_up(name: str, groups: list[Group], budget: int) -> None:
    batch, live = world(groups, name)
    weighed = prepared(name, batch, live)
    loss, grads = gradient(name, weighed, live)
    total, summed = 0.0, {k: torch.zeros_like(v) for k, v in grads.items()}
    numbered = replace(weighed, rows=torch.arange(batch.tokens.shape[0]))
    for micro in split(numbered, budget, not objective_of(name).splits_groups):
        part, part_grads = gradient(name, micro, {k: v[micro.rows] for k, v in live.items()})
        total += part
        for key, grad in part_grads.items():
            summed[key].index_add_(0, micro.rows, grad)
    assert total == pytest.approx(loss, abs=1e-10)
    for key, grad in grads.items():
        torch.testing.assert_close(summed[key], grad, atol=1e-12, rtol=1e-9)


@pytest.mark.parametrize("name", METHODS)
@FAST
@given(groups=worlds(), order=st.randoms(use_true_random=False))
def test_order_does_not_matter(name: str, groups: list[Group], order: Any) -> None:
    batch, live = world(groups, name)
    loss, grads = gradient(name, prepared(name, batch, live), live)
    places = list(range(len(groups)))
    order.shuffle(places)
    moved = pack([_trim(groups[i], name) for i in places], dtype=DOUBLE)
    rows = torch.cat([(batch.group == i).nonzero().squeeze(1) for i in places])
    sequences = torch.cat([(batch.sequence_group == i).nonzero().squeeze(1) for i in places])
    fields = ("old_logprobs", "ref_logprobs", "rollout_logprobs", "old_values", "step_reward")
    moved = replace(moved, reward=batch.reward[sequences], **{f: getattr(batch, f)[rows] for f in fields})
    live_moved = {k: v[rows] for k, v in live.items()}
    again, again_grads = gradient(name, prepared(name, moved, live_moved), live_moved)
    assert again == pytest.approx(loss, abs=1e-10)
    for key, grad in grads.items():
        torch.testing.assert_close(again_grads[key], grad[rows], atol=1e-12, rtol=1e-9)


def _trim(group: Group, name: str) -> Group:
    return replace(group, completions=group.completions[:2]) if name == "reward_model_soft" else group


@pytest.mark.parametrize("name", [n for n in METHODS if ALGORITHMS[n].source != "preference"])
@FAST
@given(groups=worlds())
def test_copies_as_new_groups_leave_mean_losses_unchanged(name: str, groups: list[Group]) -> None:
    """With the advantages held fixed. Constraint terms of DRPO are means too, so they are included."""
    batch, live = world(groups, name)
    once = prepared(name, batch, live)
    loss, _ = gradient(name, once, live)
    n = batch.tokens.shape[0]
    twice = pack([*groups, *groups], dtype=DOUBLE)
    fields = ("old_logprobs", "ref_logprobs", "rollout_logprobs", "old_values", "step_reward", "mask")
    twice = replace(twice, **{f: getattr(once, f).repeat(2) for f in fields})
    objective = objective_of(name)
    twice_live = {k: v.repeat(2) for k, v in live.items()}
    returns = None if once.returns is None else once.returns.repeat(2)
    if once.advantages is not None:
        twice = replace(twice, advantages=once.advantages.repeat(2), returns=returns)
    weighed = objective.weigh(twice, Outputs(**twice_live) if objective.live else None)
    again, _ = gradient(name, weighed, twice_live)
    assert again == pytest.approx(loss, abs=1e-10)
    assert n * 2 == twice.tokens.shape[0]


POLICY = [
    n for n in METHODS if isinstance(ALGORITHMS[n].objective, TokenObjective) and not ALGORITHMS[n].objective.live
]


@pytest.mark.parametrize("name", POLICY)
@FAST
@given(groups=worlds())
def test_at_the_old_policy_the_gradient_is_minus_advantage_times_weight(name: str, groups: list[Group]) -> None:
    batch, live = world(groups, name)
    old = live["logprobs"]
    batch = replace(batch, old_logprobs=old, rollout_logprobs=old)
    objective = replace(objective_of(name), kl=None, value=None, entropy=0.0)
    weighed = objective.weigh(replace(objective_of(name), kl=None).advantages(batch))
    leaf = old.clone().requires_grad_()
    objective.loss(weighed, Outputs(logprobs=leaf)).total.backward()
    expected = -weighed.advantages * weighed.policy_weight
    if objective.ratio in ("sequence_mean", "sequence_sum"):
        got = batch.sum_by_sequence(leaf.grad)
        sums = batch.sum_by_sequence(expected) * (batch.lengths if objective.ratio == "sequence_sum" else 1)
        torch.testing.assert_close(got, sums, atol=1e-12, rtol=1e-9)
    else:
        torch.testing.assert_close(leaf.grad, expected, atol=1e-12, rtol=1e-9)


@pytest.mark.parametrize("name", METHODS)
@FAST
@given(groups=worlds(), pick=st.integers(0, 1000))
def test_minus_infinity_on_a_trained_token_stays_local(name: str, groups: list[Group], pick: int) -> None:
    """Its own gradient is 0 and no other number becomes NaN (specification 0.6)."""
    batch, live = world(groups, name)
    rows = batch.mask.nonzero().squeeze(1)
    if not rows.numel():
        return
    row = int(rows[pick % rows.numel()])
    live["logprobs"][row] = -float("inf")
    loss, grads = gradient(name, prepared(name, batch, live), live)
    assert torch.isfinite(torch.tensor(loss))
    for grad in grads.values():
        assert torch.isfinite(grad).all()
    if objective_of(name).ratio not in ("sequence_mean", "sequence_sum") if name in POLICY else True:
        assert grads["logprobs"][row] == 0


@pytest.mark.parametrize("name", [n for n in METHODS if isinstance(ALGORITHMS[n].objective, TokenObjective)])
@FAST
@given(groups=worlds(), pick=st.integers(0, 1000), value=st.sampled_from([float("nan"), -float("inf")]))
def test_a_corrupt_old_log_prob_masks_its_token_and_is_counted(
    name: str, groups: list[Group], pick: int, value: float
) -> None:
    batch, live = world(groups, name)
    rows = batch.mask.nonzero().squeeze(1)
    if not rows.numel():
        return
    row = int(rows[pick % rows.numel()])
    batch.old_logprobs[row] = value
    batch.rollout_logprobs[row] = float("nan")
    weighed = prepared(name, batch, live)
    assert weighed.report["corrupt_tokens"] == 1
    loss, grads = gradient(name, weighed, live)
    assert torch.isfinite(torch.tensor(loss))
    assert all(torch.isfinite(g).all() and g[row] == 0 for g in grads.values())


@FAST
@given(groups=worlds(), updates=st.integers(2, 5))
def test_minibatches_hold_every_sequence_once_and_keep_groups_where_asked(groups: list[Group], updates: int) -> None:
    batch = pack(groups, dtype=DOUBLE)
    generator = torch.Generator().manual_seed(1)
    batch = replace(batch, correct=torch.arange(batch.n_sequences))  # a label for every sequence
    for keeps in (False, True):
        parts = minibatches(batch, updates, keeps, generator)
        assert sorted(int(i) for p in parts for i in p.correct) == list(range(batch.n_sequences))
        if keeps:
            size = len(groups[0].completions)
            assert all(p.n_sequences % size == 0 for p in parts)


def test_selecting_renumbers_predictors_and_keeps_prompts() -> None:
    groups = [
        Group(Prompt(str(g), "p", tokens=(9, 8)), tuple(Completion((g, i), reward=1.0) for i in range(3)))
        for g in range(2)
    ]
    batch = pack(groups)
    part = select(batch, torch.tensor([1, 5]))
    assert part.tokens.tolist() == [9, 8, 0, 1, 9, 8, 1, 2]
    assert part.predictor.tolist() == [-1, -1, 1, 2, -1, -1, 5, 6]
    assert part.sequence.tolist() == [-1, -1, 0, 0, -1, -1, 1, 1]
    assert part.position.tolist() == [0, 1, 2, 3] * 2


def test_a_first_token_without_context_is_not_trained() -> None:
    batch = pack([Group(Prompt("0", ""), (Completion((5, 6, 7), reward=1.0),))])
    assert batch.mask.tolist() == [False, True, True]
    assert batch.predictor.tolist() == [-1, 0, 1]
