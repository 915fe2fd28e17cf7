"""How sure a mean over runs and prompts is. Plain Python, no torch.

Runs of several seeds answer the same held-out prompts, so that what is measured is a table of seeds by prompts. Both
are drawn from many that might have been: another seed trains another policy, another prompt asks something else.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from postlude.statistics import mean, scatter, student, two_sided


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % interval."""

    value: float
    low: float
    high: float
    p: float
    """Chance of a mean as far from 0, were there nothing (two-sided)."""

    def within(self, low: float, high: float) -> Estimate:
        """With an interval that ends where nothing lies beyond: Student's knows no bounds."""
        return replace(self, low=max(self.low, low), high=min(self.high, high))


def estimate(value: float, variance: float, df: float) -> Estimate | None:
    """Student's interval and test of a mean whose own variance is estimated with `df` degrees of freedom; None where
    that is 0: of values that are all alike no spread is known."""
    if variance <= 0:
        return None
    error = math.sqrt(variance)
    half = student(df) * error
    return Estimate(value, value - half, value + half, two_sided(value / error, df))


def of_values(values: Sequence[float]) -> Estimate | None:
    """Student's interval of a mean of independent values, such as one of each seed; None of one, or of equal ones."""
    n = len(values)
    if n < 2:
        return None
    value = mean(values)
    return estimate(value, scatter(values) / (n - 1) / n, n - 1)


def of_prompts(table: Sequence[Sequence[float]]) -> Estimate | None:
    """The interval over prompts alone, for just these runs: of each prompt its mean over seeds."""
    return of_values([mean(column) for column in zip(*table, strict=True)])


def crossed(table: Sequence[Sequence[float]]) -> Estimate | None:
    """The mean of a table [seeds][prompts], both drawn from many: None where neither has two that differ.

    The variance of its mean is that of the seeds' means and of the prompts' means together, less what both count of
    the rest (two-way random effects), and never less than either alone; its degrees of freedom are Satterthwaite's.
    With one seed it is the interval over prompts, with one prompt that over seeds.
    """
    s, n = len(table), len(table[0]) if table else 0
    if s < 2 or n < 2:
        return of_prompts(table) if s == 1 else of_values([row[0] for row in table if row])
    rows, columns = [mean(row) for row in table], [mean(column) for column in zip(*table, strict=True)]
    value = mean(rows)
    seeds = n * scatter(rows) / (s - 1)
    prompts = s * scatter(columns) / (n - 1)
    gaps = (table[i][j] - rows[i] - columns[j] + value for i in range(s) for j in range(n))
    rest = math.fsum(g * g for g in gaps) / ((s - 1) * (n - 1))
    both = seeds + prompts - rest
    if both > max(seeds, prompts):
        df = both**2 / (seeds**2 / (s - 1) + prompts**2 / (n - 1) + rest**2 / ((s - 1) * (n - 1)))
        return estimate(value, both / (s * n), df)
    return estimate(value, max(seeds, prompts) / (s * n), s - 1 if seeds >= prompts else n - 1)


def holm(chances: Sequence[float]) -> list[float]:
    """Chances of several tests, each as it is among so many (Holm 1979): one of at most 0.05 is wrong in 5 % of all
    such families."""
    order = sorted(range(len(chances)), key=chances.__getitem__)
    adjusted, most = [0.0] * len(chances), 0.0
    for rank, at in enumerate(order):
        most = max(most, min(1.0, (len(chances) - rank) * chances[at]))
        adjusted[at] = most
    return adjusted
