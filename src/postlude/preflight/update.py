"""The second half of section `step 0`: one update with the method's own loss, measured and taken back."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from postlude.batch import Batch
from postlude.data import Completion, Group
from postlude.engines.local.engine import LocalEngine
from postlude.engines.protocol import Part, Rates
from postlude.errors import TrainingError
from postlude.lazy import torch
from postlude.objectives import Need
from postlude.preflight.report import Section
from postlude.preflight.signal import compares_groups
from postlude.recipe import Recipe
from postlude.streams import Stream

if TYPE_CHECKING:
    from torch import Tensor

LARGE = 0.1
"""Relative change of the weights in one step from which on a rate is probably too high."""
MOST_GROUPS = 4


@dataclass
class Timed:
    """One update: tokens that went through, and its seconds."""

    tokens: int = 0
    seconds: float = 0.0


async def look_at_update(
    recipe: Recipe, engine: LocalEngine, stream: Stream, groups: Sequence[Group], section: Section
) -> Timed:
    """Loss, gradient, what moves; the weights are as before when this returns."""
    few, made_up = with_signal(recipe, groups)
    if not few:
        return Timed()
    if made_up:
        section.note("note", "no sampled prompt had better and worse answers: the update is tried with made-up rewards")
    params = [p for part in engine.trainer.parts.values() for p in part.params]
    before = [p.detach().clone() for p in params]
    prints = engine.fingerprint()
    began = time.monotonic()
    try:
        figures, batch = await _update(recipe, engine, stream, few)
    except TrainingError as error:
        section.broken(error.code, f"the first update fails: {error}", "Mend the numbers that it names.")
        return Timed()
    timed = Timed(int(batch.tokens.shape[0]), time.monotonic() - began)
    _judge(recipe, figures, section)
    _moved(recipe, engine, before, params, engine.fingerprint() == prints, section)
    with torch.no_grad():
        for p, old in zip(params, before, strict=True):
            p.copy_(old)
    return timed


def with_signal(recipe: Recipe, groups: Sequence[Group]) -> tuple[list[Group], bool]:
    """Groups whose answers differ in reward, or where there are none some with rewards made up: half and half."""
    if recipe.algorithm.source != "rollout":
        return list(groups[: max(2, MOST_GROUPS)]), False
    usable = [replace(g, completions=tuple(c for c in g.completions if c.tokens)) for g in groups]
    usable = [g for g in usable if len(g.completions) > 1 or (g.completions and not compares_groups(recipe))]
    good = [g for g in usable if len({c.reward for c in g.scored}) > 1]
    if good and not (Need.CORRECT in recipe.objective.needs and not any(0 < (g.solve_rate or 0) < 1 for g in good)):
        return _selected(recipe, good)[:MOST_GROUPS], False
    marked = [
        replace(g, completions=tuple(_marked(c, i % 2 == 0) for i, c in enumerate(g.completions))) for g in usable
    ]
    return _selected(recipe, marked)[:MOST_GROUPS], True


def _marked(completion: Completion, right: bool) -> Completion:
    """With a reward of 1 or 0, at its last token too where steps are rewarded."""
    value = float(right)
    steps = ((len(completion.tokens) - 1, value),) if completion.steps else ()
    whole = 0.0 if steps else None
    return replace(completion, reward=value, correct=right, steps=steps, whole=whole)


def _selected(recipe: Recipe, groups: Sequence[Group]) -> list[Group]:
    return [g for one in groups if (g := recipe.keep(one) if recipe.keep else one) is not None]


async def _update(
    recipe: Recipe, engine: LocalEngine, stream: Stream, groups: Sequence[Group]
) -> tuple[dict[str, float], Batch]:
    """One optimiser step at the peak rate, whatever the warm-up says."""
    batch = await stream.prepare(engine, groups)
    weighed = await stream.weigh(engine, batch, True)
    lr = recipe.schedule.lr or 0.0
    rates = Rates(lr, (recipe.critic.lr or lr) if recipe.critic else None)
    each, step = await engine.trainer.update([Part(weighed, stream.objective, stream.coef)], rates)
    stats = each[0]
    stats += step
    stats.updates = 1
    return stats.summary(), batch


def _judge(recipe: Recipe, figures: dict[str, float], section: Section) -> None:
    norm, skipped = figures.get("grad_norm", 0.0), figures.get("skipped_updates", 0.0)
    losses = {name: value for name, value in figures.items() if name.startswith("loss/")}
    section.figures |= {"grad_norm": norm, "losses": losses, "skipped_updates": skipped}
    section.table.append(("gradient norm", f"{norm:.3g}"))
    if skipped:
        section.broken(
            "not-finite",
            "the gradient of the first update is not finite",
            "Look at the weights and at the rewards; try engine.dtype=float32 and a lower temperature.",
        )
    elif not norm:
        section.broken(
            "no-signal",
            "the gradient of the first update is exactly 0, although the answers differ in reward",
            f"Look at the objective ({recipe.method}): its mask, clip and aggregate leave nothing.",
        )


@torch.no_grad()
def _moved(
    recipe: Recipe,
    engine: LocalEngine,
    before: Sequence[Tensor],
    params: Sequence[Tensor],
    same: bool,
    section: Section,
) -> None:
    """What one step at the peak rate does to the weights, against what their numbers can hold."""
    trainer = engine.trainer
    finite = all(bool(torch.isfinite(p).all()) for p in params)
    size = sum(float(old.double().square().sum()) for old in before) ** 0.5
    moved = sum(float((p - old).double().square().sum()) for p, old in zip(params, before, strict=True)) ** 0.5
    change = moved / size if size else float("inf") if moved else 0.0
    pairs = [pair for part in trainer.parts.values() for pair in zip(part.params, part.owned, strict=True)]
    held = [master is not p for p, master in pairs]
    masters = " (with a float32 master copy, so that small steps add up)" if any(held) else ""
    what = "adapter" if recipe.model.lora else "weights"
    section.figures |= {"relative_change": change, "weights_finite": finite}
    how = f"{change:.1e} of their size in a step at lr {recipe.schedule.lr:g}{masters}"
    section.table.append((f"{what} change", how))
    if not finite:
        section.broken("not-finite", "weights are not finite after one update", "Lower schedule.lr.")
    elif same and section.figures["grad_norm"] and not any(held):
        section.broken(
            "rate-too-small",
            f"no weight is another number after an update at schedule.lr={recipe.schedule.lr:g}: the step is "
            f"below what {recipe.engine.dtype} can hold",
            "Raise schedule.lr; 1e-6 to 1e-5 is usual for all weights, ten times that for LoRA.",
        )
    elif change > LARGE and not recipe.model.lora:
        section.warn(
            "rate-too-large",
            f"one step changes the weights by {change:.0%} of their size",
            f"schedule.lr={recipe.schedule.lr:g} is probably too high; 1e-6 to 1e-5 is usual for a pretrained model.",
        )
