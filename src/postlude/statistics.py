"""Statistics of judgements: intervals, correlations, the area under a curve, calibration; and of over-optimisation:
gold reward against KL, d = sqrt(KL) in nats^1/2 (Gao, Schulman, Hilton, 2210.10760). Plain Python, no torch."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache

BINS = 10
TAIL = 0.05
"""Chance that an interval misses."""
BEST_OF = (2, 4, 8, 16, 32, 64)
"""Numbers k of answers to a prompt of which pass@k and best of k are figures."""


def wilson(correct: float, n: float, z: float = 1.96) -> tuple[float, float]:
    """95 % interval of a share; a tie may count as half."""
    if n == 0:
        return 0.0, 1.0
    p = correct / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(0.0, centre - half), min(1.0, centre + half)


def clustered(values: Sequence[float], owners: Sequence[Hashable]) -> tuple[float, float]:
    """95 % interval of the share of `values` (0 to 1) when those of one owner, a prompt say, are no independent draws.

    The variance is that of the owners' sums around the share (cluster-robust errors, 2411.00640). Wilson's interval is
    taken at the number of independent values that has this variance: from the number of owners, where all values of
    each are alike (or there is one owner, of whose kind nothing is known), to the number of values. With one value
    each it is Wilson's own.
    """
    if not values:
        return wilson(0, 0)
    share, owned = mean(values), len({*owners})
    if owned == 1 or share in (0.0, 1.0):
        return wilson(share * owned, owned)
    gaps: dict[Hashable, float] = {}
    for value, owner in zip(values, owners, strict=True):
        gaps[owner] = gaps.get(owner, 0.0) + value - share
    variance = math.fsum(gap * gap for gap in gaps.values()) / len(values) ** 2 * owned / (owned - 1)
    return _of_variance(share, variance, owned, len(values))


def _of_variance(share: float, variance: float, least: int, most: int) -> tuple[float, float]:
    """Wilson's interval at the number of independent values, from `least` to `most`, whose share has this variance."""
    n = share * (1 - share) / variance if variance > 0 else most
    n = min(max(n, least), most)
    return wilson(share * n, n)


def mean(values: Sequence[float]) -> float:
    """Finite of finite numbers, even where their sum is not."""
    try:
        return math.fsum(values) / len(values)
    except OverflowError:
        return math.fsum(value / len(values) for value in values)


def scatter(values: Sequence[float]) -> float:
    """The sum of squared distances from the mean; the largest float where it is beyond all."""
    middle = mean(values)
    try:
        return math.fsum((value - middle) ** 2 for value in values)
    except OverflowError:
        return sys.float_info.max


def mean_of_known(values: Iterable[float | None]) -> float | None:
    """Of those that there are; None of none."""
    known = [value for value in values if value is not None]
    return mean(known) if known else None


def of_prompts(rows: Sequence[Sequence[float]]) -> tuple[float, float]:
    """95 % interval of the mean over prompts of the mean of each prompt's row: prompts count, not their answers.

    Where every value is 0 or 1 it is Wilson's, as in `clustered`; else Student's over the means of the rows, and
    (-inf, inf) of a single one, of whose like nothing is known.
    """
    means = [mean(row) for row in rows]
    if all(value in (0.0, 1.0) for row in rows for value in row):
        share, owned = mean(means), len(rows)
        if owned < 2 or share in (0.0, 1.0):
            return wilson(share * owned, owned)
        variance = scatter(means) / (owned - 1) / owned
        return _of_variance(share, variance, owned, sum(map(len, rows)))
    return of_mean(means)


def of_mean(values: Sequence[float]) -> tuple[float, float]:
    """95 % interval of the mean of independent values (Student's); (-inf, inf) of a single one."""
    n = len(values)
    if n < 2:
        return -math.inf, math.inf
    middle = mean(values)
    half = student(n - 1) * math.sqrt(scatter(values) / (n - 1) / n)
    return middle - half, middle + half


def two_sided(t: float, df: float) -> float:
    """Chance that |T| is at least |t|, for Student's T of `df` degrees of freedom (any positive number)."""
    return _beta(df / (df + t * t), df / 2, 0.5)


@cache
def student(df: float, tail: float = TAIL) -> float:
    """The t at which `two_sided` is `tail`."""
    low, high = 0.0, 1.0
    while two_sided(high, df) > tail:
        high *= 2
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if two_sided(middle, df) > tail else (low, middle)
    return high


def _beta(x: float, a: float, b: float) -> float:
    """Regularised incomplete beta function I_x(a, b)."""
    if x <= 0 or x >= 1:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):
        return 1 - _beta(1 - x, b, a)
    log = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    return math.exp(log) / a / _fraction(x, a, b)


def _fraction(x: float, a: float, b: float) -> float:
    """Its continued fraction 1 + d1/(1 + d2/(1 + ...)), by Lentz's method."""
    tiny = 1e-300
    value, c, d = 1.0, 1.0, 0.0
    for n in range(1, 1000):
        m = n // 2
        term = m * (b - m) * x if n % 2 == 0 else -(a + m) * (a + b + m) * x
        term /= (a + n - 1) * (a + n)
        d = 1 / ((1 + term * d) or tiny)
        c = (1 + term / c) or tiny
        value *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return value


