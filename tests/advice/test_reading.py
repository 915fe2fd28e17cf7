"""Rows in the columns that people have: what they are taken for, row by row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from postlude.advice.reading import Pile, read_all
from tests.advice.rows import Row, save


def piles(*rows: Row) -> list[Pile]:
    return read_all([save(Path("data.jsonl"), rows)]).piles


def one(*rows: Row) -> Pile:
    (pile,) = piles(*rows)
    return pile


def values(pile: Pile, *names: str) -> list[tuple[Any, ...]]:
    return [tuple(row.get(name) for name in names) for row in pile.rows]


@pytest.mark.parametrize("better, first", [("A", True), ("b", False), ("response_a", True), (1, True), (2, False)])
def test_the_better_of_two_answers_is_chosen(better: object, first: bool) -> None:
    row = {"question": "say it", "response_a": "one", "response_b": "two", "preference": better}
    pile = one(row, {**row, "question": "once more", "preference": "tie"})
    assert pile.feedback == "pairs"
    assert values(pile, "chosen", "rejected") == [("one", "two") if first else ("two", "one")]


def test_counted_from_nought_one_is_the_second() -> None:
    row = {"prompt": "say it", "answer_a": "one", "answer_b": "two"}
    pile = one({**row, "winner": 0}, {**row, "winner": 1})
    assert values(pile, "chosen") == [("one",), ("two",)]


@pytest.mark.parametrize(
    "up, down", [("up", "down"), ("👍", "👎"), (1, 0), (1, -1), ("yes", "no"), ("liked", "disliked")]
)
def test_thumbs_in_many_words(up: object, down: object) -> None:
    row = {"user_message": "say it", "bot_response": "one"}
    pile = one({**row, "feedback": up}, {**row, "user_message": "again", "feedback": down})
    assert (pile.feedback, values(pile, "label")) == ("thumbs", [(True,), (False,)])


def test_grades_of_one_prompt_are_put_together() -> None:
    rows = [{"prompt": f"say {i}", "response": f"answer {j}", "rating": j} for i in range(3) for j in (1, 3, 5)]
    pile = one(*rows)
    assert pile.feedback == "lists"
    assert values(pile, "completions", "scores")[0] == (["answer 1", "answer 3", "answer 5"], [1.0, 3.0, 5.0])
    ranked = one(*({"prompt": r["prompt"], "response": r["response"], "rank": r["rating"]} for r in rows))
    assert next(entry.rewards for entry in ranked.entries) == (-1.0, -3.0, -5.0)


def test_a_list_in_the_order_of_ranks() -> None:
    pile = one({"prompt": "say it", "ranked_responses": ["best", "good", "bad"]})
    assert (pile.feedback, pile.entries[0].rewards) == ("lists", (-1.0, -2.0, -3.0))


@pytest.mark.parametrize(
    "row, feedback",
    [
        ({"text": "Write a function.", "code": "def f(): pass", "test_list": ["assert f() is None"]}, "tests"),
        ({"prompt": "def f():", "canonical_solution": "1", "test": "def check(c): pass", "entry_point": "f"}, "tests"),
        ({"instruction": "Write f.", "unit_tests": ["assert f(1) == 1"]}, "tests"),
        ({"problem": "1+1?", "solution": "It is $\\boxed{2}$.", "level": "1"}, "golds"),
        ({"question": "1+1?", "final_answer": 2}, "golds"),
        (
            {"question": "Why?", "answer": "Because light of short waves is scattered more than that of long ones."},
            "answers",
        ),
        ({"instruction": "Say it.", "input": "", "output": "it"}, "answers"),
        ({"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"}]}, "answers"),
        ({"messages": [{"role": "user", "content": "hi"}]}, "prompts"),
        ({"user_prompt": "hi there"}, "prompts"),
        ({"prompt": "hi", "completion": "hello", "score": 0.731}, "answers"),
        ({"document": "It rained all day."}, "text"),
    ],
)
def test_what_rows_are(row: Row, feedback: str) -> None:
    assert piles(row)[0].feedback == feedback


def test_rows_of_several_kinds_in_one_file_are_told_apart() -> None:
    material = read_all(
        [
            save(
                Path("data.jsonl"),
                [
                    {"prompt": "a", "chosen": "b", "rejected": "c"},
                    {"prompt": "a", "answer": "3"},
                    {"text": "words"},
                    {"zzz": 1},
                ],
            )
        ]
    )
    assert sorted(pile.feedback for pile in material.piles) == ["golds", "pairs", "text"]
    assert sum(len(pile.entries) for pile in material.piles) + sum(material.bad.values()) == material.read == 4


def test_columns_named_for_what_they_hold_are_known_with_vague_words_around() -> None:
    rows = [{"question_text": f"why {i}?", "answer_chosen": "so it is", "answer_rejected": "no"} for i in range(4)]
    pile = one(*rows)
    assert pile.feedback == "pairs"
    assert dict(pile.columns) == {"prompt": "question_text", "chosen": "answer_chosen", "rejected": "answer_rejected"}


def test_text_that_nothing_reads_is_told_by_its_column(tmp_path: Path) -> None:
    file = tmp_path / "d.jsonl"
    row = {"prompt": "why is it so?", "zweifel": "since it was so before", "day": "monday"}
    file.write_text("".join(json.dumps({**row, "id": i}) + "\n" for i in range(3)))
    material = read_all([str(file)])
    assert dict(material.unread) == {"zweifel": 3}
