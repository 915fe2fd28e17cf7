"""What the results of a comparison say: means with intervals, and differences between arms with tests."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, combinations

from postlude.contest.results import Result
from postlude.inference import Estimate, crossed, holm, of_prompts, of_values
from postlude.runs.figures import lookup
from postlude.runs.figures.figure import SHARE
from postlude.statistics import TAIL, clustered, mean

FEW = 2
"""Seeds below which nothing can be said of other seeds."""
ENOUGH = 3
"""Seeds below which next to nothing can: t is 12.7 at one degree of freedom, and the interval misses too often."""
TOKENS = "tokens"
"""The unit of lengths."""
OF_ANY_RANGE = ("reward", "the metric's")
"""Units of numbers that a recipe's own functions give."""


@dataclass(frozen=True)
class Summary:
    """A figure of an arm."""

    figure: str
    arm: str
    value: float
    """Mean over the seeds that finished."""
    seeds: int
    over_seeds: Estimate | None
    """Student's interval of the mean over seeds; None of one seed, or of seeds that are all alike."""
    over_prompts: tuple[float, float] | None
    """The interval over prompts, for just these runs; None where the figure is not of prompts."""


@dataclass(frozen=True)
class Difference:
    """A figure of arm `first` minus that of `second`, paired by seed and prompt."""

    figure: str
    first: str
    second: str
    value: float
    seeds: int
    prompts: int
    """0 where the figure is not of prompts: paired by seeds alone."""
    estimate: Estimate | None
    """None where there is one value only, or all are alike."""
    adjusted: float | None = None
    """The chance among all pairs of its figure (Holm)."""
    tests: int = 1

    @property
    def differs(self) -> bool:
        """Whether the arms differ beyond chance, among all pairs and over seeds."""
        return self.seeds >= FEW and self.adjusted is not None and self.adjusted <= TAIL

    @property
    def settled_by_p(self) -> bool:
        """Whether its words say a p: its interval does not hold 0, and another seed counts."""
        return self.estimate is not None and self.seeds >= FEW and not self.estimate.low <= 0 <= self.estimate.high

    def words(self) -> str:
        """What can be said, in a sentence."""
        pair, e = f"{self.first} - {self.second}", self.estimate
        same = f"{pair}: no difference at all"
        if e is None:
            how = "alike everywhere" if max(self.seeds, self.prompts) > 1 else "of one value each"
            return f"{pair}: {number(self.value, True)}, {how}: nothing can be said of chance" if self.value else same
        span = f"{number(e.low, True)} to {number(e.high, True)}"
        if self.seeds < FEW:
            return (
                f"{pair}: {number(self.value, True)} ({span} over prompts), of one seed: nothing can be said of others"
            )
        if e.low <= 0 <= e.high:
            return f"{pair}: no difference to be seen: {span}"
        if not self.differs:
            among = f" among {self.tests} pairs (Holm)" if self.tests > 1 else ""
            p = f"{chance(self.adjusted)}{among}{self._of_few()}"
            return f"{pair}: {number(self.value, True)} ({span}), but p is {p}: not settled"
        low, high = sorted((abs(e.low), abs(e.high)))  # both on one side of 0
        by = f"{number(abs(self.value))} ({number(low)} to {number(high)})"
        return f"{self._winner()} by {by}, p {chance(self.adjusted)}{self._of_few()}"

    def _of_few(self) -> str:
        return ", of two seeds alone" if self.seeds < ENOUGH else ""

    def _winner(self) -> str:
        first, second = (self.first, self.second) if self.value > 0 else (self.second, self.first)
        figure = lookup(self.figure)
        if figure is None or figure.better == "neither":
            return f"{first} is higher than {second}"
        best, other = (first, second) if figure.better == "up" else (second, first)
        return f"{best} is better than {other}"


def number(value: float, signed: bool = False) -> str:
    """A figure, or a difference with its sign."""
    digits = 1 if abs(value) >= 100 else 2 if abs(value) >= 10 else 3
    return f"{value:+.{digits}f}" if signed else f"{value:.{digits}f}"


def chance(p: float | None) -> str:
    return "?" if p is None else "<0.001" if p < 0.001 else f"{p:.3f}"


# --------------------------------------------------------------------------------------------------- of the results

Runs = Mapping[str, Mapping[int, Result]]
"""Arm -> seed -> finished run."""


def finished(results: Sequence[Result]) -> dict[str, dict[int, Result]]:
    """The runs that there is something to say of; an arm without any stays, empty."""
    runs: dict[str, dict[int, Result]] = {}
    for result in results:
        of_arm = runs.setdefault(result.job.arm, {})
        if result.state == "finished":
            of_arm[result.job.seed] = result
    return runs


def summaries(runs: Runs, figures: Sequence[str]) -> Iterator[Summary]:
    """Every figure of every arm that has it."""
    for figure in figures:
        for arm, by_seed in runs.items():
            values = {seed: r.figures[figure] for seed, r in by_seed.items() if figure in r.figures}
            if not values:
                continue
            table = [*shared([by_seed[seed].answers.get(figure, {}) for seed in values])]
            prompts = _over_prompts(figure, table) if table and table[0] else None
            over_seeds = _within(of_values([*values.values()]), *bounds(figure, [*values.values(), *chain(*table)]))
            yield Summary(figure, arm, mean([*values.values()]), len(values), over_seeds, prompts)


