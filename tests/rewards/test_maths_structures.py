"""Answers of several parts: lists, sets, tuples, plus-minus, labels, assignments, intervals, matrices."""

from __future__ import annotations

import pytest

from postlude.maths.problems import Unreadable
from postlude.maths.reading import read
from tests.maths_tables import lopsided, misjudged, pairs_of

PAIRS = pairs_of("maths_structures.txt")


def test_every_pair_of_the_table_is_judged_as_written() -> None:
    assert misjudged(PAIRS) == []
    assert len(PAIRS) > 400


def test_the_table_is_judged_the_same_way_round_from_both_sides() -> None:
    assert lopsided(PAIRS) == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("0=0", "an equation that says nothing"),
        ("w^{0}=1", "an equation that says nothing"),
        ("[1,2,3)", "a tuple in brackets of two kinds"),
        (r"\pm1\pm2\pm3\pm4\pm5", r"more than 4 signs \pm in one item"),
        ("x = 7 = 8", "the sides of an equation differ"),
    ],
)
def test_what_says_nothing_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(Unreadable, match=reason.replace("\\", r"\\")):
        read(text)
