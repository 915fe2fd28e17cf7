"""Section `held_out`: what evaluations will measure, by what, and what that costs in answers."""

from __future__ import annotations

from postlude.data import Group
from postlude.errors import RewardError
from postlude.preflight.report import Section
from postlude.preflight.sampled import Sampled
from postlude.prepared import Prepared
from postlude.recipe.schema import times
from postlude.rewards.functions import JudgedReward
from postlude.rewards.rewards import Rewards
from postlude.statistics import mean, spearman, wilson
from postlude.truth.evaluation import measured
from postlude.words import counted

MOST = 64
"""Sampled answers that metrics are tried on."""
FEW = 30
"""Prompts of a set below which hardly anything but a leap shows."""


def look_at_held_out(prepared: Prepared) -> Section | None:
    """What is known without a model; None where nothing is held out."""
    recipe, section = prepared.recipe, Section("held_out", "Held out")
    asked, evaluate = prepared.asked, recipe.evaluate
    sets = prepared.eval_sets
    if not sets and not prepared.sheet:
        return None
    count = times(evaluate.every, recipe.steps)
    answers = prepared.evaluation_answers
    metrics = [m.spec.label for m in prepared.metrics.members]
    sheet = len(prepared.sheet) * (evaluate.sheet.answers if evaluate.sheet else 0)
    sheets = times(evaluate.sheet.every, recipe.steps) if evaluate.sheet else 0
    section.figures |= {
        "sets": {
            one.name: {"rows": len(one.rows), "asked": len(asked.get(one.name, ()))} for one in prepared.eval_sets
        },
        "metrics": metrics,
        "evaluations": count,
        "answers": answers,
        "answers_of_run": answers * count + sheet * sheets,
        "sheet": {"prompts": len(prepared.sheet), "answers": sheet, "times": sheets},
    }
    section.summary = _summary(prepared, count, answers)
    for one in sets:
        section.table.append((one.name, _of_set(prepared, one.name, len(one.rows))))
    if metrics:
        each = f"scored on these answers, {answers:,} each time" if answers else "nothing to score"
        section.table.append(("metrics", f"{', '.join(metrics)}: {each}; none is trained on"))
    if sheet and evaluate.sheet:
        size = f"{counted(len(prepared.sheet), 'prompt')} x {counted(evaluate.sheet.answers, 'answer')}"
        section.table.append(("sheet", f"{size}, {counted(sheets, 'time')}: {sheet * sheets:,} answers on top"))
    _thin(prepared, section)
    return section


def _summary(prepared: Prepared, count: int, answers: int) -> str:
    sets = f"{counted(len(prepared.eval_sets), 'set')}, " if len(prepared.eval_sets) > 1 else ""
    if not answers:
        return f"{sets}measured by the method's own loss, {counted(count, 'time')}"
    recipe = prepared.recipe
    trained = recipe.steps * recipe.prompts_per_step * recipe.group_size
    beside = f" beside {trained:,} that are trained on" if recipe.algorithm.source == "rollout" else ""
    return f"{sets}{answers:,} answers at each of {counted(count, 'evaluation')}: {answers * count:,}{beside}"


def _of_set(prepared: Prepared, name: str, rows: int) -> str:
    asked, samples = len(prepared.asked.get(name, ())), prepared.recipe.evaluate.samples
    if not asked:
        return f"{counted(min(rows, prepared.recipe.evaluate.prompts), 'row')} of {rows:,}"
    part = f"{asked:,} of {counted(rows, 'prompt')}" if asked < rows else counted(rows, "prompt")
    low, high = wilson(asked / 2, asked)
    known = f"an accuracy of 0.5 will be known to {(high - low) / 2:.2g} either way"
    return f"{part} x (1 greedy + {samples} sampled); {known}"


def _thin(prepared: Prepared, section: Section) -> None:
    """What such figures cannot show."""
    recipe, trains = prepared.recipe, prepared.recipe.algorithm.source == "rollout"
    for name, prompts in prepared.asked.items():
        if len(prompts) < FEW:
            section.note("thin-evidence", f"{name}: {counted(len(prompts), 'prompt')} show leaps, and no small change")
    if trains and prepared.asked and not prepared.metrics.members:
        section.note(
            "no-metric",
            "held-out answers are scored by the reward alone, which is what is trained: one that is gamed is gamed "
            "there, too",
            "Give a second opinion: evaluate.metrics",
        )
    if recipe.evaluate.every == 0 or recipe.evaluate.every >= recipe.steps:
        section.note("note", f"only before and after (evaluate.every={recipe.evaluate.every})")


async def look_at_metrics(prepared: Prepared, sampled: Sampled | None, section: Section) -> None:
    """Each metric on a few sampled answers: what it says, and whether it says the same as the reward. Judges are not
    asked for this; nor what needs a column that only the held-out rows have."""
    if sampled is None:
        return
    groups = _few(sampled.groups)
    columns = {name for group in groups for name in group.prompt.columns}
    rewards = [c.reward for group in groups for c in group.completions]
    for member in prepared.metrics.members:
        alone = Rewards([member], prepared.metrics.ends, prepared.metrics.prefixes)
        label = member.spec.label
        if isinstance(member.function, JudgedReward) or alone.missing_columns(columns):
            continue
        try:
            scores, _ = await measured(alone, groups)
        except RewardError as error:
            section.broken(error.code, str(error))
            continue
        pairs = [(r, v) for r, v in zip(rewards, scores[label], strict=True) if r is not None and v is not None]
        section.table.append((label, _said([v for v in scores[label] if v is not None], len(rewards), pairs)))


def _few(groups: list[Group]) -> list[Group]:
    chosen: list[Group] = []
    for group in groups:
        if chosen and sum(len(one.completions) for one in chosen) + len(group.completions) > MOST:
            break
        chosen.append(group)
    return chosen


def _said(values: list[float], count: int, pairs: list[tuple[float, float]]) -> str:
    if not values:
        return f"no score for any of {counted(count, 'answer')}"
    rank = spearman([r for r, _ in pairs], [v for _, v in pairs]) if pairs else None
    agrees = "" if rank is None else f"; rank correlation with the reward {rank:.2f}"
    return f"{mean(values):.3g} on {len(values)} of {counted(count, 'sampled answer')}{agrees}"
