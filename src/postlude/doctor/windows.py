"""Numbers at steps, and what rules ask of them: means, changes with their noise, slopes, what has lasted."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from postlude.statistics import mean, scatter

LIKELY = 1.96
"""Standard errors of a 95 % interval."""


@dataclass(frozen=True)
class Window:
    """Some values of a figure, each with its step; it may be empty."""

    name: str
    """Of the figure."""
    steps: tuple[int, ...]
    values: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator[tuple[int, float]]:
        return iter(zip(self.steps, self.values, strict=True))

    @property
    def mean(self) -> float:
        return mean(self.values)

    @property
    def median(self) -> float:
        return median(self.values)

    @property
    def std(self) -> float:
        return math.sqrt(self.variance)

    @property
    def variance(self) -> float:
        """Divisor n - 1; 0 of fewer than two values."""
        return scatter(self.values) / (len(self.values) - 1) if len(self.values) > 1 else 0.0

    @property
    def low(self) -> float:
        return min(self.values)

    @property
    def high(self) -> float:
        return max(self.values)

    @property
    def last_half(self) -> float:
        """The mean of the newer half."""
        return mean(self.values[len(self.values) // 2 :])

    def all(self, test: Callable[[float], bool]) -> bool:
        """Whether there are values, and every one is so."""
        return bool(self.values) and all(map(test, self.values))

    def showing(self, test: Callable[[float], bool] = lambda value: value > 0) -> Window:
        """The values that are so, with their steps: the evidence, where a mean or a sum over the window is what a rule
        goes by and not every value shows it. The window itself where none does."""
        pairs = [(step, value) for step, value in self if test(value)] or list(self)
        return Window(self.name, tuple(step for step, _ in pairs), tuple(value for _, value in pairs))

    def share(self, test: Callable[[float], bool]) -> float:
        """The share of the values that are so; 0 of none."""
        return sum(map(test, self.values)) / len(self.values) if self.values else 0.0


@dataclass(frozen=True)
class Change:
    """The mean of a figure now against that of its start."""

    before: Window
    after: Window

    @property
    def difference(self) -> float:
        return self.after.mean - self.before.mean

    @property
    def factor(self) -> float:
        """Mean now / mean at the start; infinite where that was 0, and 1 where both are."""
        if self.before.mean == 0:
            return 1.0 if self.after.mean == 0 else math.inf
        return self.after.mean / self.before.mean

    @property
    def noise(self) -> float:
        """The standard error of the difference."""
        return math.sqrt(sum(w.variance / len(w) for w in (self.before, self.after)))

    @property
    def errors(self) -> float:
        """The difference in standard errors; infinite where neither window has any noise and they differ."""
        if self.noise == 0:
            return 0.0 if self.difference == 0 else math.copysign(math.inf, self.difference)
        return self.difference / self.noise

    @property
    def rises(self) -> bool:
        """By more than the noise of both windows explains (95 %)."""
        return self.errors > LIKELY

    @property
    def falls(self) -> bool:
        return self.errors < -LIKELY


@dataclass(frozen=True)
class Slope:
    """How a figure goes, per step: the median of the slopes between all pairs of points, with its 95 % interval."""

    per_step: float
    low: float
    high: float


def slope(window: Window) -> Slope | None:
    """Theil and Sen's estimate with Sen's interval; None of fewer than four points. Costs the square of the window."""
    count = len(window)
    if count < 4:
        return None
    points = list(window)
    slopes = sorted((y - x) / (b - a) for i, (a, x) in enumerate(points) for b, y in points[i + 1 :] if b != a)
    if not slopes:
        return None
    half = LIKELY * math.sqrt(count * (count - 1) * (2 * count + 5) / 18) / 2  # ranks, of Kendall's variance
    middle = (len(slopes) - 1) / 2
    low, high = max(math.floor(middle - half), 0), min(math.ceil(middle + half), len(slopes) - 1)
    return Slope(median(slopes), slopes[low], slopes[high])


def smoothed(values: Sequence[float], over: int) -> float:
    """The exponential moving average at the last value, over about so many; the first values count as what it began
    with. Weights of what lies five times as far back are below 1 %, so callers may leave that out."""
    share = 2 / (over + 1)
    average = values[0]
    for value in values[1:]:
        average += share * (value - average)
    return average
