"""Conventions of the maths reward: each example flips, the defaults stay, and what no convention is about stays too."""

from __future__ import annotations

from dataclasses import fields, replace
from fractions import Fraction
from pathlib import Path

import pytest

from postlude.errors import ConfigError
from postlude.maths.conventions import TABLE, Conventions, choices, conventions_of
from postlude.maths.verify import Verifier
from postlude.rewards.maths import maths
from postlude.rewards.resolve import resolve
from postlude.rewards.spec import RewardSpec

DOCS = Path(__file__).parents[2] / "docs" / "maths.md"
USUAL = Verifier()


def with_choice(name: str, choice: str) -> Verifier:
    return Verifier(conventions=conventions_of({name: choice}))


def equal(verifier: Verifier, gold: str, answer: str) -> bool:
    return verifier.verify(gold, rf"\boxed{{{answer}}}").verdict == "equal"


def test_the_table_has_every_convention_once_in_order():
    assert [row.name for row in TABLE] == [f.name for f in fields(Conventions)]
    assert [choices(f.name)[0] for f in fields(Conventions)] == [f.default for f in fields(Conventions)]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_each_choice_flips_an_example(row):
    assert len(row.examples) >= 2 and {e.choice for e in row.examples} == {*choices(row.name)[1:]}
    for e in row.examples:
        assert equal(with_choice(row.name, e.choice), e.gold, e.answer) is not equal(USUAL, e.gold, e.answer), e


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_every_gold_stays_equal_to_itself_and_its_choice_is_symmetric(row):
    for e in row.examples:
        verifier = with_choice(row.name, e.choice)
        assert equal(verifier, e.gold, e.gold) and equal(verifier, e.answer, e.answer)
        if row.name not in ("equations", "options"):  # which say what only an answer may leave out
            assert equal(verifier, e.gold, e.answer) is equal(verifier, e.answer, e.gold)


SAME = [
    ("units", "required", r"100\text{ cm}", r"1\text{ m}"),
    ("units", "required", r"180^\circ", r"\pi"),
    ("percent", "share", r"50\%", r"\frac12"),
    ("percent", "points", r"50\%", "50"),
    ("percent", "required", r"50\%", r"\frac{100}{2}\%"),
    ("labels", "required", "x=5", "x=5.0"),
    ("labels", "required", "x=1, y=2", "y=2, x=1"),
    ("order", "written", "1, 2", r"1 \text{ and } 2"),
    ("order", "written", r"\{1, 2\}", "2, 1"),
    ("order", "written", r"1 \text{ or } 2", r"2 \text{ or } 1"),
    ("repeats", "ignored", "1, 2", "2, 1, 2"),
    ("braces", "required", r"\{1, 2\}", r"\{2, 1\}"),
    ("tuples", "bare", "(1, 2)", "(1, 2)"),
    ("brackets", "alike", "[0, 1)", "[0, 1)"),
    ("brackets", "alike", "(0, 1)", "0<x<1"),
    ("vectors", "distinct", "[[1,2],[3,4]]", r"\begin{pmatrix}1&2\\3&4\end{pmatrix}"),
    ("constants", "as written", r"y''=2", r"\frac{d^2y}{dx^2}=2"),
    ("unsolved", "equal", "x<-2", "-3x>6"),
    ("unsolved", "equal", r"x\le 2", r"6-2x\ge 2"),
    ("options", "letter", "C. 12", "C"),
    ("options", "both", "C. 12", "(C) 12"),
    ("log", "ten", r"\log 1000", "3"),
    ("log", "e", r"\log e^2", "2"),
    ("log", "ten", r"\log_2 8", "3"),
    ("decimal", "comma", "1234.5", "1.234,5"),
    ("decimal", "comma", "1, 2, 3", "1,2,3"),
    ("decimal", "comma", "0.125", r"\frac18"),
]
"""What a choice leaves equal."""
DIFFERENT = [
    ("units", "required", r"5\text{ apples}", "5"),
    ("units", "required", r"5\text{ cm}", r"5\text{ m}"),
    ("percent", "share", "0.5", r"5\%"),
    ("percent", "points", "50", r"5\%"),
    ("labels", "required", "x=5", "y=5"),
    ("order", "written", "1, 2, 3", "1, 2"),
    ("repeats", "ignored", "1, 2", "1, 1"),
    ("repeats", "ignored", "(1, 1)", "(1, 1, 1)"),
    ("tuples", "bare", "(1, 2)", "2, 1"),
    ("tuples", "bare", "(1, 2)", r"\{1, 2\}"),
    ("tuples", "bare", "(1, 2)", "1, 2, 3"),
    ("brackets", "alike", "[0, 1)", "(0, 1)"),
    ("brackets", "alike", "[0, 1)", "[0, 1]"),
    ("brackets", "alike", r"(-\infty, 1)", r"(-\infty, 1]"),
    ("brackets", "alike", "(1, 2)", "[2, 1]"),
    ("unsolved", "equal", "x>2", "2x>3"),
    ("unsolved", "equal", "x>2", r"2x\ge 4"),
    ("unsolved", "equal", "x<-2", "-3x<6"),
    ("unsolved", "equal", "x>2", "2y>4"),
    ("unsolved", "equal", "x=5", "2y=10"),
    ("options", "letter", "C. 12", "D"),
    ("options", "both", "C. 12", "(C) 13"),
    ("log", "ten", r"\ln x", r"\log x"),
    ("log", "e", r"\log_{10} x", r"\log x"),
    ("decimal", "comma", "1.5", "1, 5"),
    ("decimal", "comma", "1.5", "1,50,2"),
    ("decimal", "comma", "125", "0.125"),
]
"""What stays different."""


