"""How far people's verdicts and a measure of the same answers agree."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

from postlude.statistics import auc, auc_interval, by_chance, clustered, kappa, mean


@dataclass(frozen=True)
class Agreement:
    """Of verdicts with one measure. `kind` accuracy: the share of answers on which both say the same; auc: the chance
    that a good answer has a higher number than a bad one, ties half, one half where the measure says nothing."""

    measure: str
    kind: Literal["accuracy", "auc"]
    value: float
    low: float
    high: float
    """95 % interval, which counts prompts."""
    judged: int
    kappa: float | None = None
    """Cohen's, of a measure that says right or wrong; None where verdicts and measure are all of one kind."""
    kappa_low: float | None = None
    kappa_high: float | None = None


def agreement(
    measure: str, values: Sequence[float], good: Sequence[bool], prompts: Sequence[Hashable], right: float | None
) -> Agreement | None:
    """Of verdicts on answers to these prompts; `right` is the value that says right, of a measure with two values.

    None where there is no verdict, or, of a graded measure, not both a good and a bad answer.
    """
    if not values:
        return None
    if right is not None:
        return _of_right_or_wrong(measure, [x == right for x in values], good, prompts)
    area = auc(values, good)
    if area is None:
        return None
    independent = len({*prompts}) / len(prompts)  # answers to one prompt are no independent draws: at most so many are
    low, high = auc_interval(area, sum(good) * independent, (len(good) - sum(good)) * independent)
    return Agreement(measure, "auc", area, low, high, len(values))


def _of_right_or_wrong(
    measure: str, says: Sequence[bool], good: Sequence[bool], prompts: Sequence[Hashable]
) -> Agreement:
    same = [float(a == b) for a, b in zip(says, good, strict=True)]
    low, high = clustered(same, prompts)
    chance = by_chance(says, good)  # taken as known: the interval of kappa is that of the agreement
    kappas = [kappa(share, chance) for share in (mean(same), low, high)]
    return Agreement(measure, "accuracy", mean(same), low, high, len(same), *kappas)
