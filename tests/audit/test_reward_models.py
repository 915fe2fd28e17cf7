"""Figures of reward models, against values worked out by hand."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest

from postlude.audit.reward_models import (
    Compared,
    Labelled,
    ensemble_figures,
    label_figures,
    pair_figures,
    pairs_of,
)
from postlude.statistics import auc, calibration_error, pearson, reliability, spearman, wilson


def test_the_module_needs_no_torch() -> None:
    code = "import sys, postlude.audit.reward_models, postlude.feedback.convert; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_statistics_by_hand() -> None:
    assert wilson(1, 2) == pytest.approx((0.0945, 0.9055), abs=1e-3)
    assert pearson([1, 2, 3], [2, 4, 7]) == pytest.approx(5 / math.sqrt(2 * 114 / 9))
    assert pearson([1, 1], [1, 2]) is None
    assert spearman([1, 2, 2, 9], [1, 3, 3, 4]) == pytest.approx(1.0)
    assert auc([0.1, 0.4, 0.4, 0.8], [False, False, True, True]) == pytest.approx(3.5 / 4)
    assert auc([1.0], [True]) is None


def test_calibration_by_hand() -> None:
    bins = reliability([0.05, 0.0, 1.0, 0.95], [0, 1, 1, 1])
    assert [b.count for b in bins] == [2, *[0] * 8, 2]
    assert calibration_error(bins) == pytest.approx((2 * 0.475 + 2 * 0.025) / 4)


def test_all_pairs_of_a_list_but_those_of_equals() -> None:
    assert set(pairs_of([2.0, 1.0, 1.0], 5)) == {(5, 6), (5, 7)}


def test_pairs_count_ties_as_half() -> None:
    scores = [2.0, 0.0, 1.0, 1.0, 0.0, 3.0]
    found = pair_figures(scores, Compared([5, 2, 3, 3, 1, 9], [(0, 1), (2, 3), (4, 5)], "aabbcc"))
    assert found["accuracy"] == pytest.approx(0.5) and found["ties"] == 1
    assert found["margin"] == pytest.approx((2 + 0 - 3) / 3)
    assert found["score_std"] == pytest.approx(math.sqrt(sum((s - 7 / 6) ** 2 for s in scores) / 6))
    sure = [1 / (1 + math.exp(-x)) for x in (2, 0, 3)]
    # 0.881, 0.5 and 0.953 fall into bins of their own: right, half right, wrong
    assert found["ece"] == pytest.approx((abs(sure[0] - 1) + 0 + sure[2]) / 3)
    counts = {b["better_is"]: b["pairs"] for b in found["by_length"]}
    assert counts == {
        "shorter by more than 5": 1, "shorter by up to 5": 0, "as long": 1, "longer by up to 5": 1,
        "longer by more than 5": 0,
    }  # fmt: skip
    assert sum(b["count"] for b in found["reliability"]) == found["pairs"]


def test_labels_are_judged_at_zero() -> None:
    found = label_figures([1.0, -1.0, 2.0, 0.0], Labelled([1.0, 0.0, 0.2, 0.5], "abcd"))
    assert found["accuracy"] == pytest.approx(2 / 3) and found["good"] == 1 and found["judged"] == 4
    assert found["auc"] == pytest.approx(0.5)
    assert "length_pearson" not in found


def test_an_ensemble_doubts_where_it_errs() -> None:
    # the members agree on the first pair, and are at odds on the second, where their mean is wrong
    data = Compared([1, 1, 1, 1], [(0, 1), (2, 3)], "aabb")
    found = ensemble_figures([[3.0, -3.0, 0.0, 0.5], [3.0, -3.0, -2.0, 2.0]], data)
    assert found["each"] == [0.5, 0.5] and found["combined"]["mean"] == 0.5
    assert found["disagreement"] > 0 and found["disagreement_wrong_pearson"] == pytest.approx(1.0)
    same = ensemble_figures([[1.0, 0.0, 2.0, 0.0], [2.0, 0.0, 4.0, 0.0]], data)
    assert same["disagreement"] == pytest.approx(0.0) and same["combined"] == {
        "mean": 1.0, "worst": 1.0, "uncertainty": 1.0,
    }  # fmt: skip
    one = (4.0 * same["scale"][1]) - same["shift"][1] * same["scale"][1]
    assert one == pytest.approx((2.0 - same["shift"][0]) * same["scale"][0])
