"""How many groups of a run will have something to compare: a forecast from a few answers to each of some prompts.

A group of G answers, each right with chance p, teaches nothing where all are right or all wrong: p^G + (1-p)^G. The
chance differs from prompt to prompt and a few answers do not tell it, so that prompts have p ~ Beta(s m, s (1-m)). Mean
m and strength s are not known either: every pair of a grid counts by how likely it makes the answers (beta-binomial,
Jeffreys' prior on m). Plain Python, no torch.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

STRENGTHS = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 64.0)
"""How many answers the mean of all prompts counts as; small where prompts differ much."""
MEANS = tuple(1 / (1 + math.exp(-x / 4)) for x in range(-28, 29))
"""From 0.001 to 0.999, evenly in log odds."""
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
    right = wrong = 1.0
    for i in range(size):
        right *= (alpha + i) / (alpha + beta + i)
        wrong *= (beta + i) / (alpha + beta + i)
    return right + wrong


def share_with_signal(tried: Sequence[Tried], size: int, seed: int = 0) -> Share:
    """Of groups of `size` answers to prompts like these; the interval is over what the mean, the strength and the
    chances of the prompts may be, and over prompts drawn anew."""
    if not tried or size < 2:
        return Share(0.0, 0.0, 0.0)
    kinds = Counter(tried)
    expected = sum(weight * _expected(kinds, a, b, size) for (a, b), weight in _priors((*tried,)).items()) / len(tried)
    return Share(expected, *_interval((*tried,), seed, lambda p: 1 - p**size - (1 - p) ** size))


def pass_rate(tried: Sequence[Tried], seed: int = 0) -> Share:
    """Of answers to prompts like these that are right, with what is possible by the same reckoning."""
    priors = _priors((*tried,))
    rates = ((weight, (a + t.right) / (a + b + t.answers)) for (a, b), weight in priors.items() for t in tried)
    expected = sum(weight * rate for weight, rate in rates) / len(tried)
    return Share(expected, *_interval((*tried,), seed, lambda p: p))


def _interval(tried: tuple[Tried, ...], seed: int, figure: Callable[[float], float]) -> tuple[float, float]:
    """95 % of the means of a figure of the prompts' chances, over priors, prompts and chances drawn anew."""
    drawn = sorted(sum(map(figure, chances)) / len(chances) for chances in _chances(tried, seed))
    return drawn[int(0.025 * DRAWS)], drawn[int(0.975 * DRAWS)]


@lru_cache(4)
def _chances(tried: tuple[Tried, ...], seed: int) -> list[list[float]]:
    """Of prompts drawn anew, DRAWS times: the same for every figure and size of group that is asked about."""
    generator, priors = random.Random(seed), _priors(tried)
    drawn: list[list[float]] = []
    for a, b in generator.choices([*priors], [*priors.values()], k=DRAWS):
        again = [generator.choice(tried) for _ in tried]
        drawn.append([generator.betavariate(a + t.right, b + t.answers - t.right) for t in again])
    return drawn


def _expected(kinds: Counter[Tried], a: float, b: float, size: int) -> float:
    """Groups with a signal, one for each prompt, under a prior."""
    return sum(n * (1 - no_signal(a + t.right, b + t.answers - t.right, size)) for t, n in kinds.items())


@lru_cache(4)
def _priors(tried: tuple[Tried, ...]) -> dict[tuple[float, float], float]:
    """(alpha, beta) -> how likely they are, given how often the prompts were answered right."""
    kinds, logs = Counter(tried), dict[tuple[float, float], float]()
    for m in MEANS:
        for s in STRENGTHS:
            a, b = s * m, s * (1 - m)
            chance = sum(n * _log_chance(t, a, b) for t, n in kinds.items())
            logs[a, b] = chance + 0.5 * math.log(m * (1 - m))  # Jeffreys' density, on a grid even in log odds
    most = max(logs.values())
    weights = {prior: math.exp(x - most) for prior, x in logs.items() if x > most - 20}
    total = sum(weights.values())
    return {prior: weight / total for prior, weight in weights.items()}


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
