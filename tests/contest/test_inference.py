"""Intervals and tests of means over seeds and prompts, by known values and by what they promise."""

from __future__ import annotations

import numpy as np
import pytest

from postlude.inference import crossed, holm, of_prompts, of_values
from postlude.statistics import student, two_sided


def test_students_distribution_has_the_values_of_tables() -> None:
    quantiles = {1: 12.7062, 2: 4.30265, 3: 3.18245, 10: 2.22814, 30: 2.04227, 1000: 1.96234}
    assert {df: student(df) for df in quantiles} == pytest.approx(quantiles, rel=1e-5)
    assert two_sided(2.0, 5) == pytest.approx(0.10193947882985831, rel=1e-9)
    assert two_sided(1.0, 1) == pytest.approx(0.5, rel=1e-12)  # Cauchy's: quartiles at -1 and 1
    assert two_sided(-3.0, 2.5) == two_sided(3.0, 2.5)
    assert (two_sided(0.0, 4), two_sided(1e9, 4) < 1e-20) == (1.0, True)


def test_one_value_or_equal_ones_say_nothing_of_their_spread() -> None:
    assert of_values([0.5]) is None and of_values([0.5, 0.5]) is None
    assert crossed([[0.1, 0.1], [0.1, 0.1]]) is None and crossed([]) is None


def test_an_interval_of_three_seeds_is_the_books() -> None:
    estimate = of_values([0.70, 0.74, 0.78])
    assert estimate is not None
    half = 4.302652729749462 * 0.04 / 3**0.5
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((0.74, 0.74 - half, 0.74 + half))


def test_one_seed_is_an_interval_over_prompts_and_one_prompt_over_seeds() -> None:
    assert crossed([[0.0, 1.0, 1.0]]) == of_values([0.0, 1.0, 1.0])
    assert crossed([[0.0], [1.0], [1.0]]) == of_values([0.0, 1.0, 1.0])


def test_seeds_that_differ_as_wholes_leave_as_many_degrees_of_freedom_as_there_are_seeds() -> None:
    """Where prompts say the same, more of them add nothing: it is the interval over seeds."""
    table = [[value] * 50 for value in (0.1, 0.2, 0.4)]
    both, seeds = crossed(table), of_values([0.1, 0.2, 0.4])
    assert both is not None and seeds is not None
    assert (both.low, both.high, both.p) == pytest.approx((seeds.low, seeds.high, seeds.p))
    prompts = of_prompts(table)
    assert prompts is None  # which, alone, would say that nothing could have come otherwise


def test_the_variance_of_a_crossed_mean_is_that_of_seeds_and_prompts_less_the_rest() -> None:
    table = [[1.0, 4.0, 2.0], [2.0, 6.0, 1.0]]
    rows, columns = np.mean(table, axis=1), np.mean(table, axis=0)
    seeds, prompts = 3 * np.var(rows, ddof=1), 2 * np.var(columns, ddof=1)
    rest = float(((np.array(table) - rows[:, None] - columns + np.mean(table)) ** 2).sum()) / 2
    variance = max(seeds + prompts - rest, seeds, prompts) / 6
    estimate = crossed(table)
    assert estimate is not None and seeds + prompts - rest < prompts  # here it is that of the prompts alone
    assert (estimate.high - estimate.low) / 2 == pytest.approx(student(2) * variance**0.5)


@pytest.mark.parametrize("of_seeds", [0.0, 0.05])
def test_intervals_hold_the_truth_as_often_as_they_say(of_seeds: float) -> None:
    """Three seeds, 60 prompts: about 95 of 100 intervals hold 0; over prompts alone far fewer, once seeds differ."""
    random, both, alone = np.random.default_rng(0), 0, 0
    for _ in range(300):
        noise = random.normal(0, 0.3, (3, 60)) + random.normal(0, 0.1, (1, 60)) + random.normal(0, of_seeds, (3, 1))
        rows: list[list[float]] = noise.tolist()
        one, other = crossed(rows), of_prompts(rows)
        assert one is not None and other is not None
        both, alone = both + (one.low <= 0 <= one.high), alone + (other.low <= 0 <= other.high)
    assert 0.92 * 300 <= both <= 0.99 * 300
    assert of_seeds == 0 or alone < 0.85 * 300


def test_holm_is_the_books() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0]) and holm([]) == []
