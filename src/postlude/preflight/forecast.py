"""How many groups of a run will have something to compare: a forecast from a few answers to each of some prompts.

A group of G answers, each right with chance p, teaches nothing where all are right or all wrong: p^G + (1-p)^G. The
chance differs from prompt to prompt, and n answers do not tell it: each prompt's p has a Beta posterior around the mean
of all, whose strength is the most likely one (beta-binomial). Plain Python, no torch.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

STRENGTHS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 64.0)
"""How many answers the mean of all prompts counts as; small where prompts differ much."""
DRAWS = 400
"""Of the interval."""
SIZES = (2, 4, 8, 16, 32, 64)
"""Group sizes that are looked at."""


@dataclass(frozen=True)
class Share:
    """Of groups with a signal: the expected one, and a 95 % interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.0%} ({self.low:.0%} to {self.high:.0%})"


@dataclass(frozen=True)
class Tried:
    """Answers to one prompt: how many, and how many of them right."""

    answers: int
    right: int


def no_signal(alpha: float, beta: float, size: int) -> float:
    """E[p^G + (1-p)^G] for p ~ Beta(alpha, beta)."""
    right = math.prod((alpha + i) / (alpha + beta + i) for i in range(size))
    wrong = math.prod((beta + i) / (alpha + beta + i) for i in range(size))
    return right + wrong


def share_with_signal(tried: Sequence[Tried], size: int, seed: int = 0) -> Share:
    """Of groups of `size` answers; the interval is over prompts drawn anew and chances from their posteriors."""
    if not tried or size < 2:
        return Share(0.0, 0.0, 0.0)
    mean = (sum(t.right for t in tried) + 0.5) / (sum(t.answers for t in tried) + 1)
    strength = _strength(tried, mean)
    a, b = strength * mean, strength * (1 - mean)
    expected = [1 - no_signal(a + t.right, b + t.answers - t.right, size) for t in tried]
    generator, drawn = random.Random(seed), list[float]()
    for _ in range(DRAWS):
        again = [generator.choice(tried) for _ in tried]
        chances = [generator.betavariate(a + t.right, b + t.answers - t.right) for t in again]
        drawn.append(sum(1 - p**size - (1 - p) ** size for p in chances) / len(chances))
    drawn.sort()
    return Share(sum(expected) / len(expected), drawn[int(0.025 * DRAWS)], drawn[int(0.975 * DRAWS)])


def _strength(tried: Sequence[Tried], mean: float) -> float:
    """The most likely strength of the prior, given how the prompts differ."""
    return max(STRENGTHS, key=lambda s: sum(_log_chance(t, s * mean, s * (1 - mean)) for t in tried))


def _log_chance(tried: Tried, alpha: float, beta: float) -> float:
    """Of so many right answers under a beta-binomial, without the binomial coefficient."""
    return _log_beta(alpha + tried.right, beta + tried.answers - tried.right) - _log_beta(alpha, beta)


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def share_that_differs(values: Sequence[Sequence[float]], size: int, seed: int = 0) -> Share:
    """Of groups of `size` rewards that are not all equal, where rewards are no verdicts: as often as seen."""
    if not values or size < 2:
        return Share(0.0, 0.0, 0.0)
    each = [1 - sum((one.count(v) / len(one)) ** size for v in {*one}) for one in values]
    generator = random.Random(seed)
    drawn = sorted(sum(generator.choice(each) for _ in each) / len(each) for _ in range(DRAWS))
    return Share(sum(each) / len(each), drawn[int(0.025 * DRAWS)], drawn[int(0.975 * DRAWS)])
