"""What holds for any number, form or text: reflexive, symmetric, never an error, never slow."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.maths_properties.trials import MAKERS, tried
from postlude.maths.compare import Comparison
from postlude.maths.extract import extract
from postlude.maths.problems import Unreadable
from postlude.maths.reading import read
from postlude.maths.verify import Verifier
from tests.underway import in_little_time

FRACTIONS = st.fractions(max_denominator=10**6)
FORMS = [
    lambda q: rf"\frac{{{q.numerator}}}{{{q.denominator}}}",
    lambda q: f"{q.numerator}/{q.denominator}",
    lambda q: rf"\dfrac{{{q.numerator * 3}}}{{{q.denominator * 3}}}",
    lambda q: rf"-\tfrac{{{-q.numerator}}}{{{q.denominator}}}",
    lambda q: rf"x = {q.numerator}\div {q.denominator}",
    lambda q: rf"$ \left( {q.numerator} \cdot {q.denominator}^{{-1}} \right) $",
    lambda q: rf"\frac{{{q.numerator}\sqrt{{2}}}}{{{q.denominator}\sqrt 2}}",
    lambda q: rf"({q}+x)-x",
]
PIECES = st.sampled_from([
    *r"0123456789.,+-*/^_=<>()[]{}|!%$&;:'", "\\", r"\frac", r"\sqrt", r"\pi", r"\pm", r"\text{", r"\text{ or }",
    r"\{", r"\}", r"\left(", r"\infty", r"\cup", r"\in", r"\le", r"\boxed{", r"\begin{pmatrix}", r"\end{pmatrix}",
    r"\\", "x", "i", r"\sin", r"\log", " or ", " and ", "cm", "°", "²", "½", "7", "10", r"\circ", "\n", r"\binom",
    r"\overline{", "####", "%", "¤", "£",
])  # fmt: skip
NASTY = st.lists(PIECES, max_size=40).map("".join)


@given(FRACTIONS, st.sampled_from(FORMS), st.sampled_from(FORMS))
def test_a_rational_equals_itself_in_every_form(value: Fraction, one: object, other: object) -> None:
    assert Comparison().same(read(one(value)), read(other(value))) is True  # type: ignore[operator]


@given(FRACTIONS, FRACTIONS, st.sampled_from(FORMS), st.sampled_from(FORMS))
def test_two_rationals_are_equal_only_if_they_are(a: Fraction, b: Fraction, one: object, other: object) -> None:
    found = Comparison().same(read(one(a)), read(other(b)))  # type: ignore[operator]
    assert found is (a == b)
    assert found is Comparison().same(read(other(b)), read(one(a)))  # type: ignore[operator]


@given(st.integers(min_value=-(10**30), max_value=10**30))
def test_a_number_and_the_next_differ_in_every_grouping(n: int) -> None:
    forms = [str(n), f"{n:,}", f"{n:,}".replace(",", r"\,"), f"{n:,}".replace(",", "{,}"), f"{n}.0"]
    for form in forms:
        assert Comparison().same(read(form), read(str(n))) is True
        assert Comparison().same(read(form), read(str(n + 1))) is False


@given(st.lists(st.integers(-50, 50), min_size=2, max_size=5), st.randoms(use_true_random=False))
def test_a_set_has_no_order_and_a_tuple_has(items: list[int], random: object) -> None:
    mixed = list(items)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    one, other = ", ".join(map(str, items)), ", ".join(map(str, mixed))
    assert Comparison().same(read(rf"\{{{one}\}}"), read(rf"\{{{other}\}}")) is True
    assert Comparison().same(read(f"({one})"), read(f"({other})")) is (items == mixed)


@settings(max_examples=400, deadline=None)
@given(st.one_of(NASTY, st.text(max_size=60)))
def test_any_text_is_read_or_refused_quickly(text: str) -> None:
    with in_little_time():
        try:
            value = read(text)
        except Unreadable as problem:
            assert str(problem)
        else:
            assert str(value) and Comparison().same(value, value) is not False


@settings(max_examples=300, deadline=None)
@given(st.one_of(NASTY, st.text(max_size=60)), st.one_of(NASTY, st.text(max_size=60)))
def test_comparing_is_symmetric_for_any_two_texts(one: str, other: str) -> None:
    try:
        a, b = read(one), read(other)
        found, back = Comparison().same(a, b), Comparison().same(b, a)
    except Unreadable:
        return
    assert (found is True, found is False) == (back is True, back is False)


@settings(max_examples=300, deadline=None)
@given(st.one_of(NASTY, st.text(max_size=200)))
def test_any_response_gets_a_verdict_that_is_no_error(text: str) -> None:
    result = Verifier().verify("7", text)
    assert result.verdict != "error", result.trace
    assert result.rule


PARTS = ["\\boxed{", "\\boxed{7} ", "$", "answer is ", "answer: 7\n", "(", "{", "\\(", "####", "**", " ", "\n", "or ",
         "no ", "7 ", "<think>", "</think>", "\\", "-", "$7$ ", "not ", ". ", "1,", "\\[", "$$"]  # fmt: skip


@pytest.mark.parametrize("part", PARTS)
def test_long_responses_are_read_quickly(part: str) -> None:
    with in_little_time():
        extract(part * 20_000 + "x")
        Verifier().verify("7", "answer is" + part * 20_000)


TEXTS = [
    "+".join(["x"] * 900), "1" + "+1" * 990, "2" + "\\cdot 3" * 280, "-" * 1900 + "1", "1" + "/2" * 900,
    "x" + "^2" * 500, "(x+1)" * 300, "(x+y+z+1)^{30}", "\\sqrt{" * 39 + "2" + "}" * 39, "999!" * 400, "999!^{9}",
    "2^{9999}" * 200,
    "x^{99999999999999999999}", "|" * 1000 + "x", "\\frac" * 300, "\\sin " * 300 + "x", "1!" * 700, "°" * 900,
    ",".join("12" * 400), "{" * 900 + "}" * 900, "\\sqrt{123456789012345678901234567890123456789}", "\\pm" * 900 + "1",
    "\\log_{7}{" + "9" * 900 + "}", "x_{" * 30 + "1" + "}" * 30, "\\text{" * 300 + "}" * 300,
    "3 \\frac{" * 20 + "1}{2}" * 20, "+".join(f"\\frac{{1}}{{x+{i}}}" for i in range(90)), "e^{" * 39 + "x" + "}" * 39,
    "\\overline{" * 100 + "3" + "}" * 100, "1 \\text{cm}" * 150, "\\{" * 40 + "1" + "\\}" * 40,
    ", ".join(f"\\sin {i}" for i in range(150)), ",".join(map(str, range(10, 99))) * 8,
]  # fmt: skip


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: text[:12])
def test_no_expression_takes_long_on_the_exact_path(text: str) -> None:
    with in_little_time():
        try:
            value = read(text)
            Comparison().same(value, value)
            Comparison().same(value, read("7"))
        except Unreadable:
            pass


def test_random_values_are_equal_in_every_spelling_and_to_no_other() -> None:
    tally = tried(0, 15 * len(MAKERS))
    assert {kind for kind, _ in tally.tried} >= {"integer", "set", "interval", "matrix", "line"}
    assert not [t for t in tally.broken if not t.right]
