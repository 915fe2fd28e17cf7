"""The forecast of groups with a signal: right values."""

from __future__ import annotations

import random

import pytest

from postlude.preflight.forecast import Tried, no_signal, pass_rate, share_that_differs, share_with_signal


def test_the_chance_of_no_signal_under_a_beta_is_exact() -> None:
    # p uniform: E[p^2 + (1-p)^2] = 2/3; E[p^8 + (1-p)^8] = 2/9
    assert no_signal(1, 1, 2) == pytest.approx(2 / 3, rel=1e-12)
    assert no_signal(1, 1, 8) == pytest.approx(2 / 9, rel=1e-12)
    # p almost surely 0.02: 0.02^2 + 0.98^2
    assert no_signal(2e9, 98e9, 2) == pytest.approx(0.9608, rel=1e-6)


@pytest.mark.parametrize(("chance", "size"), [(0.02, 2), (0.02, 16), (0.2, 4), (0.5, 8), (0.9, 8)])
def test_many_answers_give_the_formula_and_the_interval_holds_it(chance: float, size: int) -> None:
    drawn = random.Random(7)
    tried = [Tried(64, sum(drawn.random() < chance for _ in range(64))) for _ in range(64)]
    share = share_with_signal(tried, size)
    right = 1 - chance**size - (1 - chance) ** size
    assert share.mean == pytest.approx(right, abs=0.03) and share.low - 0.01 <= right <= share.high + 0.01


def test_prompts_that_are_solved_always_or_never_have_no_signal_to_speak_of() -> None:
    tried = [Tried(8, 8), Tried(8, 0)] * 16
    assert share_with_signal(tried, 8).mean < 0.1
    even = share_with_signal([Tried(8, 4)] * 32, 8)
    assert even.mean > 0.97  # the same pass rate of one half


def test_nobody_right_is_not_certainly_hopeless() -> None:
    share = share_with_signal([Tried(8, 0)] * 16, 8)
    assert share.mean < 0.05 and 0.05 < share.high < 0.25


def test_the_pass_rate_and_the_signal_are_reckoned_alike() -> None:
    none = [Tried(8, 0)] * 16
    rate, share = pass_rate(none), share_with_signal(none, 8)
    assert rate.low == pytest.approx(0, abs=1e-3) and rate.high < 0.03  # of one answer, where 8 differ in up to 8 %
    assert share.high < 8 * rate.high
    half = pass_rate([Tried(64, 32)] * 64)
    assert half.mean == pytest.approx(0.5, abs=0.01) and half.low < 0.5 < half.high < 0.53


def test_other_rewards_differ_as_often_as_seen() -> None:
    # two of four alike: 1 - (1/2)^2 - 2 (1/4)^2 = 5/8; all alike: 0
    assert share_that_differs([[1.0, 1.0, 2.0, 3.0]], 2).mean == pytest.approx(0.625)
    assert share_that_differs([[1.0, 1.0]], 8).mean == 0.0
