"""A small sample of the model's own answers, scored: what the reward, the signal, step 0 and the time are judged by."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from postlude.data import Completion, Group, Prompt
from postlude.engines.protocol import Engine
from postlude.errors import RewardError
from postlude.preflight.probing import judges
from postlude.prepared import Prepared
from postlude.rollouts.rollout import answer

TAG = "preflight"
FIRST = 4
"""Prompts of the first round, whose time says how many more can be asked."""
SECONDS = 25.0
"""Of sampling, where nobody said how many prompts to ask."""
PROMPTS, SAMPLES = 16, 8
"""Asked, and answers to each; of methods that compare no answers to one prompt `FEW_SAMPLES`."""
FEW_SAMPLES = 4
QUESTIONS = 2
"""Prompts, and answers to each, where a judge has to be asked about them."""


@dataclass
class Sampled:
    """Answers of the model to some prompts."""

    groups: list[Group] = field(default_factory=list[Group])
    """Scored, unless `error` says why not."""
    sampling: float = 0.0
    """Seconds."""
    scoring: float = 0.0
    notes: list[str] = field(default_factory=list[str])
    """Of the rewards."""
    error: RewardError | None = None
    shortened: str = ""
    """Why fewer prompts were asked than usual."""

    @property
    def completions(self) -> list[Completion]:
        return [c for g in self.groups for c in g.completions]

    @property
    def tokens(self) -> int:
        return sum(c.length for c in self.completions)

    @property
    def rewards(self) -> list[float]:
        return [c.reward for c in self.completions if c.reward is not None]


def chosen(prompts: Sequence[Prompt], count: int, seed: int) -> list[Prompt]:
    """Some prompts, the same for a seed."""
    return random.Random(seed).sample([*prompts], min(count, len(prompts)))


async def sample(
    prepared: Prepared, engine: Engine, prompts: int | None, samples: int | None, seed: int, usual: int = SAMPLES
) -> Sampled:
    """Answers as the recipe has them sampled, and their rewards. None: as many as take little time.

    `usual`: answers to a prompt where nobody said how many.
    """
    rewards, result = prepared.rewards, Sampled()
    each = samples or usual
    most = prompts or PROMPTS
    if judges(rewards) and prompts is None:
        most, each = QUESTIONS, samples or QUESTIONS
        result.shortened = "a judge is asked only a few questions here"
    asked = chosen(prepared.prompts or prepared.held_out, most, seed)
    groups = list[Group]()
    while len(groups) < len(asked):
        batch = asked[len(groups) : len(groups) + (FIRST if not groups and prompts is None else len(asked))]
        began = time.monotonic()
        tag = f"{TAG}.{len(groups)}"
        groups += await answer(engine.sampler, batch, each, prepared.recipe.sampling, seed, tag)
        result.sampling += time.monotonic() - began
        left = int((SECONDS - result.sampling) / (result.sampling / len(groups)))
        if prompts is None and left < len(asked) - len(groups):
            asked = asked[: max(len(groups), len(groups) + left)]
            result.shortened = "answers take long to sample"
    result.groups = groups
    await _score(prepared, result)
    return result


async def _score(prepared: Prepared, result: Sampled) -> None:
    if not prepared.rewards.members:
        return
    began = time.monotonic()
    try:
        scored = await prepared.rewards.score(result.groups)
        result.groups, result.notes = scored.groups, list(scored.notes)
    except RewardError as error:
        result.error = error
    result.scoring = time.monotonic() - began
