"""Rewards that depend on length, by the numbers of the paper that compares them (2510.04474)."""

from __future__ import annotations

import pytest

from postlude.data import Completion, Group, Prompt
from postlude.objectives.lengths import linear_length_rewards
from postlude.rollouts.shaping import LinearLength

RIGHT = [True, True, True, False, False, False]
LENGTHS = [27, 40, 80, 90, 10, 50]


def test_the_third_right_answer_of_the_motivating_example_is_pushed_down() -> None:
    rewards = linear_length_rewards(RIGHT, LENGTHS, alpha=1.0, limit=100)
    assert rewards == pytest.approx([0.73, 0.6, 0.2, 0, 0, 0], abs=1e-12)
    mean = sum(rewards) / 6
    spread = sum((r - mean) ** 2 for r in rewards)
    assert (rewards[2] - mean) / (spread / 5) ** 0.5 == pytest.approx(-0.17, abs=5e-3)
    assert (rewards[2] - mean) / (spread / 6) ** 0.5 == pytest.approx(-0.18, abs=5e-3)


def test_the_price_is_bounded_and_wrong_answers_pay_none() -> None:
    assert linear_length_rewards([True, True, False], [0, 500, 1], 0.25, 100) == [1.0, 0.75, 0.0]


def test_a_factor_prices_what_was_judged_right() -> None:
    answers = tuple(
        Completion(tokens=(1,) * n, text="", reward=float(good), correct=good)
        for good, n in zip(RIGHT, LENGTHS, strict=True)
    )
    shaped = LinearLength(alpha=0.5, limit=100)(Group(Prompt("0", "?"), answers), {})
    assert [c.reward for c in shaped.completions] == pytest.approx([0.865, 0.8, 0.6, 0, 0, 0])
