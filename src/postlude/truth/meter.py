"""The figures of truth: metrics over held-out prompts, and how far the trained reward parts from them. No torch.

Every number is prompt by prompt: answers to one prompt are no independent draws, so that only prompts count.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from postlude.statistics import BEST_OF, best_of_n_gold, mean, of_mean, of_prompts, scatter

Rows = Sequence[Sequence[float | None]]
"""Prompt by prompt, the number of each of its answers; None of an answer that could not be scored."""
REWARD = "reward"
"""Beside the metrics: the reward that is trained, on the same answers."""
SAME = 1e-9
"""Relative to the size of the numbers: a spread below it is one of rounding."""


@dataclass(frozen=True)
class Each:
    """The scores of one prompt's answers in two numbers."""

    mean: float
    variance: float
    """The population's."""

    @classmethod
    def of(cls, row: Sequence[float | None]) -> Self | None:
        """None where no answer has a score."""
        known = [value for value in row if value is not None]
        if not known:
            return None
        return cls(mean(known), scatter(known) / len(known))


Prompts = Sequence[Each | None]


def figures_of(rows: Rows) -> dict[str, float]:
    """Figures of one metric over one set, by what stands behind truth/SET/METRIC; none where nothing has a score."""
    known = [row for row in ([v for v in row if v is not None] for row in rows) if row]
    if not known:
        return {}
    figures = {"": mean([mean(row) for row in known])}
    low, high = of_prompts(known)
    if math.isfinite(low):
        figures |= {"/low": low, "/high": high}
    for k in BEST_OF:
        enough = [row for row in known if len(row) >= k]
        if enough:
            figures[f"/pass@{k}"] = mean([best_of_n_gold(row, row, k) for row in enough])
    unscored = sum(value is None for row in rows for value in row)
    return figures | ({"/unscored": float(unscored)} if unscored else {})


@dataclass(frozen=True)
class Gain:
    """How far a score has come since the first evaluation."""

    by: float
    """Of the mean over prompts."""
    spread: float
    """Standard deviation of all answers of both evaluations together; 0 where they all scored the same."""

    @classmethod
    def of(cls, first: Sequence[Each], now: Sequence[Each]) -> Self:
        """Of the same prompts. Both evaluations count the same, and all prompts of each."""
        before, after = _mean_and_variance(first), _mean_and_variance(now)
        by = after[0] - before[0]
        spread = math.sqrt((before[1] + after[1]) / 2 + by * by / 4)
        size = max(abs(before[0]), abs(after[0]))
        return cls(by, spread if spread > SAME * size else 0.0)

    def standardised(self, by: float) -> float:
        """In standard deviations; of `self.by` it lies between -2 and 2."""
        return by / self.spread if self.spread else 0.0


def _mean_and_variance(prompts: Sequence[Each]) -> tuple[float, float]:
    """Of answers, where every prompt counts the same."""
    means = [one.mean for one in prompts]
    return mean(means), mean([one.variance for one in prompts]) + scatter(means) / len(means)


def divergence_of(reward: tuple[Prompts, Prompts], metric: tuple[Prompts, Prompts]) -> dict[str, float]:
    """The standardised gain of the reward less that of the metric, with its interval over prompts; each is (at the
    first evaluation, now). Of the prompts that have both numbers at both; nothing where there are none."""
    both = [
        (r0, r1, m0, m1)
        for r0, r1, m0, m1 in zip(*reward, *metric, strict=True)
        if r0 is not None and r1 is not None and m0 is not None and m1 is not None
    ]
    if not both:
        return {}
    r_first, r_now, m_first, m_now = zip(*both, strict=True)
    of_reward, of_metric = Gain.of(r_first, r_now), Gain.of(m_first, m_now)
    each = [
        of_reward.standardised(r1.mean - r0.mean) - of_metric.standardised(m1.mean - m0.mean) for r0, r1, m0, m1 in both
    ]
    low, high = of_mean(each)
    interval = {"/divergence/low": low, "/divergence/high": high} if math.isfinite(low) else {}
    return {"/divergence": of_reward.standardised(of_reward.by) - of_metric.standardised(of_metric.by)} | interval


# ------------------------------------------------------------------------------------------- since the beginning


@dataclass
class First:
    """What every metric and the reward were at their first evaluation, prompt by prompt. Part of a checkpoint."""

    sets: dict[str, dict[str, list[Each | None]]] = field(default_factory=dict[str, "dict[str, list[Each | None]]"])
    """Held-out set -> metric, or `reward` -> its prompts."""
    asked: dict[str, str] = field(default_factory=dict[str, str])
    """Held-out set -> hash of the ids of its prompts."""

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> First:
        """From a checkpoint; empty of one that has none."""
        saved = state.get("truth") or {"sets": {}, "asked": {}}
        sets = {
            name: {label: [None if one is None else Each(*one) for one in row] for label, row in rows.items()}
            for name, rows in saved["sets"].items()
        }
        return cls(sets, dict(saved["asked"]))

    def state(self) -> dict[str, Any]:
        """As JSON."""
        sets = {
            name: {
                label: [None if one is None else [one.mean, one.variance] for one in row] for label, row in rows.items()
            }
            for name, rows in self.sets.items()
        }
        return {"sets": sets, "asked": self.asked}

    def see(self, name: str, ids: Sequence[str], rows: Mapping[str, Prompts]) -> str | None:
        """Take what is measured for the first time; a sentence where the prompts are others than before."""
        asked = hashlib.sha256("\n".join(ids).encode()).hexdigest()[:16]
        changed = name in self.asked and self.asked[name] != asked
        if changed:
            del self.sets[name]
        self.asked[name] = asked
        known = self.sets.setdefault(name, {})
        for label, row in rows.items():
            known.setdefault(label, list(row))
        if not changed:
            return None
        return f"the held-out prompts of {name} are others than before: truth/{name}/.../divergence begins anew here"


def truth_of(
    name: str, ids: Sequence[str], rows: Mapping[str, Rows], first: First, trained: bool
) -> tuple[dict[str, float], str | None]:
    """(figures, what to note) of one set: of its metrics and, under `reward`, of the reward, which `trained` says is
    trained on. `first` is where the run began; it takes what is measured for the first time."""
    prompts: dict[str, Prompts] = {label: [Each.of(row) for row in one] for label, one in rows.items()}
    note = first.see(name, ids, prompts)
    figures: dict[str, float] = {}
    for label, one in rows.items():
        numbers = figures_of(one)
        if label == REWARD:
            numbers = {key: value for key, value in numbers.items() if "pass@" not in key}
        elif trained and REWARD in prompts:
            began = first.sets[name]
            numbers |= divergence_of((began[REWARD], prompts[REWARD]), (began[label], prompts[label]))
        figures |= {f"truth/{name}/{label}{behind}": value for behind, value in numbers.items()}
    return figures, note