def bounds(figure: str, values: Iterable[float]) -> tuple[float, float]:
    """Between what a figure can lie. A share between 0 and 1; a reward or metric too, whose range nobody says, where
    every prompt's was; a count of tokens is not below 0."""
    known = lookup(figure)
    unit = known.unit if known is not None else None
    if unit == SHARE or (unit in OF_ANY_RANGE and all(0 <= value <= 1 for value in values)):
        return 0.0, 1.0
    return 0.0 if unit == TOKENS else -math.inf, math.inf


def _within(estimate: Estimate | None, low: float, high: float) -> Estimate | None:
    return None if estimate is None else estimate.within(low, high)


def _over_prompts(figure: str, table: Sequence[Sequence[float]]) -> tuple[float, float] | None:
    """Of [seeds][prompts]: of shares as evaluations have it, which stays between 0 and 1; else Student's."""
    values = [(value, prompt) for row in table for prompt, value in enumerate(row)]
    if all(0 <= value <= 1 for value, _ in values):
        return clustered(*zip(*values, strict=True))
    estimate = _within(of_prompts(table), *bounds(figure, chain(*table)))
    return None if estimate is None else (estimate.low, estimate.high)


def shared(each: Sequence[Mapping[str, float]]) -> Iterator[list[float]]:
    """The values of the prompts that all have, in one order."""
    prompts = sorted(set.intersection(*(set(values) for values in each))) if each else []
    for values in each:
        yield [values[prompt] for prompt in prompts]


def differences(runs: Runs, figures: Sequence[str], baseline: str | None = None) -> Iterator[Difference]:
    """Every pair of arms, or those with the baseline, for every figure: with Holm's chances among a figure's pairs."""
    for figure in figures:
        pairs = combinations(runs, 2) if baseline is None else ((arm, baseline) for arm in runs if arm != baseline)
        some = [d for first, second in pairs if (d := difference(runs, figure, first, second)) is not None]
        tested = [d.estimate.p for d in some if d.estimate is not None]
        adjusted = iter(holm(tested))
        for d in some:
            yield replace(d, adjusted=next(adjusted) if d.estimate is not None else None, tests=max(len(tested), 1))


def difference(runs: Runs, figure: str, first: str, second: str) -> Difference | None:
    """Of the seeds that both have; None where there is none."""
    ours, theirs = runs[first], runs[second]
    seeds = [s for s in ours if s in theirs and figure in ours[s].figures and figure in theirs[s].figures]
    if not seeds:
        return None
    gaps = [ours[s].figures[figure] - theirs[s].figures[figure] for s in seeds]
    each = [runs[arm][s].answers.get(figure, {}) for s in seeds for arm in (first, second)]
    rows = [*shared(each)]
    prompts = len(rows[0]) if rows else 0
    values = [runs[arm][s].figures[figure] for s in seeds for arm in (first, second)]
    low, high = bounds(figure, [*values, *chain(*rows)])
    widest = high - low  # of a share a difference lies between -1 and 1
    if prompts:
        pairs = zip(rows[::2], rows[1::2], strict=True)
        gaps_of_prompts = [[a - b for a, b in zip(one, other, strict=True)] for one, other in pairs]
        estimate = crossed(gaps_of_prompts)
    else:
        estimate = of_values(gaps)
    estimate = _within(estimate, -widest, widest)
    return Difference(figure, first, second, mean(gaps), len(seeds), prompts, estimate)


# ----------------------------------------------------------------------------------------------- which figures

_SHOWN = ("sampled/accuracy", "sampled/reward", "sampled/length")
MOST = 4
"""Of other figures."""
_PARTS_OF_TRUTH = 3
"""Of truth/SET/METRIC: what has more parts says more of the same."""


def figures_of(runs: Runs, wanted: Sequence[str] = ()) -> list[str]:
    """Those that are compared: what was asked for, or truth, accuracy, reward and length, as far as they are there; of
    a method that answers nothing, what is measured on held-out rows.

    A reward that is just right or wrong is left out, as accuracy says it.
    """
    there = dict.fromkeys(name for by_seed in runs.values() for r in by_seed.values() for name in r.figures)
    if wanted:
        return [name for name in dict.fromkeys(wanted) if name in there]
    truth = [n for n in there if n.startswith("truth/") and n.count("/") == _PARTS_OF_TRUTH - 1]
    names = [*(n for n in truth if not n.endswith("/reward")), *(n for n in _SHOWN if n in there)]
    finished_runs = [r for by_seed in runs.values() for r in by_seed.values()]
    same = all(r.figures.get("sampled/reward") == r.figures.get("sampled/accuracy") for r in finished_runs)
    names = [n for n in names if n != "sampled/reward" or not same]
    return names or [n for n in there if _has_a_direction(n) and _varies(n, finished_runs)][:MOST]


def _has_a_direction(name: str) -> bool:
    figure = lookup(name)
    return figure is not None and figure.better != "neither"


def _varies(name: str, runs: Sequence[Result]) -> bool:
    return len({r.figures.get(name) for r in runs}) > 1
