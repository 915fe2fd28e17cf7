"""Figures of an evaluation: pass@k, the interval of a share, and what is left out of which mean."""

from __future__ import annotations

import math
import random
from itertools import combinations

import pytest

from postlude.data import Completion, Group, Prompt
from postlude.evaluate import figures, pass_at_k
from postlude.statistics import clustered, wilson

# ----------------------------------------------------------------------------------------------------- pass@k


@pytest.mark.parametrize("n", range(1, 8))
def test_pass_at_k_counts_the_draws_with_a_right_answer(n: int) -> None:
    for correct in range(n + 1):
        for k in range(1, n + 1):
            draws = list(combinations([i < correct for i in range(n)], k))
            assert pass_at_k(n, correct, k) == pytest.approx(sum(map(any, draws)) / len(draws))


@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
@pytest.mark.parametrize("k", [1, 2, 5])
def test_pass_at_k_is_unbiased(p: float, k: int) -> None:
    n = 6
    mean = sum(math.comb(n, c) * p**c * (1 - p) ** (n - c) * pass_at_k(n, c, k) for c in range(n + 1))
    assert mean == pytest.approx(1 - (1 - p) ** k)


def test_pass_at_k_stays_exact_for_many_samples() -> None:
    assert pass_at_k(1000, 1, 100) == pytest.approx(0.1)
    assert pass_at_k(1000, 0, 1000) == 0.0
    assert pass_at_k(1000, 1000, 1) == 1.0


# ----------------------------------------------------------------------------------------------------- wilson


@pytest.mark.parametrize(
    ("correct", "n", "low", "high"),
    [(8, 10, 0.4902, 0.9433), (0, 10, 0.0, 0.2775), (50, 100, 0.4038, 0.5962), (1, 1, 0.2065, 1.0)],
)
def test_wilson_gives_the_published_interval(correct: int, n: int, low: float, high: float) -> None:
    assert wilson(correct, n) == pytest.approx((low, high), abs=1e-4)


def test_wilson_holds_the_share_and_is_symmetric() -> None:
    for n in (1, 2, 7, 40):
        for correct in range(n + 1):
            low, high = wilson(correct, n)
            assert 0 <= low <= correct / n <= high <= 1
            assert low < high
            mirrored = wilson(n - correct, n)
            assert (1 - high, 1 - low) == pytest.approx(mirrored, abs=1e-12)


def test_wilson_narrows_with_more_answers_and_knows_nothing_without() -> None:
    widths = [high - low for low, high in (wilson(3 * n, 10 * n) for n in (1, 4, 16, 64))]
    assert widths == sorted(widths, reverse=True)
    assert widths[3] == pytest.approx(widths[2] / 2, rel=0.05)
    assert wilson(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize("p", [0.05, 0.3, 0.5, 0.9])
def test_wilson_covers_the_true_share_about_95_times_in_100(p: float) -> None:
    n = 60
    chances = {c: math.comb(n, c) * p**c * (1 - p) ** (n - c) for c in range(n + 1)}
    covered = sum(chance for c, chance in chances.items() if wilson(c, n)[0] <= p <= wilson(c, n)[1])
    assert 0.92 < covered < 0.99


# ---------------------------------------------------------------------------------------------------- figures


def group(*correct: bool | None, name: str = "p") -> Group:
    """Answer i has i + 1 tokens; the first is cut by the limit."""
    return Group(
        Prompt(name, name),
        tuple(
            Completion(
                (1,) * (i + 1),
                stop="eos" if i else "length",
                correct=c,
                reward=None if c is None else float(c),
                scores={"exact": None if c is None else float(c)},
            )
            for i, c in enumerate(correct)
        ),
    )


def test_an_interval_counts_prompts_where_their_answers_are_alike() -> None:
    right = [1.0, 1.0, 0.0]
    alike = [value for value in right for _ in range(50)]
    owners = [i for i in range(3) for _ in range(50)]
    assert clustered(right, range(3)) == pytest.approx(wilson(2, 3))
    assert clustered(alike, owners) == pytest.approx(wilson(2, 3))
    assert clustered([1.0, 0.0] * 20, [0] * 40) == pytest.approx(wilson(0.5, 1))  # one prompt, however often
    assert clustered([1.0] * 40, [i // 8 for i in range(40)]) == pytest.approx(wilson(5, 5))
    assert clustered([], []) == (0.0, 1.0)


def test_an_interval_holds_the_true_share_as_often_as_it_says() -> None:
    # accuracy of a prompt: 0.1 or 0.9 with equal chance; 40 prompts, 8 answers each
    rng = random.Random(0)
    owners = [i for i in range(40) for _ in range(8)]
    held = counted = 0
    for _ in range(400):
        rates = [rng.choice((0.1, 0.9)) for _ in range(40)]
        values = [float(rng.random() < rates[i]) for i in owners]
        low, high = clustered(values, owners)
        held += low <= 0.5 <= high
        low, high = wilson(sum(values), len(values))
        counted += low <= 0.5 <= high
    assert 0.92 <= held / 400 <= 0.98
    assert counted / 400 < 0.75  # as if answers were independent


def test_figures_of_judged_answers() -> None:
    found = figures([group(True, False, False, False), group(True, True, False, False)], 4)
    assert found["accuracy"] == 3 / 8
    assert (found["accuracy_low"], found["accuracy_high"]) == clustered([1, 0, 0, 0, 1, 1, 0, 0], [0] * 4 + [1] * 4)
    assert found["pass@2"] == pytest.approx((1 - 3 / 6 + 1 - 1 / 6) / 2)
    assert found["pass@4"] == 1.0
    assert (found["reward"], found["reward/exact"]) == (3 / 8, 3 / 8)
    assert (found["length"], found["truncated_frac"]) == (2.5, 0.25)
    assert (found["answers"], found["unscored"]) == (8.0, 0.0)


def test_unjudged_answers_are_counted_and_left_out() -> None:
    found = figures([group(False, None), group(True, False)], 2)
    assert found["accuracy"] == pytest.approx(1 / 3)
    assert found["reward"] == pytest.approx(1 / 3)
    assert (found["answers"], found["unscored"]) == (4.0, 1.0)
    assert found["pass@2"] == 1.0  # of the second prompt alone


def test_figures_that_nothing_supports_are_left_out() -> None:
    found = figures([group(None, None)], 2)
    assert not {"accuracy", "reward", "pass@2"} & found.keys()
    assert found["unscored"] == 2.0
    assert "pass@1" not in figures([group(True)], 1)
    assert not any(name.startswith("pass@") for name in figures([group(True)], 1))


def test_pass_at_k_is_reported_up_to_the_number_of_answers() -> None:
    found = figures([group(*[True] * 8)], 8)
    assert sorted(n for n in found if n.startswith("pass@")) == ["pass@2", "pass@4", "pass@8"]