def pearson(x: Sequence[float], y: Sequence[float]) -> float | None:
    """Linear correlation; None where one side does not vary."""
    if len(x) < 2:
        return None
    mx, my = mean(x), mean(y)
    dx, dy = [a - mx for a in x], [b - my for b in y]
    norm = math.sqrt(math.fsum(a * a for a in dx)) * math.sqrt(math.fsum(b * b for b in dy))
    return math.fsum(a * b for a, b in zip(dx, dy, strict=True)) / norm if norm > 0 else None


def ranks(values: Sequence[float]) -> list[float]:
    """1 for the smallest; equal values share the mean of their ranks."""
    order = sorted(range(len(values)), key=values.__getitem__)
    result = [0.0] * len(values)
    start = 0
    while start < len(order):
        end = start
        while end + 1 < len(order) and values[order[end + 1]] == values[order[start]]:
            end += 1
        for place in order[start : end + 1]:
            result[place] = (start + end) / 2 + 1
        start = end + 1
    return result


def spearman(x: Sequence[float], y: Sequence[float]) -> float | None:
    """Correlation of ranks; None where one side does not vary."""
    return pearson(ranks(x), ranks(y))


def auc(scores: Sequence[float], good: Sequence[bool]) -> float | None:
    """Chance that a good one scores above a bad one, ties half (Mann-Whitney); None without both kinds."""
    positive = sum(good)
    negative = len(good) - positive
    if not positive or not negative:
        return None
    of_good = math.fsum(rank for rank, is_good in zip(ranks(scores), good, strict=True) if is_good)
    return (of_good - positive * (positive + 1) / 2) / (positive * negative)


@dataclass(frozen=True)
class Bin:
    """Probabilities in [low, high) (the last one includes its end), and what turned out."""

    low: float
    high: float
    count: int
    said: float | None
    """Mean probability; None in an empty bin."""
    right: float | None
    """Share that turned out so."""


def reliability(said: Sequence[float], came: Sequence[float], low: float = 0.0, high: float = 1.0) -> list[Bin]:
    """`BINS` equal-width bins of probabilities in [low, high] with the outcomes (0 to 1) that belong to them."""
    width = (high - low) / BINS
    places = [min(BINS - 1, max(0, int((p - low) / width))) for p in said]
    result = []
    for b in range(BINS):
        inside = [i for i, place in enumerate(places) if place == b]
        s = mean([said[i] for i in inside]) if inside else None
        r = mean([came[i] for i in inside]) if inside else None
        result.append(Bin(low + b * width, low + (b + 1) * width, len(inside), s, r))
    return result


def calibration_error(bins: Sequence[Bin]) -> float | None:
    """ECE (1706.04599): mean gap between what was said and what came, weighted by the count of each bin."""
    n = sum(b.count for b in bins)
    gaps = (b.count * abs(b.said - b.right) for b in bins if b.said is not None and b.right is not None)
    return math.fsum(gaps) / n if n else None


def kl_best_of_n(n: int) -> float:
    """KL of best-of-n to its base in nats: log n - (n-1)/n; an upper bound where scores tie."""
    return math.log(n) - (n - 1) / n


def best_of_n_gold(proxy: Sequence[float], gold: Sequence[float], n: int) -> float:
    """Unbiased mean gold score of best-of-n by proxy, from N >= n scored samples."""
    total = len(proxy)
    order = sorted(range(total), key=lambda i: proxy[i])
    return sum(math.comb(k - 1, n - 1) * gold[order[k - 1]] for k in range(n, total + 1)) / math.comb(total, n)


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


def difference(before: tuple[float, float, float], after: tuple[float, float, float]) -> tuple[float, float, float]:
    """After minus before of two independent shares, each (share, low, high), with its interval (Newcombe 1998, method
    10)."""
    (p, p_low, p_high), (q, q_low, q_high) = before, after
    change = q - p
    return change, change - math.hypot(q - q_low, p_high - p), change + math.hypot(q_high - q, p - p_low)


def by_chance(one: Sequence[bool], other: Sequence[bool]) -> float:
    """How often two raters would agree if each kept its share of yes and drew them at random."""
    yes, also = mean([float(x) for x in one]), mean([float(x) for x in other])
    return yes * also + (1 - yes) * (1 - also)


def kappa(agreement: float, chance: float) -> float | None:
    """Cohen's kappa: agreement beyond chance; None where chance alone agrees always (one kind of verdict)."""
    return (agreement - chance) / (1 - chance) if chance < 1 else None


def auc_interval(value: float, positive: float, negative: float, z: float = 1.96) -> tuple[float, float]:
    """95 % interval of an area under the curve from so many independent good and bad ones (Newcombe 2006, method 5):
    the variance (Hanley, McNeil 1982) is taken at the bound, so that a perfect separation of few is no certainty."""
    if positive <= 0 or negative <= 0:
        return 0.0, 1.0
    pairs, spread = positive * negative, (positive + negative) / 2 - 1

    def too_far(theta: float) -> bool:
        uneven = (1 - theta) / (2 - theta) + theta / (1 + theta)
        variance = theta * (1 - theta) * (1 + max(spread, 0.0) * uneven) / pairs
        return abs(theta - value) > z * math.sqrt(variance)

    return _edge(too_far, value, 0.0), _edge(too_far, value, 1.0)


def _edge(outside: Callable[[float], bool], inner: float, outer: float) -> float:
    """Where an interval ends between a value inside of it and one that may be outside."""
    for _ in range(60):
        middle = (inner + outer) / 2
        inner, outer = (inner, middle) if outside(middle) else (middle, outer)
    return (inner + outer) / 2
