"""The figures of truth against numbers that were worked out by hand."""

from __future__ import annotations

import json
import math

import pytest

from postlude.best import Best
from postlude.doctor.windows import Change, Window
from postlude.evaluate import pass_at_k
from postlude.statistics import clustered, of_mean, of_prompts, student
from postlude.truth.meter import Each, First, Gain, Rows, divergence_of, figures_of, truth_of

NEAR = 1e-12


def test_student_is_that_of_the_tables() -> None:
    table = {1: 12.706205, 2: 4.302653, 3: 3.182446, 4: 2.776445, 5: 2.570582, 30: 2.042272, 1000: 1.962339}
    assert {n: round(student(n), 6) for n in table} == table


def test_the_mean_over_prompts_counts_each_prompt_once() -> None:
    figures = figures_of([[1.0, 2.0, 3.0], [5.0], [None, 4.0], [None, None]])
    assert figures[""] == pytest.approx((2 + 5 + 4) / 3, abs=NEAR)
    assert figures["/unscored"] == 3.0
    half = 4.302652729911275 * math.sqrt(((2 - 11 / 3) ** 2 + (5 - 11 / 3) ** 2 + (4 - 11 / 3) ** 2) / 2 / 3)
    assert (figures["/low"], figures["/high"]) == pytest.approx((11 / 3 - half, 11 / 3 + half), abs=1e-9)
    assert figures["/pass@2"] == pytest.approx(8 / 3, abs=NEAR)  # of 1, 2, 3 the better of two: (2 + 3 + 3) / 3
    assert "/pass@4" not in figures
    assert figures_of([[None], [None]]) == {}
    assert set(figures_of([[0.5, 0.7]])) == {"", "/pass@2"}, "one prompt says nothing of others: no interval"


@pytest.mark.parametrize("huge", [1e200, 1.7e308])
def test_numbers_whose_squares_no_float_holds_end_nothing(huge: float) -> None:
    figures = figures_of([[huge], [huge, huge], [0.5]])
    assert figures[""] == pytest.approx(huge / 3 * 2, rel=1e-12)
    first, rows = First(), {"m": [[huge], [0.5]], "reward": [[1.0], [0.0]]}
    truth_of("s", ["a", "b"], rows, first, True)
    json.dumps(first.state(), allow_nan=False)
    now, _ = truth_of("s", ["a", "b"], {**rows, "m": [[-huge], [0.5]]}, first, True)
    assert now["truth/s/m"] == pytest.approx(-huge / 2, rel=1e-12)
    window = Window("reward/mean", (1, 2, 3), (huge, huge, 0.5))
    assert window.mean == pytest.approx(huge / 3 * 2, rel=1e-12)
    assert math.isfinite(window.std) and not Change(window, window).rises


@pytest.mark.parametrize(("n", "right"), [(4, 0), (4, 1), (4, 3), (8, 2), (8, 8)])
def test_the_best_of_k_by_right_and_wrong_is_pass_at_k(n: int, right: int) -> None:
    figures = figures_of([[1.0] * right + [0.0] * (n - right)])
    for k in (k for k in (2, 4, 8) if k <= n):
        assert figures[f"/pass@{k}"] == pytest.approx(pass_at_k(n, right, k), abs=NEAR)


def test_right_and_wrong_have_the_interval_of_clustered_answers() -> None:
    rows = [[1.0, 0.0], [1.0, 1.0], [0.0, 0.0], [1.0, 0.0]]
    flat = [value for row in rows for value in row]
    assert of_prompts(rows) == pytest.approx(clustered(flat, [i for i in range(4) for _ in range(2)]), abs=NEAR)
    alike = [[1.0] * 8, [0.0] * 8]
    assert of_prompts(alike) == pytest.approx(clustered([1.0, 0.0], [0, 1]), abs=NEAR), "eight equal answers are one"
    assert of_mean([3.0]) == (-math.inf, math.inf)


# ------------------------------------------------------------------------------------------------- divergence


def each(*rows: list[float]) -> list[Each | None]:
    return [Each.of(row) for row in rows]


def test_a_gain_from_no_spread_at_all_is_two() -> None:
    """0, 0 -> 1, 1: the mean rises by 1, and 0, 0, 1, 1 have the standard deviation 1/2."""
    reward = (each([0.0], [0.0]), each([1.0], [1.0]))
    metric = (each([0.3], [0.3]), each([0.3], [0.3]))
    assert divergence_of(reward, metric)["/divergence"] == pytest.approx(2.0, abs=NEAR)
    assert divergence_of(metric, metric) == {"/divergence": 0.0, "/divergence/low": 0.0, "/divergence/high": 0.0}


def test_opposite_gains_by_hand() -> None:
    """Reward 0, 1 -> 1, 1: by 1/2; s^2 = (1/4 + 0) / 2 + (1/2)^2 / 4 = 3/16. The metric 1, 0 -> 0, 0: the opposite.
    The first prompt parts by 2 / s, the second not at all: Student's interval with one degree of freedom."""
    figures = divergence_of((each([0.0], [1.0]), each([1.0], [1.0])), (each([1.0], [0.0]), each([0.0], [0.0])))
    s = math.sqrt(3 / 16)
    half = 12.706204736432095 * (2 / s) / 2
    assert figures["/divergence"] == pytest.approx(1 / s, abs=NEAR)
    assert (figures["/divergence/low"], figures["/divergence/high"]) == pytest.approx((1 / s - half, 1 / s + half))


