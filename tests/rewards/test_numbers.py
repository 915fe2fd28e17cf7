"""From the number a function gave to the one that is weighed: the order, and each operation."""

from __future__ import annotations

import asyncio
import math
import statistics
from typing import Any

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from postlude.rewards.combine import Scored
from postlude.rewards.numbers import shaped, standardised
from postlude.rewards.rewards import RewardFigures, Rewards
from postlude.rewards.spec import RewardSpec
from tests.scoring import correct_of, given, group, reward, rewards_of, score


def spec(**settings: Any) -> RewardSpec:
    return RewardSpec("my.py:fn", **settings)


def test_the_order_is_clip_shift_scale_squash() -> None:
    made = spec(clip=(0.0, 4.0), shift=1.0, scale=0.5, squash="tanh")
    assert shaped(made, 9.0) == math.tanh((4.0 - 1.0) * 0.5)
    assert shaped(made, -9.0) == math.tanh(-0.5)
    assert shaped(made, 2.0) == math.tanh(0.5)
    assert shaped(spec(squash="sigmoid"), 0.0) == 0.5
    assert shaped(spec(squash="sigmoid"), -1e4) == 0.0
    assert shaped(spec(), 3.25) == 3.25


@for_all(st.lists(st.floats(-1e6, 1e6) | st.none(), max_size=12))
def test_standardised_numbers_have_mean_0_and_deviation_1(values: list[float | None]) -> None:
    found = standardised(values)
    assert [x is None for x in found] == [x is None for x in values]
    known = [x for x in values if x is not None]
    rest = [x for x in found if x is not None]
    if len(known) < 2 or max(known) == min(known):
        assert set(rest) <= {0.0}
    elif max(known) - min(known) > 1e-3:
        assert statistics.fmean(rest) == pytest.approx(0, abs=1e-6)
        assert statistics.stdev(rest) == pytest.approx(1)


def test_equal_numbers_give_zero_whatever_rounding_does() -> None:
    assert standardised([0.1] * 7) == [0.0] * 7


def test_normalising_by_group_is_what_decouples_two_rewards() -> None:
    """GDPO's case (2601.05242): rewards of other spreads, whose sum alone would hide the smaller one."""
    large = reward(given(100.0, 0.0, 100.0, 0.0), "large", normalise="group")
    small = reward(given(0.0, 1.0, 1.0, 0.0), "small", normalise="group")
    scored = score([group("abcd")], large, small)
    unit = 1 / statistics.stdev([1, 0, 1, 0]) / 2
    assert rewards_of(scored) == pytest.approx([0.0, 0.0, 2 * unit, -2 * unit])


def test_groups_are_normalised_by_themselves_and_a_batch_as_one() -> None:
    groups = [group("ab"), group("c"), group("de")]
    values = given(1.0, 3.0, 7.0, None, 5.0)
    half = 0.5**0.5
    assert rewards_of(score(groups, reward(values, normalise="group"))) == pytest.approx([-half, half, 0, None, 0])
    mean, deviation = 4.0, statistics.stdev([1, 3, 7, 5])
    expected = [(x - mean) / deviation for x in (1.0, 3.0, 7.0)]
    found = rewards_of(score(groups, reward(values, normalise="batch")))
    assert found == pytest.approx([*expected, None, (5.0 - mean) / deviation])


def test_correctness_and_the_logged_mean_are_of_the_number_as_given() -> None:
    made = reward(given(1.0, 0.0), "right", outcome=True, shift=0.5, scale=-2.0)
    scored = score([group("ab")], made)
    assert correct_of(scored) == [True, False]
    assert rewards_of(scored) == [-1.0, 1.0]
    assert RewardFigures.of(scored.groups).by_name == {"reward/right": 0.5}
    assert scored.metrics == {"reward/right/used": 0.0}


def test_the_number_in_use_is_logged_only_where_it_can_differ() -> None:
    scored = score([group("ab")], reward(given(1.0, 0.0), "plain"), reward(given(5.0, 0.0), "cut", clip=(0.0, 1.0)))
    assert scored.metrics == {"reward/cut/used": 0.5}


def test_measuring_does_not_normalise() -> None:
    made = Rewards([reward(given(1.0, 0.0), normalise="group", scale=2.0)])
    measured: Scored = asyncio.run(made.score([group("ab")], measuring=True))
    assert rewards_of(measured) == [2.0, 0.0]


def test_step_rewards_are_clipped_and_shaped_one_by_one() -> None:
    made = reward(given([5.0, -1.0]), "steps", 0.5, steps="|", clip=(0.0, 1.0), scale=3.0)
    rewards = Rewards([made], ends=lambda completion, separator: [0, 1])
    (completion,) = asyncio.run(rewards.score([group(["a|b"])])).groups[0].completions
    assert completion.steps == ((0, 1.5), (1, 0.0))
    assert completion.reward == 1.5, "of their mean, clipped and scaled as one number"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"clip": (1.0, 1.0)}, "clip is"),
        ({"scale": 0.0}, "scale is 0"),
        ({"shift": math.inf}, "shift must be a finite number"),
        ({"gate": math.nan}, "gate must be a finite number"),
        ({"errors": 1.5}, "errors must lie"),
        ({"abstain": -0.1}, "abstain must lie"),
        ({"concurrency": 0}, "concurrency must be at least 1"),
        ({"timeout": 0.0}, "timeout must be positive"),
        ({"cache": ""}, "cache is empty"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        spec(**settings)
