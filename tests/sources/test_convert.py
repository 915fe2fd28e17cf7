"""Feedback of one kind as another: the same preferences, and counts that add up."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postlude.errors import ConfigError
from postlude.feedback.convert import Choices, Converted, convert, ranks_of
from postlude.models.chat import Renderer
from postlude.models.tiny import character_tokenizer
from postlude.sources.compared import Limits, compared
from postlude.sources.table import Table

TOKENIZER = character_tokenizer()
RENDERER = Renderer(TOKENIZER, frozenset({TOKENIZER.eos_token_id}))
RATED = {"prompt": "1+1=", "completions": ["2", "3", "11", "two"], "scores": [5, 3, 1, 5], "id": 7}


def table(*rows: dict[str, Any]) -> Table:
    made = Table("mine.jsonl")
    for i, row in enumerate(rows, 1):
        made.read += 1
        made.add(f"mine.jsonl:{i}", dict(row))
    return made


def of(choices: Choices, *rows: dict[str, Any]) -> Converted:
    return convert(table(*rows), choices)


def preferences(rows: list[dict[str, Any]]) -> set[tuple[str, str, str]]:
    """(prompt, better, worse) as training would read them."""
    found = compared(table(*rows), RENDERER, Limits(None), ("pair", "rated", "binary"))
    return {
        (g.prompt.text, a.text, b.text)
        for g in found
        for a in g.completions
        for b in g.completions
        if (a.reward or 0) > (b.reward or 0)
    }


def test_equal_scores_have_equal_ranks_and_the_next_counts_on() -> None:
    assert ranks_of([3.0, 2.0, 2.0, 1.0]) == [1, 2, 2, 4]
    made = of(Choices("ranks"), RATED).rows
    assert made == [
        {"id": 7, "prompt": "1+1=", "completions": ["2", "3", "11", "two"], "ranks": [1, 3, 4, 1]}
    ]  # fmt: skip


def test_pairs_keep_scores_and_columns_and_ties_make_none() -> None:
    found = of(Choices("pairs", "best-worst"), RATED)
    row = {"id": 7, "prompt": "1+1=", "chosen": "2", "rejected": "11", "chosen_score": 5, "rejected_score": 1}
    assert found.rows == [row]
    assert of(Choices("pairs", "best-worst", write_margin=True), RATED).rows == [{**row, "margin": 4}]
    said = {(r["chosen"], r["rejected"]) for r in of(Choices("pairs"), RATED).rows}
    assert said == {("2", "3"), ("2", "11"), ("3", "11"), ("two", "3"), ("two", "11")}
    near = {(r["chosen"], r["rejected"]) for r in of(Choices("pairs", "adjacent"), RATED).rows}
    assert near == said - {("2", "11"), ("two", "11")}
    far = of(Choices("pairs", margin=3), RATED)
    assert len(far.rows) == 2 and far.dropped == {"equally good": 1, "closer than 3": 3}


def test_labels_come_from_a_threshold_and_from_pairs() -> None:
    ranked = {"prompt": "1+1=", "completions": ["2", "3"], "ranks": [1, 2]}
    for row, threshold in ((ranked, 1), ({**ranked, "scores": [0.9, 0.1]}, 0.5)):
        made = of(Choices("labels", threshold=threshold), row).rows
        assert [(r["completion"], r["label"]) for r in made] == [("2", True), ("3", False)]
    pair = {"prompt": "1+1=", "chosen": "2", "rejected": "3", "probability": 0.2}
    made = of(Choices("labels"), pair).rows
    assert [(r["completion"], r["label"]) for r in made] == [("2", False), ("3", True)]
    tied = of(Choices("labels"), {**pair, "probability": 0.5})
    assert not tied.rows and tied.rows_dropped == {"neither answer is preferred": 1}


def test_written_answers_are_the_best_ones() -> None:
    assert of(Choices("sft"), RATED).rows == [{"id": 7, "prompt": "1+1=", "completion": "2"}]
    label = {"prompt": "1+1=", "completion": "2", "label": True}
    found = of(Choices("sft"), label, {**label, "label": False})
    assert found.rows == [{"prompt": "1+1=", "completion": "2"}] and found.rows_dropped == {"labelled as bad": 1}


def test_formats_of_others_lose_the_columns_that_would_be_read_twice() -> None:
    row = {"prompt": "1+1=", "response_1": "2", "response_2": "3", "preference_strength": -2, "text": "x", "id": 1}
    assert of(Choices("pairs"), row).rows == [{"id": 1, "prompt": "1+1=", "chosen": "2", "rejected": "3"}]


def test_bad_rows_are_listed_and_the_others_converted() -> None:
    rows = table(RATED, {**RATED, "scores": [1]}, {**RATED, "completions": ["2", None, "3", "4"]})
    found = convert(rows, Choices("pairs"))
    assert found.converted == 1 and rows.read == len(rows.rows) + len(rows.problems)
    assert rows.problems == [
        'mine.jsonl:2: "scores" must be a list with one number for each of 4 completions, found 1',
        'mine.jsonl:3: "completion 2 of 4" is null',
    ]


@pytest.mark.parametrize(
    ("choices", "row", "said"),
    [
        (Choices("pairs"), {"prompt": "a", "completion": "b", "label": True}, "can become labels, sft"),
        (Choices("labels"), RATED, "need --threshold"),
        (Choices("pairs", margin=1), {"prompt": "a", "chosen": "b", "rejected": "c"}, "no scores or ranks"),
        (Choices("sft"), {"prompt": "a", "completions": ["b"], "labels": [True]}, "cannot be converted"),
    ],
)
def test_what_cannot_be_is_said(choices: Choices, row: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        of(choices, row)


LISTS = st.lists(
    st.tuples(st.sampled_from("abcdef"), st.integers(0, 3)), min_size=2, max_size=5, unique_by=lambda x: x[0]
)


@settings(max_examples=40, deadline=None)
@given(st.lists(LISTS, min_size=1, max_size=4), st.sampled_from(["all", "best-worst", "adjacent"]), st.integers(0, 2))
def test_counts_add_up_and_preferences_stay(lists: list[list[tuple[str, int]]], which: Any, margin: int) -> None:
    rows = [
        {"prompt": f"{i}=", "completions": [a for a, _ in one], "scores": [s for _, s in one]}
        for i, one in enumerate(lists)
    ]
    found = of(Choices("pairs", which, margin), *rows)
    assert found.converted + found.rows_dropped.total() == len(rows)
    assert found.compared == len(found.rows) + found.dropped.total()
    stated = {
        (f"{i}=", a, b) if x > y else (f"{i}=", b, a)
        for i, one in enumerate(lists)
        for (a, x), (b, y) in combinations(one, 2)
        if x != y and abs(x - y) >= margin
    }
    made = preferences(found.rows) if found.rows else set()
    assert made == stated if which == "all" else made <= stated
    ranked = of(Choices("ranks"), *rows).rows
    assert len(ranked) == sum(len({s for _, s in one}) > 1 for one in lists), "equal scores prefer nothing"
    if which == "all" and margin == 0:
        assert (preferences(ranked) if ranked else set()) == stated
