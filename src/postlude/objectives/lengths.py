"""Rewards that depend on length: functions of numbers. Lengths are sampled tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence


def overlong_penalty(length: int, limit: int, cache: int) -> float:
    """DAPO's soft punishment (2503.14476 eq. 13): 0 up to limit - cache, falling to -1 at limit, -1 beyond."""
    if length <= limit - cache:
        return 0.0
    return -1.0 if length > limit or cache == 0 else (limit - cache - length) / cache


def linear_length_rewards(correct: Sequence[bool], lengths: Sequence[int], alpha: float, limit: int) -> list[float]:
    """1[correct] (1 - alpha min(length/limit, 1)): a right answer is worth less the longer it is, a wrong one nothing.

    With alpha 1 it is the reward of DRPO's motivation (2510.04474): right answers of 0.27, 0.4 and 0.8 of the limit get
    0.73, 0.6 and 0.2, and beside three wrong ones the third has a negative advantage in GRPO.
    """
    return [1 - alpha * min(n / limit, 1.0) if c else 0.0 for c, n in zip(correct, lengths, strict=True)]


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
