"""Groups without a gradient are read for their figures and not gone back through: same weights, same figures."""

from __future__ import annotations

import asyncio
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from postlude.batch import Batch, minibatches, split
from postlude.data import Group
from postlude.engines.local.engine import LocalEngine
from postlude.engines.local.trainer import LocalTrainer
from postlude.engines.settings import Local, Optimizer
from postlude.models.load import inspect
from postlude.models.spec import ModelSpec
from postlude.objectives import TokenObjective
from postlude.objectives.divergence import KL
from postlude.runs.stats import Stats
from postlude.streams import Stream
from tests.objectives.test_invariants import objective_of
from tests.streaming import rolled_out


def equal(group: Group) -> Group:
    """The group with one reward for all: nothing to learn from."""
    return replace(group, completions=tuple(replace(c, reward=1.0, correct=True) for c in group.completions))


def groups(useless: int, of: int = 6) -> list[Group]:
    """The last `useless` groups have equal rewards; the sampler's log-probs are known."""
    found = rolled_out(of, 4)
    found = [*found[: of - useless], *map(equal, found[of - useless :])]
    known = lambda c: replace(c, logprobs=tuple(-1.0 - 0.1 * (i % 7) for i in range(len(c.tokens))))
    return [replace(g, completions=tuple(map(known, g.completions))) for g in found]


def double(batch: Batch) -> Batch:
    floats = {f.name: getattr(batch, f.name) for f in fields(batch)}
    return replace(
        batch, **{k: v.double() for k, v in floats.items() if isinstance(v, Tensor) and v.is_floating_point()}
    )


def trained(
    folder: Path, objective: TokenObjective, drawn: list[Group], skips: bool, updates: int = 2, budget: int = 10_000
) -> tuple[dict[str, Tensor], dict[str, float], list[bool]]:
    """Weights, figures, and of each pass whether it had a gradient, after two draws' worth of updates in float64."""
    spec = ModelSpec(str(folder))
    engine = LocalEngine.start(
        spec, inspect(spec), Optimizer(weight_decay=0.1), Local(token_budget=budget), keep_reference=True
    )
    engine.trainer.model.net.double()
    if engine.trainer.reference.frozen is not None:
        engine.trainer.reference.frozen.net.double()
    trainer = LocalTrainer(engine.trainer.model, Optimizer(weight_decay=0.1), budget)
    trainer.reference, trainer.skips_idle = engine.trainer.reference, skips
    engine.trainer = trainer
    stream = Stream("m", None, objective, updates, 2, 1.0)  # type: ignore[arg-type]
    passes, total = [], Stats()
    batch = double(asyncio.run(stream.prepare(engine, drawn)))
    generator = torch.Generator().manual_seed(1)
    for epoch in range(2):
        for i, part in enumerate(minibatches(batch, updates, objective.keeps_groups, generator)):
            weighed = double(asyncio.run(stream.weigh(engine, part, fresh=not epoch and not i)))
            last = Stats({f"update/{k}": v for k, v in weighed.report.items() if k not in part.report})
            for micro in split(weighed, budget, keeps_groups=False):
                passes += [pulls for _, pulls in trainer._parts(micro, objective)]
                last += trainer.forward_backward(micro, objective)
            last += trainer.step(1e-3)
            last.updates = 1
            total += last
    return dict(trainer.model.net.state_dict()), total.summary(), passes


def same(one: tuple[Any, ...], other: tuple[Any, ...]) -> None:
    for name, value in one[0].items():
        torch.testing.assert_close(value, other[0][name], atol=1e-12, rtol=1e-11, msg=name)
    assert one[1].keys() == other[1].keys()
    for name, figure in one[1].items():
        assert other[1][name] == pytest.approx(figure, rel=1e-9, abs=1e-12), name


LEAN = ("dr_grpo", "gspo", "gspo_token", "cispo", "rft_online", "alp", "reinforce_pp_baseline", "drpo", "disco_ratio")


@pytest.mark.parametrize("name", [*LEAN, "grpo"])
def test_skipping_changes_no_weight_and_no_figure(name: str, model_folder: Path) -> None:
    objective = objective_of(name)
    if name in ("grpo", "reinforce_pp_baseline", "rft_online"):
        objective = replace(objective, kl=None)
    drawn = groups(4)
    if name == "rft_online":  # without a baseline it is the wrong answers that teach nothing
        wrong = lambda g: replace(g, completions=tuple(replace(c, correct=False) for c in g.completions))
        drawn = [*drawn[:2], *map(wrong, drawn[2:])]
    quick, plain = (trained(model_folder, objective, drawn, skips) for skips in (True, False))
    same(quick, plain)
    assert all(plain[2])
    centred = name == "reinforce_pp_baseline"  # whitening moves every token off 0 where the mean is not
    assert centred or not all(quick[2]), "something was left out"