@pytest.mark.parametrize(("cases", "expected"), [(SAME, True), (DIFFERENT, False)], ids=["same", "different"])
def test_a_choice_is_about_its_own_matter(cases, expected):
    wrong = [c for c in cases if equal(with_choice(c[0], c[1]), c[2], c[3]) is not expected]
    assert not wrong


NAMES = [
    ("=", "y'=2x", r"\frac{dy}{dx}=2x"),
    ("=", r"\frac{d^2y}{dx^2}=2x", "y''=2x"),
    ("!", "y''=2x", r"\frac{dy}{dx}=2x"),
    ("!", "z'=2x", r"\frac{dy}{dx}=2x"),
    ("!", "y'=2x", r"\frac{dx}{dy}=2x"),
    ("!", "y'=2x", r"\frac{dy}{dx}=3x"),
    ("!", "y'=2x", "y=2x"),
    ("=", "PV=nRT", "nRT=PV"),
    ("=", "nRT=PV", "PV=nRT"),
    ("=", "PV=nRT", r"P=\frac{nRT}{V}"),
    ("!", "PV=nRT", "PV=nrT"),
    ("!", "PV=nRT", "PT=nRV"),
    ("!", "PV=nRT", "P=nRT"),
    ("=", "nRT", r"\text{nRT}"),
    ("=", "kWh", r"\text{kWh}"),
    ("=", "AC=BD", "BD=AC"),
    ("!", "AC=BD", "AB=CD"),
    ("!", "AB=5", "AC=5"),
    ("=", "xyz", "zyx"),
    ("=", "xyz=6", "zxy=6"),
    ("!", "xyz", "xyw"),
    ("!", "xyz", "xy+z"),
    ("!", "CAB", "ABC"),
    ("!", "acb", "abc"),
]
"""Names of derivatives, and letters in a row; orders such as CAB stay what they are."""


def test_names_and_letters_in_a_row():
    assert not [case for case in NAMES if equal(USUAL, case[1], case[2]) is not (case[0] == "=")]