def test_several_answers_to_a_prompt_by_hand() -> None:
    """Two prompts of two answers. Reward (0, 1), (0, 0) -> (1, 1), (0, 1): means 1/4 -> 3/4, variances 3/16 each, so
    s^2 = 3/16 + 1/16 = 1/4 and the gain is 1. The metric (1, 1), (1, 0) -> (1, 0), (1, 0): 3/4 -> 1/2, variances 3/16
    and 1/4, s^2 = 7/32 + 1/64 = 15/64, gain -1/4 / s."""
    reward = (each([0.0, 1.0], [0.0, 0.0]), each([1.0, 1.0], [0.0, 1.0]))
    metric = (each([1.0, 1.0], [1.0, 0.0]), each([1.0, 0.0], [1.0, 0.0]))
    assert divergence_of(reward, metric)["/divergence"] == pytest.approx(1 + 0.25 / math.sqrt(15 / 64), abs=NEAR)


def test_a_metric_in_other_units_diverges_as_much() -> None:
    rows = (each([0.1, 0.4], [0.9, 0.2]), each([0.5, 0.4], [0.7, 0.9]))
    scaled = (each([11.0, 14.0], [19.0, 12.0]), each([15.0, 14.0], [17.0, 19.0]))
    reward = (each([0.0, 1.0], [0.0, 0.0]), each([1.0, 1.0], [0.0, 1.0]))
    ours, theirs = divergence_of(reward, rows), divergence_of(reward, scaled)
    assert ours == pytest.approx(theirs, abs=1e-9)
    assert divergence_of(reward, reward) == pytest.approx(dict.fromkeys(ours, 0.0), abs=NEAR)


def test_rounding_is_no_gain() -> None:
    before, now = [Each(0.3, 0.0)] * 2, [Each(0.1 + 0.2, 0.0)] * 2
    assert now[0].mean != before[0].mean and Gain.of(before, now).standardised(now[0].mean - before[0].mean) == 0.0


def test_only_prompts_with_both_scores_count() -> None:
    reward = ([Each(0.0, 0.0), None, Each(0.0, 0.0)], each([1.0], [1.0], [1.0]))
    metric = (each([0.0], [0.0], [0.0]), [Each(1.0, 0.0), Each(1.0, 0.0), None])
    assert divergence_of(reward, metric) == {"/divergence": 0.0}, "one prompt is left, and it has no interval"
    assert divergence_of((reward[0][1:2], reward[1][1:2]), (metric[0][1:2], metric[1][1:2])) == {}


# ------------------------------------------------------------------------------------- since the first evaluation

FIRST: dict[str, Rows] = {"m": [[1.0], [0.0]], "reward": [[0.0], [1.0]]}
THEN: dict[str, Rows] = {"m": [[0.0], [0.0]], "reward": [[1.0], [1.0]]}


def test_the_first_evaluation_is_kept_to_the_bit_and_later_ones_compare_with_it() -> None:
    first = First()
    figures, note = truth_of("s", ["a", "b"], FIRST, first, trained=True)
    assert figures["truth/s/m/divergence"] == 0.0 and note is None
    again = First.of({"truth": json.loads(json.dumps(first.state()))})
    assert again == first
    figures, note = truth_of("s", ["a", "b"], THEN, again, trained=True)
    assert figures["truth/s/m/divergence"] == pytest.approx(1 / math.sqrt(3 / 16)) and note is None
    assert figures["truth/s/m"] == 0.0 and figures["truth/s/reward"] == 1.0
    assert again == first, "the first stays the first"


def test_other_prompts_begin_anew_and_that_is_said() -> None:
    first = First()
    truth_of("s", ["a", "b"], FIRST, first, trained=True)
    figures, note = truth_of("s", ["a", "c"], THEN, first, trained=True)
    assert note is not None and "the held-out prompts of s are others than before" in note
    assert figures["truth/s/m/divergence"] == 0.0


def test_a_reward_that_is_not_trained_on_diverges_from_nothing() -> None:
    figures, _ = truth_of("s", ["a", "b"], FIRST, First(), trained=False)
    assert not [name for name in figures if "divergence" in name] and "truth/s/reward" in figures


# --------------------------------------------------------------------------------------------------- the best


def test_the_best_against_the_last_step() -> None:
    name = "truth/s/m"
    best = Best(name)
    best.see(4, {name: 0.75}, {name: [1.0, 1.0, 1.0, 0.0]})
    said = best.against(8, {name: 0.5}, {name: [1.0, 1.0, 0.0, 0.0]})
    half = 3.182446305284263 * 0.5 / 2
    assert said == (
        "best by truth/s/m: 0.750 at step 4; the last, step 8, has 0.500; the difference lies between "
        f"{0.25 - half:.3f} and {0.25 + half:.3f} (95 %, 4 prompts), which may be chance"
    )
    surely = best.against(8, {name: -1.0}, {name: [-0.8, -0.9, -0.8, -1.9]})
    assert surely is not None and surely.endswith("(95 %, 4 prompts), which is more than chance")
    assert best.against(4, {name: 0.75}, {}) == "best by truth/s/m: 0.750 at step 4, the last"
    assert best.against(9, {name: 0.75}, {name: [0.0, 1.0, 1.0, 1.0]}) == (
        "best by truth/s/m: 0.750 at step 4; the last, step 9, has 0.750, the same"
    )
    alone = Best(name, 4, 1.0, [1.0]).against(8, {name: 0.0}, {name: [0.0]})
    assert alone is not None and alone.endswith("1 prompt cannot say whether that is more than chance")
    assert Best("lr").against(8, {}, {}) is None
