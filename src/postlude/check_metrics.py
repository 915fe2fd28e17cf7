"""The metrics of a run, checked: part of `check`."""

from __future__ import annotations

from postlude.errors import ConfigError, Problem
from postlude.prepared import Prepared
from postlude.recipe import Recipe
from postlude.recipe.schema import times
from postlude.rewards.functions import JudgedReward
from postlude.rewards.rewards import Rewards


def metrics_of(recipe: Recipe) -> Rewards:
    """The metrics of evaluations, resolved. Raises ConfigError: also for one whose number is of an answer among others,
    since its mean is the same however good all of them are."""
    try:
        metrics = Rewards.of(recipe.evaluate.metrics)
    except ConfigError as error:
        raise ConfigError([problem.within("evaluate.metrics: ") for problem in error.problems]) from error
    comparing = [m.spec.label for m in metrics.members if m.traits.compares]
    if comparing:
        raise ConfigError(
            [
                Problem(
                    "method-needs",
                    f"evaluate.metrics: {label} compares the answers to a prompt with each other, so its mean says "
                    "nothing of whether all of them get better. Take one that scores each by itself (a judge: mode: "
                    "score).",
                )
                for label in comparing
            ]
        )
    return metrics


def plan_metrics(prepared: Prepared) -> None:
    """Say what judges among the metrics may be asked, and which metric is no second opinion."""
    recipe = prepared.recipe
    count = times(recipe.evaluate.every, recipe.steps)
    asked = sum(map(len, prepared.asked.values()))
    for member in prepared.metrics.members:
        if isinstance(member.function, JudgedReward):
            each = 1 + recipe.evaluate.samples
            member.function.plan(count, asked, each, recipe.sampling.max_tokens, "evaluation")
    prepared.notes += no_second_opinion(recipe)


def no_second_opinion(recipe: Recipe) -> list[str]:
    """A line for each metric that is trained on, too."""
    if recipe.algorithm.source != "rollout":
        return []
    trained = [one for one in recipe.reward if one.weight or one.gate is not None]
    return [
        f"evaluate.metrics: {metric.label} is trained on, too (reward {one.label}): it says how the policy does on "
        "held-out prompts, and is no second opinion on the reward"
        for metric in recipe.evaluate.metrics
        for one in trained
        if (one.use, dict(one.args)) == (metric.use, dict(metric.args))
    ]
