"""Rewards that depend on length: functions of numbers, and the shaping factors (Group -> Group) built on them.

Lengths are sampled tokens. A completion without a reward keeps none.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from postlude.bounds import Count, CountOrZero, NotNegative, Positive, hold
from postlude.data import Completion, Group

State = Mapping[str, Any]
"""JSON state of a shaping factor, kept by its stream and saved with the run."""


def overlong_penalty(length: int, limit: int, cache: int) -> float:
    """DAPO's soft punishment (2503.14476 eq. 13): 0 up to limit - cache, falling to -1 at limit, -1 beyond."""
    if length <= limit - cache:
        return 0.0
    return -1.0 if length > limit or cache == 0 else (limit - cache - length) / cache


def rloo_length_rewards(correct: Sequence[bool], lengths: Sequence[int], alpha: float) -> list[float]:
    """1[correct] (1 - alpha sigmoid((length - mean)/std)) over the correct of a prompt (2502.04463).

    Population standard deviation; equal lengths or a single correct completion give sigmoid(0).
    """
    right = [n for c, n in zip(correct, lengths, strict=True) if c]
    mean = sum(right) / len(right) if right else 0.0
    std = math.sqrt(sum((n - mean) ** 2 for n in right) / len(right)) if right else 0.0
    z = [(n - mean) / std if std > 0 else 0.0 for n in lengths]
    return [1 - alpha / (1 + math.exp(-x)) if c else 0.0 for c, x in zip(correct, z, strict=True)]


def alp_rewards(correct: Sequence[bool], lengths: Sequence[int], beta: float, unit: float = 1.0) -> list[float]:
    """1[correct] - beta length/unit max(solve rate, 1/K): easy prompts pay more for length (2506.05256)."""
    k = max(len(correct), 1)
    price = beta * max(sum(correct) / k, 1 / k) / unit
    return [float(c) - price * n for c, n in zip(correct, lengths, strict=True)]


def hapo_reward(correct: bool, length: int, shortest: int | None, weight: float) -> float:
    """1[correct] + weight f against the shortest correct answer so far (2505.11225).

    f = cos(pi/2 min(length/shortest, 2)), at least -0.7 for a correct and at most 0 for a wrong answer;
    0 without history.
    """
    if shortest is None:
        return float(correct)
    f = math.cos(math.pi / 2 * min(length / shortest, 2.0))
    return float(correct) + weight * (max(f, -0.7) if correct else min(f, 0.0))


def _with_rewards(group: Group, rewards: Sequence[float]) -> Group:
    """The group with new rewards where there was one; what changed belongs to the answer as a whole."""

    def changed(completion: Completion, reward: float) -> Completion:
        if completion.reward is None:
            return completion
        whole = None if completion.whole is None else completion.whole + (reward - completion.reward)
        return replace(completion, reward=reward, whole=whole)

    return replace(group, completions=tuple(map(changed, group.completions, rewards)))


def _judged(group: Group) -> tuple[list[bool], list[int]]:
    return [c.correct is True for c in group.completions], [c.length for c in group.completions]


@dataclass(frozen=True)
class PlusMinusOne:
    """A reward of 1 for right and 0 for wrong becomes +1 and -1: 2 R - 1."""

    kind: Literal["plus_minus_one"] = "plus_minus_one"

    def __call__(self, group: Group, state: State) -> Group:
        return _with_rewards(group, [2 * (c.reward or 0.0) - 1 for c in group.completions])


@dataclass(frozen=True)
class Overlong:
    """Adds `factor` times the soft overlong punishment. `cache` is the length of the ramp before the limit.

    None: limit = the generation limit, cache = a fifth of it (the paper's 4096 of 20480).
    """

    limit: Count | None = None
    cache: CountOrZero | None = None
    factor: NotNegative = 1.0
    kind: Literal["overlong"] = "overlong"

    def __post_init__(self) -> None:
        hold(self)

    def __call__(self, group: Group, state: State) -> Group:
        if self.limit is None:
            raise ValueError("overlong needs `limit`, the generation limit in tokens")
        cache = self.limit // 5 if self.cache is None else self.cache
        penalty = [self.factor * overlong_penalty(c.length, self.limit, cache) for c in group.completions]
        return _with_rewards(group, [(c.reward or 0.0) + p for c, p in zip(group.completions, penalty, strict=True)])


@dataclass(frozen=True)
class RlooLength:
    """RLOO-LP's reward, `rloo_length_rewards`."""

    alpha: NotNegative = 0.1
    kind: Literal["rloo_length"] = "rloo_length"

    def __call__(self, group: Group, state: State) -> Group:
        return _with_rewards(group, rloo_length_rewards(*_judged(group), self.alpha))


@dataclass(frozen=True)
class AdaptiveLength:
    """ALP's reward, `alp_rewards`; `unit` tokens count as one."""

    beta: NotNegative = 1e-3
    unit: Positive = 1.0
    kind: Literal["adaptive_length"] = "adaptive_length"

    def __call__(self, group: Group, state: State) -> Group:
        return _with_rewards(group, alp_rewards(*_judged(group), self.beta, self.unit))


@dataclass(frozen=True)
class HistoryLength:
    """HAPO's reward, `hapo_reward`. State: prompt id -> shortest correct length, updated after the step."""

    weight: NotNegative = 0.1
    kind: Literal["history_length"] = "history_length"

    def __call__(self, group: Group, state: State) -> Group:
        shortest = state.get(group.prompt.id)
        pairs = zip(*_judged(group), strict=True)
        return _with_rewards(group, [hapo_reward(c, n, shortest, self.weight) for c, n in pairs])

    def remember(self, group: Group, state: State) -> dict[str, Any]:
        """The state after these completions were trained on."""
        right = [c.length for c in group.completions if c.correct]
        if not right:
            return dict(state)
        best = min([*right, state.get(group.prompt.id, right[0])])
        return {**state, group.prompt.id: best}


Shaping = PlusMinusOne | Overlong | RlooLength | AdaptiveLength | HistoryLength
