"""How the outputs of reward models become one score: ensembles, pair models, step scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal


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
