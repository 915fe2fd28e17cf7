"""Answers of several parts: lists, sets, tuples, plus-minus, labels, assignments, intervals, matrices."""

from __future__ import annotations

from pathlib import Path

import pytest

from postlude.maths.compare import Comparison
from postlude.maths.problems import Unreadable
from postlude.maths.reading import read
from postlude.maths.verify import Verifier

TABLE = Path(__file__).parent.parent / "fixtures" / "maths_structures.txt"
"""Lines `= GOLD ||| ANSWER` (the same) or `! GOLD ||| ANSWER` (not); a line that begins with # is a heading."""


def _cases() -> list[tuple[str, str, str]]:
    lines = [line for line in TABLE.read_text().splitlines() if line and not line.startswith("#")]
    return [(line[0], *(part.strip() for part in line[2:].split(" ||| "))) for line in lines]  # type: ignore[misc]


def test_every_pair_of_the_table_is_judged_as_written() -> None:
    cases = _cases()
    results = Verifier().verify_all([(gold, rf"\boxed{{{answer}}}") for _, gold, answer in cases])
    wrong = [(c, r.verdict, r.rule) for c, r in zip(cases, results, strict=True) if (r.score == 1) != (c[0] == "=")]
    assert wrong == []
    assert len(cases) > 400


def test_the_table_is_judged_the_same_way_round_from_both_sides() -> None:
    for _, gold, answer in _cases():
        try:
            a, b = read(gold), read(answer)
        except Unreadable:
            continue
        there, back = Comparison().same(a, b), Comparison().same(b, a)
        assert (there is True, there is False) == (back is True, back is False), (gold, answer)


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