ABBREVIATED = [
    ("=", "Ans. 17"),
    ("=", "So he has 17 apples.\n**Ans.** $17$"),
    ("=", "Ans. is 17"),
    ("!", "Not Ans. 17"),
    ("!", "Ans. 17 is wrong"),
    ("!", "Ans. 17 or 18"),
    ("!", "See Trans. 17"),
    ("!", "Ans. 17 + 1"),
]


def test_an_abbreviated_label():
    wrong = [c for c in ABBREVIATED if (USUAL.verify("17", c[1]).verdict == "equal") is not (c[0] == "=")]
    assert not wrong


def test_several_boxes_are_a_list_and_have_its_order():
    ordered = with_choice("order", "written")
    right, turned = r"\boxed{1} and \boxed{2}", r"\boxed{2} and \boxed{1}"
    assert USUAL.verify("1, 2", turned).verdict == "equal"
    assert ordered.verify("1, 2", right).verdict == "equal" and ordered.verify("1, 2", turned).verdict == "different"


def test_algebra_takes_the_base_of_the_logarithm():
    gold, answer = r"\sin^2 x+\cos^2 x+\ln y", r"1+\log y"
    assert not equal(USUAL, gold, answer) and equal(with_choice("log", "e"), gold, answer)


def test_conventions_go_together():
    both = Verifier(Fraction(1, 100), conventions=Conventions(units="required", labels="required"))
    assert equal(both, r"5\text{ cm}", r"5.01\text{ cm}")
    assert not equal(both, r"5\text{ cm}", "5.01") and not equal(both, "x=5", "5")
    assert replace(Conventions(), units="required") != Conventions()


def test_a_decimal_comma_in_golds_and_numbers_of_the_data():
    verifier = with_choice("decimal", "comma")
    assert verifier.verify("1.234", r"\boxed{1234}").verdict == "equal"
    assert verifier.verify(1.234, r"\boxed{1,234}").verdict == "equal"
    assert verifier.verify("2,5", "The answer is 2,5.").verdict == "equal"


def test_the_reward_takes_them_from_a_recipe():
    reward = resolve(RewardSpec(use="maths", args={"conventions": {"units": "required", "order": "written"}}))
    assert reward([r"\boxed{5}"] * 2, [r"5\text{ cm}", "5"]) == [0.0, 1.0]
    assert maths()([r"\boxed{5}"], [r"5\text{ cm}"]) == [1.0]
    assert maths(conventions=Conventions(percent="points"))([r"\boxed{50}"], [r"50\%"]) == [1.0]


def test_what_is_no_convention_is_told_all_at_once():
    spec = RewardSpec(use="maths", args={"conventions": {"unit": "required", "order": "writen", "percent": 5}})
    with pytest.raises(ConfigError) as raised:
        resolve(spec)
    text = str(raised.value)
    assert "did you mean 'conventions.units'?" in text
    assert 'conventions.order is "writen"; allowed: any, written.' in text and "Did you mean 'written'?" in text
    assert "conventions.percent is 5" in text


@pytest.mark.parametrize(
    ("chosen", "words"),
    [({"unit": "required"}, "Did you mean 'units'"), ({"units": "must"}, "allowed: optional, required")],
)
def test_python_callers_are_told_too(chosen, words):
    with pytest.raises(ValueError, match=words):
        conventions_of(chosen)


def table() -> str:
    """The table of the documents."""
    rows = [
        f"| `{row.name}` | {', '.join(f'`{c}`' for c in choices(row.name))} | {row.about} "
        f"| {'; '.join(_example(e) for e in row.examples)} |"
        for row in TABLE
    ]
    return "\n".join(
        ["| name | choices | rule, in the order of the choices | for example |", "|---|---|---|---|", *rows]
    )


def _example(e) -> str:
    usual = "is" if equal(USUAL, e.gold, e.answer) else "is not"
    other = "not" if usual == "is" else "is"
    return f"`{e.gold}` {usual} `{e.answer}`, {other} with `{e.choice}`"


def test_the_documents_have_the_table_of_the_code():
    assert table() in DOCS.read_text(encoding="utf-8")
