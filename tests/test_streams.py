"""What a stream knows of a draw before training on it, and that cutting it changes nothing."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from postlude.algorithms import ALGORITHMS
from postlude.batch import pack, split
from postlude.engines.local.engine import LocalEngine
from postlude.engines.settings import Local, Optimizer
from postlude.models.load import inspect
from postlude.models.spec import Critic, ModelSpec
from postlude.objectives.divergence import KLControl
from postlude.streams import ReferenceMemory, Stream
from tests.streaming import compared, rolled_out


def engine(folder: Path, method: str, moved: float = 0.0) -> LocalEngine:
    """`moved`: noise on the policy after the reference was taken, so that the two differ."""
    spec, needs = ModelSpec(str(folder)), ALGORITHMS[method].needs
    critic = Critic("own") if "values" in needs else None
    made = LocalEngine.start(
        spec,
        inspect(spec),
        Optimizer(max_grad_norm=0),
        Local(token_budget=10_000),
        True,
        scores="scores" in needs,
        critic=critic,
    )
    torch.manual_seed(3)
    with torch.no_grad():
        for p in (p for part in made.trainer.parts.values() for p in part.params):
            p.add_(moved * torch.randn_like(p))
    return made


def stream(method: str) -> Stream:
    objective = ALGORITHMS[method].objective
    if method == "drpo_value":
        objective = replace(objective, advantage=replace(objective.advantage, cap=20))
    return Stream(method, None, objective, 1, 1, 1.0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("method", "each"),
    [
        ("dpo", 2),
        ("ipo_mean", 2),
        ("orpo", 2),
        ("simpo", 2),
        ("kto", 1),
        ("kto", 2),
        ("reward_model", 4),
        ("reward_model_listwise", 4),
        ("reward_model_soft", 2),
        ("reward_model_binary", 1),
        ("reward_model_process", 1),
        ("ppo", 2),
        ("drpo_value", 4),
    ],
)
def test_micro_batches_add_up_exactly(method: str, each: int, model_folder: Path) -> None:
    made, mine = engine(model_folder, method, 0.02), stream(method)
    source = ALGORITHMS[method].source
    groups = rolled_out(6, each) if source == "rollout" else compared(6, each)
    weighed = asyncio.run(mine.weigh(made, asyncio.run(mine.prepare(made, groups)), fresh=False))
    found = []
    for budget in (10_000, 30):
        total = 0.0
        parts = list(split(weighed, budget, not mine.objective.splits_groups))
        assert (len(parts) > 2) == (budget == 30)
        for micro in parts:
            stats = made.trainer.forward_backward(micro, mine.objective)
            total += sum(v for k, v in stats.sums.items() if k.startswith("loss/"))
        gradient = torch.cat(
            [p.grad.flatten() for part in made.trainer.parts.values() for p in part.params if p.grad is not None]
        )
        found.append((total, gradient.clone()))
        for part in made.trainer.parts.values():
            part.forget()
    (whole, gradient), (sum_, other) = found
    assert whole == pytest.approx(sum_, abs=1e-5)
    assert float(gradient.norm()) > 1e-4
    assert float((gradient - other).norm() / gradient.norm()) < 1e-4


def test_ktos_reference_point_is_a_loop_over_mismatched_answers(model_folder: Path) -> None:
    made, mine = engine(model_folder, "kto", 0.05), stream("kto")
    groups = compared(5, 1)
    weighed = asyncio.run(mine.weigh(made, asyncio.run(mine.prepare(made, groups)), fresh=False))
    ratios = []
    for own, following in zip(groups, [*groups[1:], groups[0]], strict=True):
        batch = pack([replace(own, completions=following.completions)])
        policy, reference = (made.trainer.outputs(batch, want).logprobs for want in ("policy", "reference"))
        ratios.append(float((policy - reference)[batch.mask].sum()))
    expected = max(0.0, sum(ratios) / len(ratios))
    assert abs(sum(ratios) / len(ratios)) > 1e-3
    assert weighed.offset == pytest.approx(expected, abs=1e-4)
    assert not weighed.mismatched.any() and weighed.n_sequences == 5, "what set the point is left out of the loss"
    assert float(weighed.sequence_weight.sum()) == pytest.approx(1)


def test_leaving_mismatched_answers_out_leaves_ktos_loss_alone(model_folder: Path) -> None:
    made, mine = engine(model_folder, "kto", 0.05), stream("kto")
    batch = asyncio.run(mine.prepare(made, compared(5, 2)))
    whole = mine.objective.weigh(batch, asyncio.run(mine.live(made, batch, fresh=False)))
    losses = [
        made.trainer.forward_backward(part, mine.objective).sums["loss/points"]
        for part in (whole, asyncio.run(mine.weigh(made, batch, fresh=False)))
    ]
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)


def test_a_batch_of_one_prompt_has_no_mismatched_answers(model_folder: Path) -> None:
    made, mine = engine(model_folder, "kto"), stream("kto")
    weighed = asyncio.run(mine.weigh(made, asyncio.run(mine.prepare(made, compared(1, 2))), fresh=False))
    assert weighed.offset == 0.0


@pytest.mark.parametrize("method", ["dpo", "kto"])
def test_the_reference_is_looked_up_once(method: str, model_folder: Path, tmp_path: Path) -> None:
    made, mine = engine(model_folder, method, 0.05), stream(method)
    groups = compared(4, 2)
    fresh = asyncio.run(mine.prepare(made, groups)).ref_logprobs
    mine.memory = ReferenceMemory()
    first = asyncio.run(mine.prepare(made, groups)).ref_logprobs
    torch.testing.assert_close(first, fresh, atol=1e-5, rtol=0)
    asked = []
    forward = made.trainer.forward
    made.trainer.forward = lambda batch, want: asked.append((want, batch.n_sequences)) or forward(batch, want)  # type: ignore[method-assign]
    again = asyncio.run(mine.prepare(made, groups)).ref_logprobs
    torch.testing.assert_close(again, first, atol=1e-5, rtol=0)
    assert asked == ([] if method == "dpo" else [("reference", 8)]), "KTO's extra answers change from draw to draw"
    mine.memory.save(tmp_path / "memory.safetensors")
    other = ReferenceMemory()
    other.load(tmp_path / "memory.safetensors")
    assert other.known.keys() == mine.memory.known.keys()
    assert all(torch.equal(x, other.known[k]) for k, x in mine.memory.known.items())


@pytest.mark.parametrize(
    ("control", "figures", "last", "expected"),
    [
        (KLControl("ziegler", target=1.0), {"kl_ref/sequence": 9.0}, {}, 0.1 * 1.02),
        (KLControl("ziegler", target=1.0), {"kl_ref/sequence": -1.0}, {}, 0.1),
        (
            KLControl("proportional", target=0.1, unit="token", horizon=100),
            {"kl_ref/k1": 0.09, "samples": 50.0},
            {},
            0.095,
        ),
        (KLControl("doubling", target=0.01), {}, {"kl_old/k3": 0.1}, 0.2),
        (KLControl("doubling", target=0.01), {}, {"kl_old/k3": 0.001}, 0.05),
        (KLControl("doubling", target=0.01), {}, {}, 0.1),
    ],
)
def test_controllers_move_the_coefficient(
    control: KLControl, figures: dict[str, float], last: dict[str, float], expected: float
) -> None:
    mine = stream("ppo")
    mine.control, mine.objective = control, mine.objective.with_kl_coef(0.1)
    mine.observe(figures, last)
    assert mine.kl_coef == pytest.approx(expected)
    assert mine.objective.advantage.kl_coef == pytest.approx(expected)
