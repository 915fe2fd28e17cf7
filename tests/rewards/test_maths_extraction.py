"""Where in a response the answer stands, and what a policy could try instead of answering."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from postlude.maths.extract import extract
from postlude.maths.golds import gold_text
from postlude.maths.verify import Verifier
from postlude.rewards.maths import maths

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


@pytest.mark.parametrize(
    "part", [r"\boxed{1} ", "<answer>", "</answer>", "the answer is ", "is the answer ", "(a) ", "or 7 "]
)
def test_long_responses_of_one_piece_are_read_quickly(part: str) -> None:
    started = time.process_time()
    extract(part * 20_000)
    assert time.process_time() - started < 5.0


@pytest.mark.parametrize("around", ["<answer> {} </answer>", "The answer is {}.", "**Answer:** {}"])
def test_bars_around_an_answer_are_an_absolute_value(around: str) -> None:
    assert Verifier().verify("|x-3|", around.format("|x-3|")).verdict == "equal"
    assert Verifier().verify("x-3", around.format("|x-3|")).verdict == "different"
