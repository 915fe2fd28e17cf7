"""Built-in rewards on text and length."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from postlude.data import Completion, Group, Prompt
from postlude.rewards.resolve import BUILT_IN
from postlude.rewards.rewards import Rewards
from postlude.rewards.spec import RewardSpec
from postlude.rewards.text import exact, format_, length, overlong, regex, repetition, text_of


def chat(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": "before"}, {"role": "assistant", "content": text}]


def test_the_text_of_a_chat_answer_is_its_last_message() -> None:
    assert text_of("plain") == "plain"
    assert text_of(chat("last")) == "last"


# ------------------------------------------------------------------------------------------------------ exact


@pytest.mark.parametrize(
    ("arguments", "text", "answer", "expected"),
    [
        ({}, "42", "42", 1.0),
        ({}, " 42\n", "42", 1.0),
        ({}, "42", " 42 ", 1.0),
        ({}, "42", 42, 1.0),
        ({}, "42.", "42", 0.0),
        ({}, "x 42", "42", 0.0),
        ({}, "", "42", 0.0),
        ({}, "Yes", "yes", 0.0),
        ({"ignore_case": True}, "YES", "yes", 1.0),
        ({"ignore_case": True}, "STRASSE", "straße", 1.0),
        ({"strip": False}, " 42", "42", 0.0),
        ({"strip": False}, "42", "42", 1.0),
        ({"after": "#"}, "1+1 #42", "42", 1.0),
        ({"after": "#"}, "#41 #42", "42", 1.0),
        ({"after": "#"}, "#42 #41", "42", 0.0),
        ({"after": "#"}, "42", "42", 0.0),
        ({"after": "#"}, "42#", "42", 0.0),
        ({"after": "Answer: "}, "Answer: 42", "42", 1.0),
    ],
)
def test_exact(arguments: dict[str, Any], text: str, answer: Any, expected: float) -> None:
    assert exact(**arguments)(completions=[text], answer=[answer]) == [expected]


def test_exact_reads_chat_answers_and_compares_each_with_its_own() -> None:
    found = exact()(completions=[chat("1"), chat("2"), "3"], answer=["1", "1", "3"])
    assert found == [1.0, 0.0, 1.0]


@pytest.mark.parametrize("use", [exact(), regex(r"(\w+)", 1)])
def test_an_answer_that_the_data_lack_cannot_be_scored(use: Any) -> None:
    assert use(completions=["None", "a"], answer=[None, "a"]) == [None, 1.0]


# ------------------------------------------------------------------------------------------------------ regex


def test_regex_finds_the_pattern_anywhere() -> None:
    reward = regex(r"<b>.*</b>")
    found = reward(completions=["x <b>1\n2</b> y", "<b>", chat("<b></b>"), ""])
    assert found == [1.0, 0.0, 1.0, 0.0]


def test_a_group_of_the_last_match_is_compared_with_the_answer() -> None:
    reward = regex(r"=\s*(?P<value>\d+)", "value")
    texts = ["= 41, = 42", "= 42, = 41", "42", "=42", chat("=42")]
    assert reward(completions=texts, answer=["42", "42", "42", 42, " 42 "]) == [1.0, 0.0, 0.0, 1.0, 1.0]


def test_a_group_that_was_only_thought_is_no_answer() -> None:
    reward = regex(r"is (\d+)", 1)
    texts = ["<think>it is 42</think>", "<think>it is 41</think>it is 42", "<think>it is 42", "it is 42<think>hm"]
    assert reward(completions=texts, answer=["42"] * 4) == [0.0, 1.0, 0.0, 0.0]
    assert regex(r"</think>\s*(\d+)|(x)", 1)(completions=["a</think> 42", "a</think> 42x"], answer=["42"] * 2) == [
        1.0,
        0.0,
    ]


def test_group_zero_is_the_whole_match() -> None:
    assert regex(r"\d+", 0)(completions=["a 7 b", "a 8"], answer=["7", "7"]) == [1.0, 0.0]


# ----------------------------------------------------------------------------------------------------- format


def test_format_asks_for_the_whole_answer() -> None:
    reward = format_(r"<think>.*</think>\d+")
    texts = [
        "<think>a\nb</think>42",
        " <think></think>1\n",
        "so <think></think>1",
        "<think></think>1.",
        chat("<think></think>1"),
    ]
    assert reward(completions=texts) == [1.0, 1.0, 0.0, 0.0, 1.0]


# ----------------------------------------------------------------------------------------------------- length


def test_length_costs_one_at_the_limit_and_never_more() -> None:
    assert length(4)(completion_ids=[[], [1], [1] * 4, [1] * 9]) == [0.0, -0.25, -1.0, -1.0]


def test_overlong_falls_from_zero_to_minus_one_before_the_limit() -> None:
    ids = [[1] * n for n in (0, 6, 7, 8, 9, 10, 11)]
    assert overlong(10, 4)(completion_ids=ids) == [0.0, 0.0, -0.25, -0.5, -0.75, -1.0, -1.0]


def test_the_ramp_of_overlong_is_a_fifth_of_the_limit() -> None:
    ids = [[1] * n for n in (16, 18, 20)]
    assert overlong(20)(completion_ids=ids) == [0.0, -0.5, -1.0]


@pytest.mark.parametrize(
    ("ngram", "ids", "expected"),
    [
        (2, [], 0.0),
        (2, [1], 0.0),
        (2, [1, 1], 0.0),
        (2, [1, 1, 1], -0.5),
        (2, [1, 2, 1, 2], -1 / 3),
        (2, [1, 2, 3, 4], 0.0),
        (1, [5, 5, 5, 5], -0.75),
        (4, [1, 2, 3] * 100, -294 / 297),
        (3, [1, 2, 1, 2], 0.0),
    ],
)
def test_repetition_is_the_share_of_n_grams_that_were_there_before(ngram: int, ids: list[int], expected: float) -> None:
    assert repetition(ngram)(completion_ids=[ids]) == [pytest.approx(expected)]


# -------------------------------------------------------------------------------------------------------- all

CASES: dict[str, tuple[dict[str, Any], list[float]]] = {
    "exact": ({"after": "#"}, [1.0, 0.0]),
    "regex": ({"pattern": r"#(\d)$", "group": 1}, [1.0, 0.0]),
    "format": ({"pattern": r".*#\d"}, [1.0, 1.0]),
    "length": ({"limit": 8}, [-0.25, -0.5]),
    "overlong": ({"limit": 4, "cache": 2}, [0.0, -1.0]),
    "repetition": ({"ngram": 1}, [0.0, -0.25]),
    "choice": ({"after": "#"}, [1.0, 0.0]),
    "maths": ({"after": "#"}, [1.0, 0.0]),
    "json_schema": ({"schema": {"type": "integer"}}, [0.0, 0.0]),
    "code": ({"sandbox": "unsafe-none"}, [0.0, 0.0]),  # neither answer has a program, so none is run
}
"""Built-in -> (arguments, scores of `a#7` with 2 tokens and `#7 #8` with 4 where 7 is right); for `choice` 7 is B."""


@pytest.mark.parametrize("messages", ["q", [{"role": "user", "content": "q"}]], ids=["plain", "chat"])
@pytest.mark.parametrize(
    "name", [name for name in BUILT_IN if "model" not in name and name not in ("judge", "implicit")]
)  # those have tests of their own
def test_every_built_in_scores_a_group_by_its_name(name: str, messages: Any) -> None:
    arguments, expected = CASES[name]
    right, other = ("B", "C") if name == "choice" else ("7", "8")
    texts = f"a#{right}", f"#{right} #{other}"
    completions = (Completion((1, 2), text=texts[0]), Completion((1, 2, 1, 4), text=texts[1]))
    group = Group(Prompt("p", messages, right, {"answer": right, "tests": "assert f() == 7"}), completions)
    rewards = Rewards.of([RewardSpec(name, args=arguments)])
    (scored,) = asyncio.run(rewards.score([group])).groups
    assert [c.scores for c in scored.completions] == [{name: value} for value in expected]
