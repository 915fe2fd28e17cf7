"""The golden cases, and the degenerate ones, through the catalogue."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from postlude.algorithms import ALGORITHMS
from postlude.batch import pack
from postlude.data import Completion, Group, Prompt
from postlude.objectives import Outputs
from postlude.objectives.advantages import GroupBaseline
from postlude.objectives.surrogates import RATIOS
from postlude.objectives.weights import Aggregate
from tests.golden import steps
from tests.golden.run import RUN, differs, run_case

DATA = json.loads((Path(__file__).parent / "golden.json").read_text())
STEPS = json.loads((Path(__file__).parent / "steps.json").read_text())
DEGENERATE = DATA["degenerate"]


@pytest.mark.parametrize("name", DATA["cases"])
def test_golden_case(name: str) -> None:
    assert run_case(DATA, name) == []


@pytest.mark.parametrize("name", STEPS["cases"])
def test_rewards_of_steps_and_prefixes(name: str) -> None:
    assert run_case(STEPS, name) == []


def test_the_file_of_steps_is_what_its_loops_give() -> None:
    made = {name: steps.case(steps.make_batch(), name, params) for name, params in steps.CASES.items()}
    assert made.keys() == STEPS["cases"].keys() and steps.make_batch() == STEPS["batch"]
    for name, case in made.items():
        assert not differs(case["loss"], STEPS["cases"][name]["loss"], 1e-12)
        assert not differs(case["aux"]["advantages"], STEPS["cases"][name]["aux"]["advantages"], 1e-12)


def test_a_group_of_equal_rewards_in_a_file_of_ones_own() -> None:
    same = json.loads(json.dumps(DATA))
    group = [i for i, g in enumerate(same["batch"]["group"]) if g == 0]
    aux = same["cases"]["group_advantages"]["aux"]
    for i in group:
        same["batch"]["reward"][i] = 0.5
        aux["outcome_ddof0_eps0"][i] = 0.0
    assert not [line for line in run_case(same, "group_advantages") if line.startswith("outcome_ddof0")]


def test_every_runner_has_a_case() -> None:
    assert set(RUN) == {*DATA["cases"], *STEPS["cases"]}


def test_a_wrong_number_is_noticed() -> None:
    wrong = json.loads(json.dumps(DATA))
    wrong["cases"]["dpo"]["loss"] *= 1 + 1e-9
    wrong["cases"]["cispo"]["grad"][0][0] += 2e-9
    assert run_case(wrong, "dpo")
    assert run_case(wrong, "cispo")


def group(rewards: list[float | None], lengths: list[int] | None = None) -> Group:
    sizes = lengths or [2] * len(rewards)
    completions = tuple(Completion((1,) * n, reward=r) for r, n in zip(rewards, sizes, strict=True))
    return Group(Prompt("0", "p", tokens=(0,)), completions)


@pytest.mark.parametrize("mode", ["token_mean", "seq_mean_token_mean"])
def test_empty_completion(mode: str) -> None:
    case = DEGENERATE["empty_completion"]
    batch = pack([group([1.0, 0.0], case["lengths"])], dtype=torch.float64)
    logp = torch.zeros(3, dtype=torch.float64)
    logp[1:] = torch.tensor(case["logp"][0])
    objective = replace(ALGORITHMS["grpo"].objective, aggregate=Aggregate(mode), kl=None, correction=None)
    batch = replace(
        batch,
        old_logprobs=logp,
        advantages=batch.to_tokens(torch.tensor(case["advantage"], dtype=torch.float64)),
    )
    loss = objective.loss(objective.weigh(batch), Outputs(logprobs=logp))
    assert float(loss.total) == pytest.approx(case[mode], abs=1e-12)


def test_all_masked_gives_zero_loss_with_a_live_graph() -> None:
    objective = ALGORITHMS["grpo"].objective
    batch = pack([group([None, None])], dtype=torch.float64)
    logp = torch.full((5,), -float("inf"), dtype=torch.float64, requires_grad=True)
    batch = replace(batch, ref_logprobs=torch.full((5,), math.nan, dtype=torch.float64))
    loss = objective.loss(objective.weigh(objective.advantages(batch)), Outputs(logprobs=logp)).total
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert logp.grad.tolist() == [0.0] * 5


def test_group_with_equal_rewards_has_advantage_exactly_zero() -> None:
    case = DEGENERATE["zero_std_group"]
    batch = pack([group(case["rewards"])], dtype=torch.float32)
    assert GroupBaseline().per_sequence(batch).tolist() == case["advantage"]


def test_missing_reward_stays_out_of_the_statistics() -> None:
    case = DEGENERATE["nan_reward_group"]
    batch = pack([group(case["rewards"])], dtype=torch.float64)
    got = GroupBaseline().per_sequence(batch).tolist()
    assert got == pytest.approx(case["advantage"], abs=1e-9)
    assert (batch.lengths > 0).to(int).tolist() == case["mask"]


def test_one_scored_answer_in_a_group_teaches_nothing() -> None:
    batch = pack([group([1.0, None, None])], dtype=torch.float64)
    assert GroupBaseline().per_sequence(batch).tolist() == [0.0, 0.0, 0.0]


def test_identical_answers_have_loss_log_two_under_dpo() -> None:
    case = DEGENERATE["chosen_equals_rejected_dpo"]
    objective = ALGORITHMS["dpo"].objective
    batch = pack([group([1.0, 0.0])], dtype=torch.float64)
    shared = torch.tensor([-1.0, -0.5], dtype=torch.float64, requires_grad=True)
    logp = torch.cat([torch.zeros(1, dtype=torch.float64), shared, shared])
    batch = replace(batch, ref_logprobs=logp.detach())
    loss = objective.loss(objective.weigh(batch), Outputs(logprobs=logp)).total
    loss.backward()
    assert float(loss.detach()) == pytest.approx(case["loss"], abs=1e-12)
    assert shared.grad.tolist() == [0.0, 0.0]


def test_minus_infinity_has_the_clamped_ratio_and_no_gradient() -> None:
    case = DEGENERATE["neg_inf_logp"]
    batch = pack([group([1.0], [1])], dtype=torch.float64)
    new = torch.tensor([0.0, -float("inf")], dtype=torch.float64, requires_grad=True)
    old = torch.tensor([0.0, case["old"]], dtype=torch.float64)
    ratio = RATIOS["token"](batch, torch.where(batch.mask, new - old, 0.0))[1]
    ratio.backward()
    assert float(ratio.detach()) == pytest.approx(case["ratio"], rel=1e-12)
    assert new.grad[1] == case["grad"]
