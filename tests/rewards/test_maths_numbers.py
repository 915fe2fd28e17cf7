"""Spellings of numbers, units and text: which are one answer, and which must stay two."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import pytest

from postlude.maths.verify import Verifier
from tests.underway import in_little_time

TABLE = Path(__file__).parent.parent / "fixtures" / "maths_numbers.txt"
VERIFIER = Verifier()


def _cases() -> Iterator[tuple[str, str, str, bool]]:
    """(section, gold, answer, whether they are one answer)."""
    section = gold = ""
    for line in TABLE.read_text(encoding="utf-8").splitlines()[1:]:
        if line.startswith("# "):
            section = line[2:]
        elif line[:2] in ("= ", "! "):
            yield from ((section, gold, answer.strip(), line[0] == "=") for answer in line[2:].split(" | "))
        elif line:
            gold = line


def _equal(gold: str, answer: str) -> bool:
    return VERIFIER.verify(gold, rf"The result: \boxed{{{answer}}}").verdict == "equal"


@pytest.mark.parametrize(("section", "cases"), [(k, list(v)) for k, v in groupby(_cases(), lambda case: case[0])])
def test_spellings_are_one_answer_and_others_another_both_ways(
    section: str, cases: list[tuple[str, str, str, bool]]
) -> None:
    both = [(gold, answer, same) for _, gold, answer, same in cases]
    both += [(answer, gold, same) for _, gold, answer, same in cases]
    assert [(gold, answer) for gold, answer, same in both if _equal(gold, answer) != same] == []


def test_spaces_of_unicode_group_digits() -> None:
    for space in ("\u2009", "\u202f", "\u00a0"):
        assert _equal("8250", f"8{space}250")


def test_a_gold_that_estimates_takes_the_value_and_an_answer_that_does_says_less() -> None:
    for gold in ("About 30.12 miles per hour", r"\text{About }30.12\text{ mph}", "approximately 30.12 mph"):
        assert _equal(gold, r"30.12\text{ mph}")
        assert _equal(gold, "about 30.12 miles per hour")
        assert not _equal(gold, r"30.21\text{ mph}")
    assert not _equal("30.12", "about 30.12")


def test_a_gold_of_words_around_values_is_told_as_such() -> None:
    assert VERIFIER.only_text(r"\$3000 @ 11\%") == "it is values with words around them"
    assert VERIFIER.only_text(r"\$3000") is None


def test_words_in_brackets_in_each_other_are_read_in_no_time() -> None:
    deep = "max x = (" * 38 + "5" + ")" * 38
    with in_little_time():
        VERIFIER.verify("5", rf"\boxed{{{deep}}}")


@pytest.mark.parametrize(
    ("gold", "answer", "same"),
    [
        (r"12\text{ cubic units}", r"12\text{ square units}", False),
        (r"45\text{ units}^2", r"45\text{ units}^3", False),
        (r"45\text{ units}^2", "45 square units", True),
        (r"45\text{ units}^2", "45", True),
        ("45", r"45\text{ units}^2", True),
        (r"45\text{ square units}", r"45\text{ cm}^2", True),
        (r"45\text{ square units}", r"45\text{ cm}^3", False),
        (r"45\text{ square units}", r"45\text{ kg}", False),
        (r"45\text{ units}", r"45\text{ cm}", True),
        (r"45\text{ units}", r"46\text{ units}", False),
        (r"45\text{ kg}", r"45\text{ seconds}", False),
        (r"45\text{ kg}^2", r"45\text{ seconds}^2", False),
    ],
)
def test_square_units_are_no_cubic_ones(gold: str, answer: str, same: bool) -> None:
    assert (Verifier().verify(gold, rf"\boxed{{{answer}}}").verdict == "equal") is same
