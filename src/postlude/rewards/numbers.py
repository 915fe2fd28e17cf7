"""From the numbers that functions and models gave to those that are weighed.

How the outputs of reward models become one score (ensembles, pair models, steps); then clip, shift and scale, squash,
normalise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import islice
from statistics import fmean, stdev
from typing import Literal

from postlude.rewards.spec import RewardSpec


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def ensemble_score(
    scores: Sequence[float], how: Literal["mean", "worst", "uncertainty"] = "mean", lam: float = 0.5
) -> float:
    """One score from the members' (on one scale): mean, minimum, or mean - lam variance (2310.02743).

    The variance is the population's.
    """
    mean = sum(scores) / len(scores)
    if how == "mean":
        return mean
    if how == "worst":
        return min(scores)
    return mean - lam * sum((s - mean) ** 2 for s in scores) / len(scores)


def pair_preference(logit_ab: float, logit_ba: float) -> float:
    """P(a preferred) of a model that reads both answers, averaged over both orders."""
    return 0.5 * (sigmoid(logit_ab) + 1 - sigmoid(logit_ba))


def solution_score(step_logits: Sequence[float], how: Literal["product", "min", "last"] = "product") -> float:
    """A solution's score from its step logits: product (2305.20050), minimum (2312.08935) or last probability."""
    if how == "last":
        return sigmoid(step_logits[-1])
    if how == "min":
        return min(map(sigmoid, step_logits))
    return math.exp(sum(-math.log1p(math.exp(-z)) if z > -30 else z for z in step_logits))


def logit(p: float) -> float:
    """The inverse of `sigmoid`, for probabilities away from 0 and 1."""
    p = min(max(p, 1e-12), 1 - 1e-12)
    return math.log(p / (1 - p))


def whole_of(steps: Sequence[float], how: Literal["mean", "sum", "last", "min", "product"]) -> float:
    """One number from the rewards of the steps of an answer, of which there is at least one."""
    if how == "mean":
        return sum(steps) / len(steps)
    if how == "last":
        return steps[-1]
    return {"sum": sum, "min": min, "product": math.prod}[how](steps)


SQUASH: dict[str, Callable[[float], float]] = {"sigmoid": sigmoid, "tanh": math.tanh}


def shaped(spec: RewardSpec, value: float) -> float:
    """One number, clipped, moved, scaled and squashed, in this order."""
    if spec.clip is not None:
        value = min(max(value, spec.clip[0]), spec.clip[1])
    value = (value - spec.shift) * spec.scale
    return SQUASH[spec.squash](value) if spec.squash else value


def used(
    spec: RewardSpec, raw: Sequence[float | None], stopped: Sequence[bool], sizes: Sequence[int], measuring: bool
) -> list[float | None]:
    """The numbers to be weighed, one per completion of groups of these sizes.

    A completion that a gate stopped counts 0 from before `normalise` on, so that it stands below those that passed and
    did well. `measuring` leaves `normalise` out: a mean over answers to held-out prompts would always be 0.
    """
    values = [0.0 if s else None if x is None else shaped(spec, x) for x, s in zip(raw, stopped, strict=True)]
    if spec.normalise is None or measuring:
        return values
    if spec.normalise == "batch":
        return standardised(values)
    result: list[float | None] = []
    for size in sizes:
        result += standardised(values[len(result) : len(result) + size])
    return result


def used_steps(
    spec: RewardSpec,
    raw: Sequence[Sequence[float]],
    stopped: Sequence[bool],
    sizes: Sequence[int],
    measuring: bool,
) -> list[list[float]]:
    """As `used`, for the steps of each completion: `normalise` pools all steps of a prompt's answers, or of the draw.

    A completion that a gate stopped then counts as one step of 0.
    """
    rows = [[shaped(spec, x) for x in row] for row in raw]
    if spec.normalise is None or measuring:
        return rows
    rows = [[0.0] if s else row for s, row in zip(stopped, rows, strict=True)]
    result: list[list[float]] = []
    for size in [len(rows)] if spec.normalise == "batch" else sizes:
        part = rows[len(result) : len(result) + size]
        pooled = iter(standardised([x for row in part for x in row]))
        result += [[x for x in islice(pooled, len(row)) if x is not None] for row in part]
    return result


def standardised(values: Sequence[float | None]) -> list[float | None]:
    """(x - mean) / standard deviation (divisor n - 1) over those that are there; 0 where all are equal or one is."""
    known = [x for x in values if x is not None]
    if len(known) < 2 or min(known) == max(known):  # by comparison: rounding can give equal numbers a deviation
        return [None if x is None else 0.0 for x in values]
    mean, deviation = fmean(known), stdev(known)
    return [None if x is None else (x - mean) / deviation for x in values]