@pytest.mark.parametrize("budget", [60, 10_000])
def test_micro_batches_of_parts_of_groups(budget: int, model_folder: Path) -> None:
    objective = replace(objective_of("grpo"), kl=None)
    quick, plain = (trained(model_folder, objective, groups(4), skips, budget=budget) for skips in (True, False))
    same(quick, plain)
    assert quick[2].count(False) >= 4


@pytest.mark.parametrize(("name", "asked"), [("drpo", [0, 0]), ("gspo", [0, 1])])
def test_what_a_pass_has_just_told_is_not_asked_again(
    name: str, asked: list[int], model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Passes through the model for groups without a gradient: in the first update after the draw, in the second."""
    spec = ModelSpec(str(model_folder))
    engine = LocalEngine.start(spec, inspect(spec), Optimizer(), Local(token_budget=10_000), False)
    stream = Stream(name, None, objective_of(name), 2, 1, 1.0)  # type: ignore[arg-type]
    batch = asyncio.run(stream.prepare(engine, [*map(equal, rolled_out(3, 4))]))
    count = 0
    running = engine.model.running

    def counted(micro: Batch) -> Any:
        nonlocal count
        count += 1
        return running(micro)

    found = []
    for fresh in (True, False):
        weighed = asyncio.run(stream.weigh(engine, batch, fresh))
        monkeypatch.setattr(engine.model, "running", counted)
        count = 0
        engine.trainer.forward_backward(weighed, stream.objective)
        found.append(count)
        monkeypatch.undo()
    assert found == asked


def test_answers_without_a_trained_token_are_not_even_read(model_folder: Path) -> None:
    objective = replace(objective_of("dapo"), mask_truncated=True, entropy=0.01)
    cut = lambda g, i: replace(g.completions[i], stop="length") if i % 2 else replace(g.completions[i], reward=None)
    drawn = [
        replace(g, completions=tuple(cut(g, i) if i < 3 else g.completions[i] for i in range(4))) for g in groups(0)
    ]
    quick, plain = (trained(model_folder, objective, drawn, skips) for skips in (True, False))
    same(quick, plain)
    batch = objective.weigh(objective.advantages(_batch(drawn)))
    spec = ModelSpec(str(model_folder))
    trainer = LocalEngine.start(spec, inspect(spec), Optimizer(), Local(token_budget=10_000), False).trainer
    ((part, pulls),) = trainer._parts(batch, objective)
    assert pulls and part.n_sequences == 6 < batch.n_sequences == 24
    assert part.tokens.shape[0] < batch.tokens.shape[0]


@pytest.mark.parametrize("updates", [1, 6])
def test_an_update_without_any_gradient_still_decays_moments_and_weights(updates: int, model_folder: Path) -> None:
    objective = replace(objective_of("grpo"), kl=None)
    drawn = groups(6 if updates == 1 else 5)
    quick, plain = (trained(model_folder, objective, drawn, skips, updates) for skips in (True, False))
    same(quick, plain)
    assert not all(quick[2]) and quick[1]["grad_norm"] == pytest.approx(plain[1]["grad_norm"])


@pytest.mark.parametrize(
    "change",
    [{"kl": KL("k3", 0.04)}, {"entropy": 0.01}],
    ids=["kl", "entropy"],
)
def test_whatever_else_pulls_keeps_every_group(change: dict[str, Any], model_folder: Path) -> None:
    objective = replace(objective_of("grpo"), **{"kl": None, **change})
    _, _, passes = trained(model_folder, objective, groups(4), True)
    assert all(passes)


def test_a_critic_and_a_hinge_in_force_keep_every_group() -> None:
    batch = objective_of("ppo").weigh(double(_batch(groups(4))))
    assert not objective_of("ppo").idle(batch).any()
    drpo = objective_of("drpo")
    weighed = drpo.weigh(drpo.advantages(double(_batch(groups(4)))), _live(0.0))
    assert drpo.idle(weighed).tolist() == [False, False, True, True, True, True]
    beyond = drpo.weigh(drpo.advantages(double(_batch(groups(4)))), _live(-0.5))
    assert not drpo.idle(beyond).any(), "the policy moved too far: the hinge pulls at every token"


def test_a_dropout_in_force_keeps_every_group(model_folder: Path) -> None:
    spec = ModelSpec(str(model_folder))
    assert not LocalEngine.start(
        spec, inspect(spec), Optimizer(), Local(token_budget=100), False, dropout=True
    ).trainer.skips_idle
    assert LocalEngine.start(spec, inspect(spec), Optimizer(), Local(token_budget=100), False).trainer.skips_idle


def _batch(drawn: list[Group]) -> Batch:
    from postlude.batch import pack

    batch = pack(drawn)
    zeros = torch.zeros(batch.tokens.shape[0])
    return replace(batch, old_logprobs=zeros, ref_logprobs=zeros, old_values=zeros, advantages=zeros, returns=zeros)


def _live(shift: float) -> Any:
    from postlude.objectives import Outputs

    size = _batch(groups(4)).tokens.shape[0]
    return Outputs(logprobs=torch.full((size,), shift, dtype=torch.float64))
