"""Where in a response the answer stands, and what a policy could try instead of answering."""

from __future__ import annotations

import re
import string
from pathlib import Path

import pytest

from postlude.maths import hedges
from postlude.maths.extract import SEARCHED
from postlude.maths.golds import gold_text
from postlude.maths.verify import Verifier
from postlude.rewards.maths import maths
from tests.underway import in_little_time

TABLE = Path(__file__).parent.parent / "fixtures" / "maths_extraction.txt"


def _cases() -> list[tuple[bool, str, str]]:
    lines = [line for line in TABLE.read_text().splitlines() if line and not line.startswith("#")]
    pairs = [(line[0] == "=", line[2:].split(" ||| ")) for line in lines]
    return [(right, gold, response.replace("⏎", "\n")) for right, (gold, response) in pairs]


def test_every_response_of_the_table_is_judged_as_written() -> None:
    cases = _cases()
    results = Verifier().verify_all([(gold, response) for _, gold, response in cases])
    wrong = [(c, r.verdict, r.rule) for c, r in zip(cases, results, strict=True) if (r.score == 1) != c[0]]
    assert wrong == []
    assert len(cases) > 750


# ------------------------------------------------------------------------------------------------- what a recipe says


def test_what_follows_a_mark_of_the_recipe_is_read_up_to_the_end_of_its_tag() -> None:
    score = maths(after="<answer>")
    assert score(["<answer>7</answer>", "so <answer>8</answer>", "7"], ["7"] * 3) == [1.0, 0.0, 0.0]
    assert maths(after="</think>")(["<think>8</think><answer>7</answer>"], ["7"]) == [1.0]
    assert maths(after="FINAL")([r"<answer>8</answer> FINAL \boxed{7}"], ["7"]) == [1.0]


def test_only_the_rules_of_the_recipe_read() -> None:
    texts = [
        r"<answer>\boxed{7}</answer>",
        "<answer>7</answer>",
        "### Answer\n\n7",
        "so there are 7",
        "The answer is 7.",
    ]
    for rules, scores in (
        (["box"], [1.0, 0.0, 0.0, 0.0, 0.0]),
        (["tags"], [1.0, 1.0, 0.0, 0.0, 0.0]),
        (["stated"], [0.0, 0.0, 1.0, 0.0, 1.0]),
        (["sentence"], [0.0, 0.0, 0.0, 1.0, 1.0]),
    ):
        assert maths(rules=rules)(texts, ["7"] * 5) == scores, rules


# --------------------------------------------------------------------------------------------------------- the rule


@pytest.mark.parametrize(
    ("response", "verdict", "rule"),
    [
        ("<answer>7</answer>", "equal", "answer tag, exact"),
        ("<answer>7", "unparsable", "answer tag that is not closed"),
        ("<answer> </answer>", "unparsable", "empty answer tag"),
        ("<answer>7</answer> <answer>8</answer>", "ambiguous", "answer tag, another answer beside it"),
        (r"\boxed{7}. The answer is 8.", "ambiguous", "box, another answer after it"),
        (r"anything but \boxed{7}", "ambiguous", "box, denied beside it"),
        ("So there are 7.", "equal", "last sentence, exact"),
        ("I doubt the answer is 7.", "unparsable", "an answer that is not stated"),
        ("<|begin_of_box|>7", "unparsable", "box that is not closed"),
    ],
)
def test_why_an_answer_counts_or_not_is_told(response: str, verdict: str, rule: str) -> None:
    result = Verifier().verify("7", response)
    assert (result.verdict, result.rule) == (verdict, rule)


def test_several_boxes_say_in_how_many_pieces_they_were() -> None:
    result = Verifier().verify("2, 7", r"\boxed{7} and \boxed{2}")
    assert (result.verdict, result.rule, result.answer) == ("equal", "box, in 2 pieces, exact", "7, 2")


def test_listing_every_number_is_paid_for_no_gold() -> None:
    golds = ["12", "3, 4", "1, 2, 3", "(3, 4)", r"\{3, 4\}", "x=3, y=4", "C"]
    numbers, letters = [str(n) for n in range(100)], list("ABCDE")
    ways = [r"\boxed{%s}", "<answer>%s</answer>", "#### %s", "The answer is %s.", "Answer: %s"]
    tries = [
        join.join(way % n for n in some) for some in (numbers, letters) for way in ways for join in (" ", "\n", " or ")
    ]
    for gold in golds:
        results = [Verifier().verify(gold, response) for response in tries]
        assert [r.extracted for r in results if r.score == 1] == [], gold


# ---------------------------------------------------------------------------------------------------------- golds


