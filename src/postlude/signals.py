"""What a method asks of its rewards, and whether they give it: right or wrong, and rewards of steps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from postlude.algorithms import ALGORITHMS
from postlude.errors import Problem
from postlude.objectives import TokenObjective
from postlude.objectives.advantages import GAE, Constant, ProcessSteps, RewardToGo
from postlude.rewards.rewards import Rewards
from postlude.rollouts.shaping import AdaptiveLength, HistoryLength, LinearLength, Overlong, RlooLength

if TYPE_CHECKING:
    from postlude.recipe import Recipe

JUDGED_SHAPING = (LinearLength, RlooLength, AdaptiveLength, HistoryLength)
"""Shaping that reads whether an answer is correct."""


def unmet(recipe: Recipe, rewards: Rewards) -> list[Problem]:
    """A sentence for everything that the method reads and no reward gives, or that one gives and it cannot read."""
    return [*_correctness(recipe, rewards), *(_steps(recipe, rewards) if recipe.algorithm.source == "rollout" else ())]


def trains_on_correct(recipe: Recipe) -> list[str]:
    """What needs to know whether an answer is correct in order to learn from it, and has nothing else to go by."""
    method = [f"method {recipe.method}"] if "correct" in recipe.objective.needs else []
    return [*method, *(f"shaping {s.kind}" for s in recipe.shaping if isinstance(s, JUDGED_SHAPING))]


def uncorrected(recipe: Recipe) -> list[str]:
    """What nothing corrects for, and a user has to know: answers from a part of the policy's distribution."""
    if recipe.algorithm.source != "rollout" or not recipe.sampling.truncates:
        return []
    objective = recipe.objective
    if not isinstance(objective, TokenObjective) or isinstance(objective.advantage, Constant):
        return []  # they imitate answers, wherever these are from
    return [
        "sampling: top_p or top_k leave tokens out, and the trained policy has all of them: answers are not quite its "
        "own, nothing corrects for that, and figures that compare with the sampler (mismatch/...) are left out"
    ]


def _correctness(recipe: Recipe, rewards: Rewards) -> Iterator[Problem]:
    members = rewards.members
    readers = trains_on_correct(recipe) + ["evaluate.stop_at"] * (recipe.evaluate.stop_at is not None)
    if recipe.correct_above is not None:
        moving = [m.spec.label for m in members if m.spec.normalise and m.spec.weight]
        if moving:
            yield (
                Problem(
                    "contradiction",
                    f"correct_above is {recipe.correct_above:g}, but reward {moving[0]} is normalised: its numbers are "
                    "relative to the other answers, so that no fixed one tells right from wrong. Remove one of the "
                    "two, or mark a reward `outcome: true`.",
                )
            )
    elif readers and members and not any(m.outcome for m in members):
        names = " and ".join(m.spec.label for m in members if not m.is_gate) or "the gates"
        yield (
            Problem(
                "correctness-unknown",
                f"{' and '.join(readers)} must know which answers are correct, and a score of {names} says neither "
                "right nor wrong. Set correct_above (an answer is correct if its reward lies above it), or add a "
                "reward that says it, such as {use: exact, weight: 0, outcome: true}.",
            )
        )


def _steps(recipe: Recipe, rewards: Rewards) -> Iterator[Problem]:
    objective = recipe.objective
    if recipe.method not in ALGORITHMS:  # nobody knows what a method of the user's own reads
        return
    advantage = objective.advantage if isinstance(objective, TokenObjective) else None
    weighed = [m for m in rewards.members if m.spec.weight]
    stepwise = [m for m in weighed if m.stepwise]
    if isinstance(advantage, ProcessSteps):
        yield from _only_steps(recipe, rewards)
    elif isinstance(advantage, GAE | RewardToGo):
        other = [s.kind for s in recipe.shaping if not isinstance(s, Overlong)]
        if stepwise and other:
            yield (
                Problem(
                    "reward-kind",
                    f"shaping {other[0]} makes a new reward of a whole answer, and reward {stepwise[0].spec.label} "
                    "stands at its steps, which it would not reach. Remove the shaping (overlong can stay: it adds to "
                    "the last token).",
                )
            )
    else:
        for member in stepwise:
            if not member.says_whole:
                yield (
                    Problem(
                        "reward-kind",
                        f"reward {member.spec.label} gives a number for each step or token, and {recipe.method} trains "
                        "on one number for an answer: the steps would be lost. Say what stands for the whole (`whole: "
                        "mean`, sum, last, min or product), or take a method that rewards steps where they end: ppo, "
                        "reinforce_pp, grpo_process.",
                    )
                )


def _only_steps(recipe: Recipe, rewards: Rewards) -> Iterator[Problem]:
    """Pooled step rewards are all that such a method reads."""
    weighed = [m for m in rewards.members if m.spec.weight]
    if rewards.members and not any(m.stepwise for m in weighed):
        yield (
            Problem(
                "reward-kind",
                f"{recipe.method} needs rewards of steps: take the built-in process_model, or set `steps` (what stands "
                'between steps, such as "\\n") for a function of yours that gives a list of numbers for each answer.',
            )
        )
        return
    unseen = [m.spec.label for m in weighed if not m.stepwise and not m.is_gate]
    if unseen:
        yield (
            Problem(
                "reward-kind",
                f"reward {unseen[0]} is of whole answers, and {recipe.method} reads rewards of steps only: it would "
                "change nothing. Set its weight to 0 (it then only measures), or take ppo or reinforce_pp, which add "
                "both up.",
            )
        )
    if recipe.shaping:
        yield (
            Problem(
                "reward-kind",
                f"shaping {recipe.shaping[0].kind} changes rewards of whole answers, and {recipe.method} reads rewards "
                "of steps only: it would change nothing. Remove it.",
            )
        )
