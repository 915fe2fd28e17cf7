"""Gold reward against KL: best-of-n and RL (Gao, Schulman, Hilton, 2210.10760). d = sqrt(KL) in nats^1/2."""

from __future__ import annotations

import math
from collections.abc import Sequence
from math import comb


def kl_best_of_n(n: int) -> float:
    """KL of best-of-n to its base in nats: log n - (n-1)/n; an upper bound where scores tie."""
    return math.log(n) - (n - 1) / n


def best_of_n_gold(proxy: Sequence[float], gold: Sequence[float], n: int) -> float:
    """Unbiased mean gold score of best-of-n by proxy, from N >= n scored samples."""
    total = len(proxy)
    order = sorted(range(total), key=lambda i: proxy[i])
    return sum(comb(k - 1, n - 1) * gold[order[k - 1]] for k in range(n, total + 1)) / comb(total, n)


def reward_best_of_n(d: float, alpha: float, beta: float) -> float:
    """R(d) = d (alpha - beta d)."""
    return d * (alpha - beta * d)


def reward_rl(d: float, alpha: float, beta: float) -> float:
    """R(d) = d (alpha - beta log d); 0 at d = 0."""
    return d * (alpha - beta * math.log(d)) if d > 0 else 0.0


def peak_best_of_n(alpha: float, beta: float) -> float:
    """The d where R of best-of-n is largest."""
    return alpha / (2 * beta)


def peak_rl(alpha: float, beta: float) -> float:
    """The d where R of RL is largest."""
    return math.exp(alpha / beta - 1)


def accuracy_efficiency(
    accuracy: float,
    tokens: float,
    base_accuracy: float,
    base_tokens: float,
    alpha: float = 1.0,
    beta_up: float = 3.0,
    gamma_down: float = 10.0,
) -> float:
    """AES: saved share of tokens, plus beta_up or minus gamma_down times the relative change of accuracy (2501.12570).

    The base is the same method without length penalty.
    """
    change = (accuracy - base_accuracy) / base_accuracy
    return alpha * (base_tokens - tokens) / base_tokens + (beta_up if change >= 0 else gamma_down) * change
