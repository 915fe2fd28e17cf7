"""Lists that tables keep as text are read where lists are wanted, or refused; what is no value is never a text."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from postlude.errors import DataError
from postlude.sources import file as rows
from postlude.sources.cells import conversation, literal
from postlude.sources.compared import Limits, compared
from tests.models import templates
from tests.models.templates import renderer
from tests.refusals import refused

TALK = [{"role": "user", "content": 'it\'s "so"\n[1, 2]'}, {"role": "assistant", "content": "yes, {no}: \\frac"}]
ASKED, SAID = TALK[:1], TALK[1:]
ARRAY = "[" + "\n ".join(map(repr, TALK)) + "]"
"""As numpy writes a list of objects: nothing between them."""
WRITTEN = {
    "JSON": json.dumps(TALK),
    "JSON over lines": json.dumps(TALK, indent=1),
    "Python": repr(TALK),
    "numpy": ARRAY,
    "numpy's own form": f"array([{', '.join(map(repr, TALK))}],\n      dtype=object)",
    "a tuple": repr(tuple(TALK)),
}
"""How -> the same messages as text."""


@pytest.mark.parametrize("how", WRITTEN)
def test_messages_written_as_text_are_read(how: str) -> None:
    found = conversation(WRITTEN[how], "prompt")
    assert [*found] == TALK


@pytest.mark.parametrize(
    "text",
    ["[{'role': 'user', 'content': 'hi", ' [ {"role": "user", "content": "hi"}, {"role": "assi', "[{'from': 'hu"],
)
def test_messages_that_end_in_the_middle_are_no_text(text: str) -> None:
    with refused("not-json", said="looks like a list of messages", kind=DataError):
        conversation(text, "prompt")


def test_a_question_about_messages_is_a_text() -> None:
    asked = "[{'role': 'user', 'content': 'hi'}] Who speaks here?"
    assert conversation(asked, "prompt") == asked


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("['a' 'b']", ["a", "b"]),
        ("['a', 'b']", ["a", "b"]),
        ('["a"\n "b"]', ["a", "b"]),
        ("[1 2 3]", [1, 2, 3]),
        ("[0.5 1. -2e3]", [0.5, 1.0, -2000.0]),
        ("[1.0, nan]", [1.0, None]),
        ("[NaN, 1]", [None, 1]),
        ("[True False]", [True, False]),
        ("[true, null]", [True, None]),
        ("[np.float64(0.5), np.float64(1.0)]", [0.5, 1.0]),
        ("array(['a', 'b'], dtype='<U1')", ["a", "b"]),
        ("[[1 2]\n [3 4]]", [[1, 2], [3, 4]]),
    ],
)
def test_lists_are_read_as_they_were_and_no_two_texts_become_one(text: str, value: Any) -> None:
    assert literal(text) == value


@pytest.mark.parametrize(
    "text", ["[1, 2", "[a b]", "['a' ... 'b']", "__import__('os')", "[open('x')]", "['a'b]", "[" * 9999]
)
def test_what_is_no_list_is_an_error_and_nothing_is_run(text: str) -> None:
    with pytest.raises(ValueError):  # any
        literal(text)


@pytest.mark.parametrize(
    "text", ["[3, 1, 2]", "Sort [1, 2].", "[{'a': 1}]", "{'role': 'x'} is a dict", "[role: user]", "[]"]
)
def test_text_that_is_no_conversation_stays_text(text: str) -> None:
    assert conversation(text, "prompt") == text


@pytest.mark.parametrize("text", ["[{'role': 'user', 'content': 'a'} ... {'role': 'x'}]", "[{'role': user}]"])
def test_what_looks_like_a_conversation_and_cannot_be_read_is_refused(text: str) -> None:
    with refused("not-json", said=r'"chosen" looks like a list of messages written as text'):
        conversation(text, "chosen")


# ----------------------------------------------------------------------------------------------------- in files


def separated(folder: Path, *values: dict[str, Any], name: str = "data.csv") -> rows.Table:
    with (folder / name).open("w", newline="") as file:
        writer = csv.DictWriter(file, [*values[0]], delimiter="\t" if name.endswith("tsv") else ",")
        writer.writeheader()
        writer.writerows(values)
    return rows.read(str(folder / name))


@pytest.mark.parametrize("name", ["data.csv", "data.tsv"])
@pytest.mark.parametrize("how", [repr, json.dumps])
def test_prompts_answers_and_pairs_in_cells_are_messages(tmp_path: Path, how: Any, name: str) -> None:
    (prompt,) = rows.prompts(separated(tmp_path, {"prompt": how(ASKED), "answer": "4"}, name=name))
    assert (prompt.messages, prompt.answer) == (ASKED, "4")
    chat = renderer(templates.CHATML)
    written = separated(tmp_path, {"prompt": how(ASKED), "completion": how(SAID)}, name=name)
    whole = separated(tmp_path, {"messages": how(TALK)}, name="m" + name)
    spoken = [{"from": "human", "value": ASKED[0]["content"]}, {"from": "gpt", "value": SAID[0]["content"]}]
    shared = separated(tmp_path, {"conversations": how(spoken)}, name="s" + name)
    tokens = {rows.groups(t, chat, None)[0].completions[0].tokens for t in (written, whole, shared)}
    assert len(tokens) == 1
    other = [{"role": "assistant", "content": "no"}]
    pairs = separated(tmp_path, {"prompt": how(ASKED), "chosen": how(SAID), "rejected": how(other)}, name="p" + name)
    (group,) = compared(pairs, chat, Limits(None), ("pair",))
    assert group.completions[0].tokens in tokens


def test_lists_of_answers_and_of_numbers_in_cells_are_lists(tmp_path: Path) -> None:
    read = separated(tmp_path, {"prompt": "a", "completions": "['b' 'c']", "scores": "[1. 0.5]"})
    (group,) = compared(read, renderer(templates.CHATML), Limits(None), ("rated",))
    assert [(c.text, c.reward) for c in group.completions] == [("b", 1.0), ("c", 0.5)]
    ranked = separated(tmp_path, {"prompt": "a", "completions": "['b', 'c']", "ranks": "[2 1]"}, name="r.csv")
    (group,) = compared(ranked, renderer(templates.CHATML), Limits(None), ("rated",))
    assert [c.reward for c in group.completions] == [-2.0, -1.0]


def test_tools_in_a_cell_are_schemas(tmp_path: Path) -> None:
    tool = {"type": "function", "function": {"name": "f"}}
    (prompt,) = rows.prompts(separated(tmp_path, {"prompt": repr(ASKED), "tools": repr([tool])}))
    assert prompt.columns["tools"] == [tool]


def test_json_text_in_json_lines_is_read_too(tmp_path: Path) -> None:
    (tmp_path / "data.jsonl").write_text(json.dumps({"prompt": json.dumps(ASKED)}))
    assert rows.prompts(rows.read(str(tmp_path / "data.jsonl")))[0].messages == ASKED


def test_a_cut_off_list_is_a_bad_row(tmp_path: Path) -> None:
    read = separated(tmp_path, {"prompt": ARRAY.replace("\n", " ... ")}, {"prompt": repr(ASKED)})
    assert len(rows.prompts(read)) == 1
    assert ':2: "prompt" looks like a list of messages written as text' in read.problems[0]
    assert read.read == len(read.rows) + len(read.problems)


# ------------------------------------------------------------------------------------------------ what is missing


@pytest.mark.parametrize("cell", ["nan", "NaN", "NaT", "<NA>", "None", "null", "inf", ""])
@pytest.mark.parametrize("column", ["prompt", "answer"])
def test_a_cell_without_a_value_is_null(tmp_path: Path, cell: str, column: str) -> None:
    good = {"prompt": "a", "answer": "1"}
    read = separated(tmp_path, good, {**good, column: cell})
    found = rows.prompts(read)
    if column == "prompt":
        assert len(found) == 1 and '"prompt" is null' in read.problems[0]
    else:
        assert [p.answer for p in found] == ["1", None]
    assert bool(read.notes) == bool(cell)
    assert not cell or f"1 cells say {cell} and are taken as missing" in read.notes[0]


def parquet(folder: Path, columns: dict[str, Any]) -> rows.Table:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet as files

    files.write_table(pyarrow.table(columns), folder / "data.parquet")
    return rows.read(str(folder / "data.parquet"))


NAN, INF = float("nan"), float("inf")


def test_what_is_no_number_in_parquet_is_null(tmp_path: Path) -> None:
    read = parquet(tmp_path, {"prompt": ["a", "b", "c"], "answer": [NAN, INF, 1.5], "other": [[NAN], [1.5], [2.5]]})
    assert [p.answer for p in rows.prompts(read)] == [None, None, 1.5]
    assert "3 values of answer, other are not finite and are taken as missing" in read.notes[0]


def test_numbers_that_pandas_made_floats_are_integers_again(tmp_path: Path) -> None:
    read = parquet(tmp_path, {"prompt": ["a", "b", "c"], "answer": [42.0, None, 7.0], "half": [0.5, None, 1.0]})
    found = rows.prompts(read)
    assert [repr(p.answer) for p in found] == ["42", "None", "7"]
    assert [p.columns["half"] for p in found] == [0.5, None, 1.0]


@pytest.mark.parametrize("column", ["prompt", "chosen", "rejected"])
@pytest.mark.parametrize("value", [None, NAN, 42.0, 42, b"a"])
def test_a_needed_text_that_is_none_is_a_bad_row(tmp_path: Path, column: str, value: Any) -> None:
    row = {"prompt": ["a"], "chosen": ["b"], "rejected": ["c"], column: [value]}
    read = parquet(tmp_path, row)
    assert compared(read, renderer(templates.CHATML), Limits(None), ("pair",)) == []
    assert f'"{column}"' in read.problems[0]


@pytest.mark.parametrize(
    ("column", "value"), [("label", None), ("label", NAN), ("scores", [1.0, NAN]), ("ranks", [1, None])]
)
def test_a_judgement_that_is_missing_is_a_bad_row(tmp_path: Path, column: str, value: Any) -> None:
    row = {"prompt": ["a"], column: [value]}
    row |= {"completion": ["b"]} if column == "label" else {"completions": [["b", "c"]]}
    read = parquet(tmp_path, row)
    assert compared(read, renderer(templates.CHATML), Limits(None), ("binary", "rated")) == []
    assert f'"{column}"' in read.problems[0]


def test_keys_that_arrow_fills_in_are_dropped_in_lists_of_conversations_too(tmp_path: Path) -> None:
    said = [[{"role": "assistant", "content": "b", "tool_calls": None}], [{"role": "assistant", "content": "c"}]]
    call = [[{"role": "assistant", "content": "d", "tool_calls": [{"function": {"name": "f"}}]}]]
    read = parquet(
        tmp_path, {"prompt": [ASKED] * 2, "completions": [said, said[:1] + call], "scores": [[1.0, 0.0]] * 2}
    )
    first = read.rows[0].values["completions"]
    assert [[{*m} for m in one] for one in first] == [[{"role", "content"}]] * 2


def test_decimal_golds_are_numbers_and_others_are_refused(tmp_path: Path) -> None:
    from datetime import date
    from decimal import Decimal

    decimals = parquet(tmp_path, {"prompt": ["a", "b", "c"], "answer": [Decimal("42.00"), Decimal("1.50"), None]})
    found = rows.prompts(decimals)
    assert [repr(p.answer) for p in found] == ["42", "1.5", "None"]
    assert [repr(p.columns["answer"]) for p in found] == ["42", "1.5", "None"]
    for value in (b"42", date(2024, 1, 1)):
        read = parquet(tmp_path, {"prompt": ["a"], "answer": [value]})
        assert rows.prompts(read) == []
        assert f"the answer is of the kind {type(value).__name__}" in read.problems[0]


def test_columns_of_nothing_but_nulls_hold_no_pictures(tmp_path: Path) -> None:
    from postlude.sources.unused import render

    image = [[{"bytes": None, "path": None}], [{"bytes": b"x", "path": "p"}]]
    read = parquet(tmp_path, {"prompt": ["a", "b"], "images": image})
    assert [p.messages for p in render(rows.prompts(read), read, renderer(templates.CHATML))] == ["a"]


@pytest.mark.parametrize(
    "text",
    ['{"from": "a@b.c", "to": "d@e.f"}', '[{"role": "admin", "id": 1}]', "{'role': 'user'}", '{"role": "admin"}'],
)
def test_json_that_says_nothing_as_anybody_is_text(text: str) -> None:
    assert conversation(text, "completion") == text
