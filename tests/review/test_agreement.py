"""The statistics of agreement against published and hand-made values."""

from __future__ import annotations

import math

import pytest

from postlude.review.agreement import agreement
from postlude.statistics import auc_interval, by_chance, difference, kappa, wilson


def test_the_difference_of_two_shares_is_newcombes() -> None:
    """56 of 70 against 48 of 80: 0.0524 to 0.3339 (Newcombe 1998, table II, method 10)."""
    before, after = (0.6, *wilson(48, 80)), (0.8, *wilson(56, 70))
    assert difference(before, after) == pytest.approx((0.2, 0.0524, 0.3339), abs=1e-4)


def test_kappa_takes_off_what_chance_gives() -> None:
    """20 both yes, 5 and 10 apart, 15 both no: agreement 0.7, chance 0.5 (the textbook table)."""
    one = [True] * 25 + [False] * 25
    other = [True] * 20 + [False] * 5 + [True] * 10 + [False] * 15
    assert by_chance(one, other) == pytest.approx(0.5) and kappa(0.7, 0.5) == pytest.approx(0.4)
    assert kappa(1.0, by_chance([True], [True])) is None


@pytest.mark.parametrize(("area", "m", "n"), [(0.8, 10, 20), (0.5, 4, 4), (1.0, 5, 5), (0.0, 3, 9), (0.9, 1, 1)])
def test_the_bounds_of_an_area_are_where_it_would_lie_1_96_deviations_off(area: float, m: int, n: int) -> None:
    low, high = auc_interval(area, m, n)
    assert 0 <= low <= area <= high <= 1 and auc_interval(1 - area, m, n) == pytest.approx((1 - high, 1 - low))
    for bound in (b for b in (low, high) if 0 < b < 1):
        uneven = (1 - bound) / (2 - bound) + bound / (1 + bound)
        variance = bound * (1 - bound) * (1 + ((m + n) / 2 - 1) * uneven) / (m * n)
        assert abs(bound - area) == pytest.approx(1.96 * math.sqrt(variance), abs=1e-6)


def test_what_cannot_be_compared_is_none() -> None:
    assert agreement("r", [], [], [], None) is None
    assert agreement("r", [0.1, 0.2], [True, True], "ab", None) is None
    certain = agreement("r", [1.0, 1.0], [True, True], "ab", 1.0)
    assert certain is not None and certain.value == 1.0 and certain.kappa is None and certain.low < 0.4