@pytest.mark.parametrize(
    ("gold", "text"),
    [
        (r"so \boxed{2} and \boxed{7}", "2, 7"),
        (r"first \boxed{2}, no: finally \boxed{7}", "7"),
        (r"\boxed{7}, that is \boxed{7}", "7"),
        ("<think>8</think><answer>7</answer>", "7"),
        ("We add.\n#### 7", "7"),
        ("7", "7"),
    ],
)
def test_of_a_worked_solution_the_final_answer_is_the_gold(gold: str, text: str) -> None:
    assert gold_text(gold) == text


PIECES = [
    "or ", "a ", "km ", "the ", "not ", "if ", "wait ", "log ", "sin ", "No, ", "so x = ", "is a ", "be be ",
    "has ", "1 or ", "answer is ", "The answer is ", "is the answer ", "### Final Answer\n", "Answer: 1\n",
    "I choose ", "says \"", "答案是", r"\text{ or }", r"\text{", r"\frac", r"\frac1", r"\over", r"\sqrt{",
    r"\left(", r"\boxed{", r"\boxed{1} ", r"\begin{pmatrix}", "<answer>", "</answer>", "<answer>1</answer>",
    "#### 1\n", "<think ", "<!--", "~~", "**", "```", "&amp;", "$1$ or ", "1.", "1,", "0.777", "1,000,",
    "1 000 ", "12:30 ", "5 ft ", "10^", "(1,2),", r"[1,2]\cup", "or 7 ", "(a) ", "½", "²", "€",
    *string.printable,
]  # fmt: skip


@pytest.mark.parametrize(
    "around", ["{}", r"\boxed{{{}}}", "<answer>{}</answer>", r"\boxed{{\text{{{}}}}}", "The answer is {}"]
)
def test_long_responses_of_one_piece_are_judged_quickly(around: str) -> None:
    for piece in PIECES:
        with in_little_time(piece):
            result = Verifier().verify("12", around.format(piece * (30_000 // len(piece))))
        assert result.verdict in ("unparsable", "ambiguous", "different"), (piece, result)


@pytest.mark.parametrize("piece", ["not ", "7", "the ", "<think ", r"\boxed{", "answer is "])
def test_what_stands_long_before_the_end_is_not_searched(piece: str) -> None:
    with in_little_time():
        assert Verifier().verify("12", piece * (1_000_000 // len(piece)) + r". So it is \boxed{12}").verdict == "equal"
        assert Verifier().verify("12", r"\boxed{12}" + " so." * SEARCHED).verdict == "unparsable"


@pytest.mark.parametrize("length", [1500, 1990, 5000, 100_000])
def test_repeating_decimals_are_read_or_refused_quickly(length: int) -> None:
    with in_little_time():
        for text in ("0.%s...", "%s.5...", r"0.\overline{%s}", "0.(%s)", "%s", "%s!", "1.%s%%", r"\frac{1}{%s}"):
            Verifier().verify("7/9", r"\boxed{" + text.replace("%s", "7" * length) + "}")


def test_an_answer_has_at_most_two_thousand_characters() -> None:
    longest = "x+" * 999 + "7"
    for text, said in ((longest, False), (longest + "+7", True)):
        rule = Verifier().verify("12", r"\boxed{" + text + "}").rule
        assert ("more than 2,000 characters, the most that an answer may have" in rule) is said
    assert Verifier().verify("7", r"\boxed{" + "(" * 3000 + "7" + ")" * 3000 + "}").verdict == "equal"


@pytest.mark.parametrize("around", ["<answer> {} </answer>", "The answer is {}.", "**Answer:** {}"])
def test_bars_around_an_answer_are_an_absolute_value(around: str) -> None:
    assert Verifier().verify("|x-3|", around.format("|x-3|")).verdict == "equal"
    assert Verifier().verify("x-3", around.format("|x-3|")).verdict == "different"


BESIDE_A_DENIAL = (
    "a agree all an answer answered any anyone anything are as ask asked at be believe bigger can case choice claim "
    "correct could definitely did do each equal equals es every everything exercise ext fewer final for from g greater "
    "higher i in insist is it its just know larger less likely lower mean more must my n number of option our possible "
    "problem puzzle question response result right s said say simply smaller some task that the they think this to "
    "true value want wanted was we would you your"
)
"""Words of the patterns that deny nothing by themselves: each stands there with one of `_TRIGGERS`."""


@pytest.mark.parametrize("pattern", [hedges._DENIED, hedges._ELSEWHERE])
def test_a_word_that_denies_is_looked_for_first(pattern: re.Pattern[str]) -> None:
    """One that stands in the pattern alone would never deny, in silence."""
    words = set(re.findall("[a-z]+", re.sub(r"\\[a-zA-Z]", " ", pattern.pattern).lower()))
    beside = set(BESIDE_A_DENIAL.split())
    assert words - beside <= hedges._TRIGGERS
    assert not beside & hedges._TRIGGERS
