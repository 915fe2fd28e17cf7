"""Judged answers: every row becomes a group whose rewards say who is preferred, or is rejected by its line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from postlude.data import Group
from postlude.errors import DataError
from postlude.models.chat import Renderer
from postlude.models.steps import ends, pieces
from postlude.models.tiny import character_tokenizer
from postlude.sources.compared import Limits, compared, shared_start
from postlude.sources.reading import read
from postlude.sources.table import Table

USER, YES, NO = (
    {"role": "user", "content": "hi"},
    {"role": "assistant", "content": "yo"},
    {"role": "assistant", "content": "go away"},
)
TURNS = "{% for m in messages %}{{ m['role'] + ':' + m['content'] + '<eos>' + '\n' }}{% endfor %}"
CHAT = TURNS + "{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}"
ALL = ("pair", "rated", "binary", "steps")


def renderer() -> Renderer:
    tokenizer = character_tokenizer(chat_template=CHAT)
    return Renderer(tokenizer, frozenset({tokenizer.eos_token_id}))


def table(folder: Path, *values: Any) -> Table:
    path = folder / "data.jsonl"
    path.write_text("".join(json.dumps(v) + "\n" for v in values))
    return read(str(path))


def groups(folder: Path, *values: Any, kinds: Any = ALL, **limits: Any) -> list[Group]:
    found = table(folder, *values)
    result = compared(found, renderer(), Limits(limits.pop("context", None), **limits), kinds)
    assert not found.problems, found.problems
    assert found.read == len(result)
    return result


def rewards(group: Group) -> list[float | None]:
    return [c.reward for c in group.completions]


def said(group: Group) -> list[str]:
    return [renderer().tokenizer.decode(c.tokens, skip_special_tokens=True) for c in group.completions]


# ------------------------------------------------------------------------------------------------------ good rows


@pytest.mark.parametrize(
    ("row", "expected", "texts"),
    [
        ({"prompt": "a", "chosen": "b", "rejected": "c"}, [1.0, 0.0], ["b", "c"]),
        ({"prompt": "a", "chosen": "b", "rejected": "c", "probability": 0.75}, [0.75, 0.25], ["b", "c"]),
        ({"prompt": [USER], "chosen": [YES], "rejected": [NO]}, [1.0, 0.0], ["yo", "go away"]),
        ({"chosen": [USER, YES], "rejected": [USER, NO]}, [1.0, 0.0], ["yo", "go away"]),
        ({"chosen": "one two three", "rejected": "one two four"}, [1.0, 0.0], ["three", "four"]),
        ({"prompt": "a", "completions": ["b", "c", "d"], "ranks": [2, 1, 2]}, [-2, -1, -2], ["b", "c", "d"]),
        ({"prompt": "a", "completions": ["b", "c"], "scores": [0.5, -3]}, [0.5, -3], ["b", "c"]),
        ({"prompt": "a", "completion": "b", "label": True}, [1.0], ["b"]),
        ({"prompt": "a", "completion": "b", "label": "False"}, [0.0], ["b"]),
        ({"prompt": "a", "response_1": "b", "response_2": "c", "preference_strength": 2}, [1.0, 0.0], ["c", "b"]),
        ({"prompt": "a", "response_1": "b", "response_2": "c", "preference_strength": -1}, [1.0, 0.0], ["b", "c"]),
        (
            {"context": [USER], "completions": [{"rank": 1, "completion": [NO]}, {"rank": 0, "completion": [YES]}]},
            [-1, 0],
            ["go away", "yo"],
        ),
    ],
)
def test_a_row_becomes_a_group_with_rewards(tmp_path: Path, row: Any, expected: Any, texts: list[str]) -> None:
    (group,) = groups(tmp_path, row)
    assert rewards(group) == expected
    assert said(group) == texts
    eos = renderer().tokenizer.eos_token_id
    assert all(c.tokens[-1] == eos and c.actions[-1] for c in group.completions), "scores are read at the last token"


def test_a_shared_start_is_the_prompt() -> None:
    assert shared_start("\n\nHuman: hi\n\nAssistant: yes I do", "\n\nHuman: hi\n\nAssistant: yes I did") == (
        "\n\nHuman: hi\n\nAssistant:",
        " yes I do",
        " yes I did",
    )
    with pytest.raises(DataError, match="do not begin with the same words"):
        shared_start("abc", "abd")
    with pytest.raises(DataError, match="do not begin with the same messages"):
        shared_start([YES], [NO])


def test_labels_of_steps_stand_at_the_last_token_of_each_step(tmp_path: Path) -> None:
    row = {"prompt": "a", "completions": ["3:3", "4:7", "#7"], "labels": [True, None, 0.25]}
    (group,) = groups(tmp_path, row)
    (completion,) = group.completions
    assert completion.steps == ((3, 1.0), (10, 0.25)), "after `3:3` and its newline; at the end of the sequence"


@pytest.mark.parametrize("text", ["a\nbc\n\nd", "\n\na\n", "abc", "", "\n \n"])
def test_steps_in_tokens_are_the_steps_in_the_text(text: str) -> None:
    tokenizer = character_tokenizer()
    tokens = tuple(tokenizer(text).input_ids) + (tokenizer.eos_token_id,)
    found = ends(tokenizer, tokens, "\n")
    assert len(found) == len(pieces(text, "\n"))
    assert found == sorted({*found})
    assert not found or found[-1] == len(tokens) - 1


def test_contradicting_pairs_are_both_used_and_said(tmp_path: Path) -> None:
    found = table(
        tmp_path,
        {"prompt": "a", "chosen": "b", "rejected": "c"},
        {"prompt": "a", "chosen": "c", "rejected": "b"},
    )
    assert len(compared(found, renderer(), Limits(None), ALL)) == 2
    assert "1 pairs stand in the file the other way round" in found.notes[0]
    assert "line 1" in found.notes[0] and "line 2" in found.notes[0]


def test_a_joined_pair_is_one_sequence_in_both_orders(tmp_path: Path) -> None:
    found = table(tmp_path, {"prompt": "a", "chosen": "b", "rejected": "c", "probability": 0.9})
    (group,) = compared(found, renderer(), Limits(None), ("pair",), joined=True)
    assert said(group) == ["bc", "cb"]
    assert rewards(group) == [0.9, pytest.approx(0.1)]


# ------------------------------------------------------------------------------------------------------- bad rows

GOOD = {
    "pair": {"prompt": "q", "chosen": "b", "rejected": "c"},
    "rated": {"prompt": "q", "completions": ["b", "c"], "ranks": [1, 2]},
    "scores": {"prompt": "q", "completions": ["b", "c"], "scores": [1, 2]},
    "binary": {"prompt": "q", "completion": "b", "label": True},
    "steps": {"prompt": "q", "completions": ["b", "c"], "labels": [True, False]},
}


@pytest.mark.parametrize(
    ("kind", "change", "reason"),
    [
        ("pair", {"chosen": None}, '"chosen" is null'),
        ("pair", {"rejected": "  "}, '"rejected" is empty'),
        ("pair", {"rejected": "b"}, '"chosen" and "rejected" are the same'),
        ("pair", {"chosen": "A", "rejected": "B"}, "the same once they are tokens"),  # no capitals in the alphabet
        ("pair", {"probability": 1.5}, '"probability" (that "chosen" is better) must lie in [0, 1], found 1.5'),
        ("pair", {"margin": "big"}, "\"margin\" must be a number, found 'big'"),
        ("pair", {"chosen": [YES]}, "prompt and answers must all be text or all be messages"),
        ("pair", {"prompt": None, "chosen": "xb"}, '"prompt" is missing'),
        ("pair", {"chosen": "b" * 90}, "prompt and answer take 92 tokens, the context holds 64"),
        ("rated", {"ranks": [1, 2, 3]}, "one number for each of 2 completions, found 3"),
        ("rated", {"ranks": 1}, "one number for each of 2 completions, found 1"),
        ("rated", {"ranks": [1, None]}, '"ranks" must hold numbers'),
        ("rated", {"ranks": [1, True]}, '"ranks" must hold numbers, found True'),
        ("rated", {"ranks": [2, 2]}, 'all "ranks" are equal'),
        ("rated", {"completions": ["b"]}, "at least 2 answers"),
        ("rated", {"completions": ["b", ""]}, '"completions 2" is empty'),
        ("rated", {"completions": ["b", "b"]}, 'the same answer stands twice with different "ranks"'),
        ("scores", {"scores": [1, "2"]}, "\"scores\" must hold numbers, found '2'"),
        ("binary", {"label": "yes"}, "\"label\" must be true or false, found 'yes'"),
        ("binary", {"label": 1}, '"label" must be true or false, found 1'),
        ("binary", {"completion": None}, '"completion" is null'),
        ("steps", {"labels": [True]}, "one label for each of 2 steps, found 1"),
        ("steps", {"labels": [True, "no"]}, '"labels" 2 must be true, false, null or a probability'),
        ("steps", {"labels": [None, None]}, '"labels" are all null'),
        ("steps", {"completions": ["b\nd", "c"]}, "step 1 holds the separator"),
        ("steps", {"completions": ["b", 3]}, '"completions" step 2 must be text, found 3'),
    ],
)
def test_a_bad_row_is_named_by_line_field_and_reason(tmp_path: Path, kind: str, change: Any, reason: str) -> None:
    good = GOOD[kind]
    found = table(tmp_path, good, {**good, **change}, {**good, "prompt": "z"})
    result = compared(found, renderer(), Limits(64), ALL)
    assert len(result) == len(found.rows) == 2
    (problem,) = found.problems
    assert problem.startswith(f"{found.path} line 2: ") and reason in problem
    assert found.read == len(result) + len(found.problems)


def test_mixed_formats_in_one_file_are_counted(tmp_path: Path) -> None:
    found = table(tmp_path, GOOD["pair"], GOOD["binary"], GOOD["pair"])
    with pytest.raises(DataError, match=r"mixed formats: 2 rows look like pairs, 1 rows look like labelled .*line 2"):
        compared(found, renderer(), Limits(None), ALL)


def test_rows_a_method_cannot_learn_from_say_what_it_takes(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"rows are labelled answers .* learns from pairs"):
        groups(tmp_path, GOOD["binary"], kinds=("pair", "rated"))
    with pytest.raises(
        DataError, match=r'found columns chosenn, prompt, rejected. Is \'chosenn\' meant to be "chosen"'
    ):
        groups(tmp_path, {"prompt": "a", "chosenn": "b", "rejected": "c"})
