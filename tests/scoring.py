"""Groups and rewards for tests of scoring, made without a model."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from postlude.data import Completion, Group, Prompt
from postlude.rewards.combine import Scored
from postlude.rewards.member import Reward
from postlude.rewards.rewards import Rewards
from postlude.rewards.spec import RewardSpec
from tests.underway import OwnClock


def group(texts: Sequence[str], prompt: Any = "q", name: str = "p", **columns: Any) -> Group:
    """Completion i has i + 1 tokens."""
    completions = tuple(Completion(tuple(range(i + 1)), text=t) for i, t in enumerate(texts))
    return Group(Prompt(name, prompt, columns=columns), completions)


def reward(
    fn: Callable[..., Any], name: str = "fn", weight: float = 1.0, outcome: bool = False, **settings: Any
) -> Reward:
    return Reward(RewardSpec(f"my.py:{name}", weight, **settings), fn, outcome)


def score(groups: Sequence[Group], *members: Reward, step: int = 0, steps: int = 0) -> Scored:
    return asyncio.run(Rewards([*members]).score(groups, step, steps))


def by_own_clock(groups: Sequence[Group], *members: Reward) -> Scored:
    """`score` of asynchronous rewards, whose waits and limits take no time and do not depend on the machine."""
    with asyncio.Runner(loop_factory=OwnClock) as runner:
        return runner.run(Rewards([*members]).score(groups))


def given(*values: Any) -> Callable[..., Any]:
    """A reward that gives these values."""
    return lambda completions: list(values)


def rewards_of(scored: Scored) -> list[float | None]:
    return [c.reward for g in scored.groups for c in g.completions]


def correct_of(scored: Scored) -> list[bool | None]:
    return [c.correct for g in scored.groups for c in g.completions]
