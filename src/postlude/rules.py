"""The rules of a recipe that look across its fields. Each gives sentences that say where, what and what to do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from postlude.algorithms import Algorithm
from postlude.config import Document
from postlude.objectives import TokenObjective
from postlude.objectives.advantages import Constant
from postlude.sources.filters import Mixed

if TYPE_CHECKING:
    from postlude.recipe import Recipe

Where = Callable[[str], str]
"""Dotted path -> `recipe.yaml line 3: `, or nothing."""


def broken(recipe: Recipe, entry: Algorithm, document: Document) -> list[str]:
    """A sentence for every rule that the recipe breaks."""

    def at(path: str) -> str:
        where = document.where(path)
        return f"{where}: " if where and not where.startswith("method") else ""

    problems = recipe.data.problems(at)
    if _names_no_data(document.values):
        problems.append(f"{at('data')}data names no file: give data.path, or several sets as data.mix.")
    problems += _trains(recipe, entry, at) + _compares(recipe, entry, at) + _measures(recipe, entry, at)
    return problems + _lag(recipe, at) + _rewards(recipe, at)


def _trains(recipe: Recipe, entry: Algorithm, at: Where) -> list[str]:
    """The method can be trained here, by this engine."""
    problems: list[str] = []
    needs = recipe.objective.needs
    missing = sorted(needs & {"values", "steps", "scores", "mismatched"}) if entry.trains else []
    if missing:
        problems.append(f"{at('objective')}the objective needs {', '.join(missing)}, which no run can give it yet.")
    if not entry.trains:
        why = {
            "preference": "its data are compared answers, which this version cannot read yet",
            "file": "",
            "rollout": f"it needs {', '.join(sorted(needs & {'values', 'steps'})) or 'a second stream'}, not built yet",
        }[entry.source]
        problems.append(f"{at('method')}method {entry.name} cannot be trained in this version: {why}.")
    if recipe.sampler is not None:
        problems.append(
            f"{at('sampler')}sampler is a server, and {entry.name} trains: the weights served at {recipe.sampler.url} "
            "would not follow the trained ones, so its answers would be those of another policy. Remove it; a server "
            "is for policies that stay as they are (postlude sample, postlude eval)."
        )
    return problems


def _compares(recipe: Recipe, entry: Algorithm, at: Where) -> list[str]:
    """What the method compares with is there: other answers, the starting weights."""
    problems: list[str] = []
    needs = recipe.objective.needs
    if "group" in needs and recipe.group_size < 2:
        problems.append(
            f"{at('group_size')}group_size is {recipe.group_size}, but {entry.name} compares the answers of a group; "
            "use at least 2 (8 is usual), or a method without groups (reinforce, reinforce_pp)."
        )
    if "reference" in needs and recipe.model.reference == "none":
        problems.append(
            f"{at('model.reference')}model.reference is none, but {entry.name} compares with the starting weights; "
            "remove the line, or switch the comparison off (objective.kl=null, or kl_coef 0 in objective.advantage)."
        )
    if isinstance(recipe.keep, Mixed) and recipe.group_size < 2:
        problems.append(f"{at('group_size')}dynamic sampling needs groups of at least 2, got {recipe.group_size}.")
    if entry.source == "rollout" and recipe.sampling.temperature == 0:
        problems.append(
            f"{at('sampling.temperature')}sampling.temperature is 0: every answer of a group would be the same; use 1."
        )
    return problems


def _measures(recipe: Recipe, entry: Algorithm, at: Where) -> list[str]:
    """Reward and held-out prompts are given where they are used, and nowhere else."""
    problems: list[str] = []
    if entry.source == "rollout" and not recipe.reward:
        problems.append("'reward' is missing: give a built-in (exact, regex, ...) or my_rewards.py:fn.")
    if entry.source == "file" and recipe.reward and not recipe.data.eval:
        problems.append(
            f"{at('reward')}{entry.name} trains on written answers; a reward is only used on held-out prompts, and "
            "data.eval is not set."
        )
    if entry.source == "file" and recipe.data.eval and not recipe.reward:
        problems.append(
            f"{at('data.eval')}data.eval is not used by {entry.name} without a reward: held-out answers are sampled "
            "and scored. Give one, or leave data.eval out."
        )
    if recipe.evaluate.stop_at is not None and (not recipe.data.eval or not recipe.reward or not recipe.evaluate.every):
        problems.append(
            f"{at('evaluate.stop_at')}evaluate.stop_at needs held-out prompts (data.eval), a reward, and "
            "evaluate.every > 0."
        )
    return problems


def _rewards(recipe: Recipe, at: Where) -> list[str]:
    """At most one says what is correct; each has a name of its own."""
    problems: list[str] = []
    outcomes = sum(bool(r.outcome) for r in recipe.reward)
    if outcomes > 1:
        problems.append(f"{at('reward')}{outcomes} rewards are marked outcome; mark one.")
    names = [r.label for r in recipe.reward]
    for name in sorted({n for n in names if names.count(n) > 1}):
        problems.append(f"{at('reward')}two rewards are called {name!r}; give one of them a `name`.")
    return problems


def _lag(recipe: Recipe, at: Where) -> list[str]:
    """Answers of older weights need a correction, except where the method only imitates accepted ones."""
    if not recipe.max_lag:
        return []
    if recipe.algorithm.source != "rollout":
        return [f"{at('max_lag')}max_lag is 1, but {recipe.method} trains on written answers: nothing is sampled."]
    o = recipe.objective
    imitates = isinstance(o, TokenObjective) and isinstance(o.advantage, Constant)
    corrected = isinstance(o, TokenObjective) and (o.correction is not None or o.behaviour == "rollout")
    if imitates or corrected:
        return []
    return [
        f"{at('max_lag')}max_lag is 1, so answers come from older weights, and {recipe.method} does not correct for "
        "that. Set objective.correction (truncated importance sampling; several methods have it), or max_lag to 0."
    ]


def _names_no_data(values: Mapping[str, Any]) -> bool:
    data = values.get("data", True)  # where the key itself is missing, that was said
    return not (data.get("path") or data.get("mix")) if isinstance(data, dict) else not data
