"""Shaping factors (Group -> Group): what the length of answers, or their correctness, makes of their rewards.

Lengths are sampled tokens. A completion without a reward keeps none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from postlude.bounds import Count, CountOrZero, NotNegative, Positive, Share, hold
from postlude.data import Completion, Group
from postlude.objectives.lengths import (
    alp_rewards,
    hapo_reward,
    linear_length_rewards,
    overlong_penalty,
    rloo_length_rewards,
)

State = Mapping[str, Any]
"""JSON state of a shaping factor, kept by its stream and saved with the run."""


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


@dataclass(frozen=True)
class LinearLength:
    """A plain price on the length of right answers, `linear_length_rewards`: what DRPO's motivation gives GRPO.

    None: limit = the generation limit.
    """

    alpha: Share = 0.5
    limit: Count | None = None
    kind: Literal["linear_length"] = "linear_length"

    def __post_init__(self) -> None:
        hold(self)

    def __call__(self, group: Group, state: State) -> Group:
        if self.limit is None:
            raise ValueError("linear_length needs `limit`, the generation limit in tokens")
        return _with_rewards(group, linear_length_rewards(*_judged(group), self.alpha, self.limit))


Shaping = PlusMinusOne | Overlong | LinearLength | RlooLength | AdaptiveLength | HistoryLength
