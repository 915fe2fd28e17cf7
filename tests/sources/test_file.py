"""Data files: every row is used or rejected by its line, and items are drawn once per epoch."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from postlude.data import Completion, Group, Prompt
from postlude.engines.settings import Sampling
from postlude.errors import DataError, Problem
from postlude.models.chat import Renderer
from postlude.models.tiny import character_tokenizer
from postlude.rewards.rewards import Rewards
from postlude.rollouts.rollout import RolloutSource
from postlude.sources import file as rows
from postlude.sources.file import Cursor, FileSource
from tests.refusals import refused

USER = {"role": "user", "content": "hi"}
ASSISTANT = {"role": "assistant", "content": "yo"}
TURNS = "{% for m in messages %}{{ m['role'] + ':' + m['content'] + '<eos>' }}{% endfor %}"
CHAT = TURNS + "{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}"


def table(folder: Path, text: str | bytes, name: str = "data.jsonl") -> rows.Table:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return rows.read(str(path))


def lines(*values: Any) -> str:
    return "".join(json.dumps(v) + "\n" for v in values)


def renderer(chat_template: str | None = CHAT) -> Renderer:
    tokenizer = character_tokenizer(chat_template=chat_template)
    return Renderer(tokenizer, frozenset({tokenizer.eos_token_id}))


def texts(found: Sequence[Prompt]) -> list[str]:
    return [p.text for p in found]


# ---------------------------------------------------------------------------------------------------- reading


def test_jsonl_rows_become_prompts_with_their_columns(tmp_path: Path) -> None:
    read = table(tmp_path, lines({"prompt": "1+1=", "answer": "2", "level": 3}, {"prompt": [USER]}))
    first, second = rows.prompts(read)
    assert (first.messages, first.answer, first.columns) == ("1+1=", "2", {"answer": "2", "level": 3})
    assert (second.messages, second.answer, second.columns) == ([USER], None, {})
    assert (read.read, len(read.rows), read.problems) == (2, 2, [])


@pytest.mark.parametrize("name", ["data.json", "data.jsonl", "data.ndjson", "data"])
def test_lines_and_an_array_read_the_same(tmp_path: Path, name: str) -> None:
    values = [{"prompt": "a"}, {"prompt": "b", "answer": 4}]
    by_line = rows.prompts(table(tmp_path, lines(*values), name))
    assert rows.prompts(table(tmp_path, json.dumps(values, indent=1), name)) == by_line
    assert texts(by_line) == ["a", "b"]


def test_array_items_are_rejected_by_their_number(tmp_path: Path) -> None:
    read = table(tmp_path, json.dumps([{"prompt": "a"}, 7, {"prompt": "b"}, None, {"prompt": None}]))
    assert texts(rows.prompts(read)) == ["a", "b"]
    assert [p.split(": ")[0].rpartition(" item ")[2] for p in read.problems] == ["2", "4", "5"]
    assert read.read == 5


def test_a_broken_array_names_the_line(tmp_path: Path) -> None:
    read = table(tmp_path, '[{"prompt": "a"},\n{"prompt" "b"},\n{"prompt": "c"}]')
    assert [p.text for p in rows.prompts(read)] == ["a", "c"], "what follows a broken item is read"
    assert read.read == 3 and read.problems[0].startswith(f"{read.path}:2 item 2: not JSON at column 11")


def test_byte_order_mark_crlf_and_blank_lines_change_nothing(tmp_path: Path) -> None:
    plain = rows.prompts(table(tmp_path, '{"prompt": "a"}\n{"prompt": "b"}\n'))
    read = table(tmp_path, b'\xef\xbb\xbf\r\n{"prompt": "a"}\r\n\r\n  \r\n{"prompt": "b"}')
    assert rows.prompts(read) == plain
    assert (read.read, read.problems) == (2, [])


def test_line_numbers_count_blank_lines(tmp_path: Path) -> None:
    read = table(tmp_path, '{"prompt": "a"}\r\n\r\n\r\nnonsense\r\n')
    assert read.problems[0].startswith(f"{read.path}:4: not JSON")


def test_unicode_line_separators_do_not_split_a_row(tmp_path: Path) -> None:
    text = "a\u2028b\u0085c\x0b"
    read = table(tmp_path, json.dumps({"prompt": text}, ensure_ascii=False))
    assert texts(rows.prompts(read)) == [text]


@pytest.mark.parametrize("text", ["", "\n", " \r\n\r\n", "\ufeff", "[]"])
def test_a_file_without_rows_is_an_error(tmp_path: Path, text: str) -> None:
    read = table(tmp_path, text)
    with refused("no-rows", said="0 rows"):
        read.require_clean("skip")
    with refused("no-rows", said="0 rows"):
        rows.prompts(read)


def test_a_file_that_is_not_utf8_names_the_byte(tmp_path: Path) -> None:
    with refused("not-utf8", said="not UTF-8 \\(byte 12\\)"):
        table(tmp_path, b'{"prompt": "\xe9"}')


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    with refused("unsupported-file"):
        table(tmp_path, "prompt\na\n", "data.xlsx")


def test_a_missing_file_names_a_near_one(tmp_path: Path) -> None:
    table(tmp_path, lines({"prompt": "a"}), "prompts.jsonl")
    with refused("no-such-file", said=r"Did you mean '.*/prompts.jsonl'"):
        rows.read(str(tmp_path / "promts.jsonl"))
    with refused("no-such-file"):
        rows.read(str(tmp_path / "nowhere" / "prompts.jsonl"))


def test_a_saved_data_set_reads_like_the_file(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    values = [{"prompt": "a", "answer": 1}, {"prompt": "b", "answer": 2}]
    datasets.Dataset.from_list(values).save_to_disk(str(tmp_path / "saved"))
    found = rows.prompts(rows.read(str(tmp_path / "saved")))
    assert found == rows.prompts(table(tmp_path, lines(*values)))


def test_a_saved_data_set_has_splits_and_rows_are_rejected_by_index(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    parts = {"train": {"prompt": ["a"]}, "test": {"prompt": ["b", None, "", "c"]}}
    saved = datasets.DatasetDict({k: datasets.Dataset.from_dict(v) for k, v in parts.items()})
    saved.save_to_disk(str(tmp_path / "saved"))
    assert texts(rows.prompts(rows.read(str(tmp_path / "saved")))) == ["a"]
    read = rows.read(str(tmp_path / "saved"), "test")
    assert texts(rows.prompts(read)) == ["b", "c"]
    assert [p.removeprefix(read.path) for p in read.problems] == [
        ' row 2: "prompt" is null',
        ' row 3: "prompt" is empty',
    ]
    with refused("cannot-read", said="split validation"):
        rows.read(str(tmp_path / "saved"), "validation")


def test_a_folder_that_holds_no_data_set_is_an_error(tmp_path: Path) -> None:
    with refused("unsupported-file", said="is a folder, and holds neither a saved data set nor a file that is read"):
        rows.read(str(tmp_path))


# --------------------------------------------------------------------------------------------------- bad rows

BAD = {
    "broken line": ("{'prompt': 'a'}", "not JSON at column 2"),
    "two objects on a line": ('{"prompt": "a"} {"prompt": "b"}', "not JSON at column 17: Extra data"),
    "nested too deeply": ('{"prompt": ' + "[" * 100_000, "nested too deeply"),
    "whole number too long": ('{"prompt": "a", "n": ' + "9" * 5000 + "}", "4300 digits"),
    "key twice": ('{"prompt": "a", "prompt": "b"}', "key 'prompt' appears twice"),
    "key twice inside": ('{"prompt": [{"role": "user", "role": "user"}]}', "key 'role' appears twice"),
    "NaN": ('{"prompt": "a", "score": NaN}', "NaN is not JSON"),
    "infinity": ('{"prompt": "a", "score": -Infinity}', "-Infinity is not JSON"),
    "number too large": ('{"prompt": "a", "n": 1e999}', "1e999 is too large"),
    "a list": ('["a"]', "must be a JSON object, found list"),
    "a text": ('"a"', "must be a JSON object, found str"),
    "a number": ("7", "must be a JSON object, found int"),
    "null": ("null", "must be a JSON object"),
    "null field": ('{"prompt": null}', '"prompt" is null'),
    "number field": ('{"prompt": 12}', '"prompt" must be text or a list of messages, found int'),
    "object field": ('{"prompt": {"role": "user", "content": "a"}}', "found dict"),
    "empty field": ('{"prompt": ""}', '"prompt" is empty'),
    "white field": ('{"prompt": " \\t\\n\\u200b"}', '"prompt" is empty'),
    "lone surrogate": ('{"prompt": "ab\\ud800"}', "a lone surrogate at character 2"),
    "no messages": ('{"prompt": []}', '"prompt" is an empty list of messages'),
    "a message of text": ('{"prompt": ["hi"]}', '"prompt" message 1 must be an object'),
    "a message without role": ('{"prompt": [{"content": "hi"}]}', '"prompt" message 1 must be an object'),
    "unknown role": ('{"prompt": [{"role": "human", "content": "hi"}]}', "message 1 has role 'human'"),
    "null role": ('{"prompt": [{"role": null, "content": "hi"}]}', "message 1 has role None"),
    "a list as role": ('{"prompt": [{"role": ["user"], "content": "hi"}]}', "message 1 has role"),
    "no content": ('{"prompt": [{"role": "user"}]}', 'message 1 has no text in "content"'),
    "null content": ('{"prompt": [{"role": "user", "content": null}]}', 'message 1 has no text in "content"'),
    "lone surrogate in a message": ('{"prompt": [{"role": "user", "content": "\\udfff"}]}', "lone surrogate"),
    "ends with the assistant": (json.dumps({"prompt": [USER, ASSISTANT]}), "ends with an assistant"),
}
"""Kind -> (line, part of the reason)."""


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_row_is_rejected_by_its_line(tmp_path: Path, kind: str) -> None:
    line, reason = BAD[kind]
    read = table(tmp_path, f'{{"prompt": "first"}}\n{line}\n{{"prompt": "last"}}\n')
    assert texts(rows.prompts(read)) == ["first", "last"]
    assert len(read.problems) == 1
    assert read.problems[0].startswith(f"{read.path}:2: ")
    assert reason in read.problems[0]


@pytest.mark.parametrize("kind", BAD)
def test_rows_used_and_rejected_are_the_rows_read(tmp_path: Path, kind: str) -> None:
    read = table(tmp_path, f'{{"prompt": "first"}}\n{BAD[kind][0]}\n\n{{"prompt": "last"}}\n')
    found = rows.prompts(read)
    assert len(found) == len(read.rows)
    assert (read.read, len(found) + len(read.problems)) == (3, 3)


def test_every_bad_row_is_listed_at_once(tmp_path: Path) -> None:
    read = table(tmp_path, '{"prompt": "a"}\n{"prompt": null}\nnonsense\n{"prompt": ""}\n')
    rows.prompts(read)
    with pytest.raises(DataError) as error:
        read.require_clean("stop")
    said = str(error.value)
    for part in (":2", ":3", ":4", "4 rows read, 1 good, 3 bad", "on_bad_row=skip"):
        assert part in said
    assert len(error.value.problems) == 4


def test_a_long_list_of_bad_rows_is_cut_and_counted(tmp_path: Path) -> None:
    read = table(tmp_path, lines(*[{"prompt": "a"}] * 50))
    for i, row in enumerate(read.rows):  # of one code and three sentences, none of them on more than twenty rows
        read.reject(row.where, Problem("wrong-field", f"reason {'abc'[i % 3]}"))
    shown = read.shown()
    assert len(shown) == rows.MAX_SHOWN + 1
    assert shown[-1] == "... and 30 more rows like these: 30 wrong-field."


def test_one_fault_of_many_rows_is_said_three_times_and_counted(tmp_path: Path) -> None:
    read = table(tmp_path, lines(*[{"prompt": "a"}] * 2, *[{"prompt": None}] * 25, {"prompt": ""}))
    rows.prompts(read)
    with pytest.raises(DataError) as error:
        read.require_clean("stop")
    first, second, third, rest, other, total = error.value.problems
    assert [p.place.rpartition(":")[2] for p in (first, second, third, other)] == ["3", "4", "5", "28"]
    assert (rest, rest.code) == ("... and 22 more rows like this one.", "missing-field")
    assert "28 rows read, 2 good, 26 bad. Mend them, or go on without them" in total


def test_where_every_row_has_one_fault_nobody_is_told_to_leave_them_out(tmp_path: Path) -> None:
    read = table(tmp_path, lines(*[{"prompt": "a"}] * 6))
    for row in read.rows:
        said = f"the template's marks leave out 'it\\'s {row.where}', {row.where[-1]} tokens"
        read.reject(row.where, Problem("wrong-field", said))
    read.rows = []
    with pytest.raises(DataError) as error:
        read.require_clean("stop")
    assert error.value.problems[3] == "... and 3 more rows like this one."
    assert error.value.problems[4].endswith("6 rows read, 0 good, 6 bad. Mend them.")


def test_bad_rows_can_be_skipped(tmp_path: Path) -> None:
    read = table(tmp_path, '{"prompt": "a"}\nnonsense\n{"prompt": null}\n{"prompt": "b"}\n')
    assert texts(rows.prompts(read)) == ["a", "b"]
    read.require_clean("skip")
    assert (read.read, len(read.rows), len(read.problems)) == (4, 2, 2)


def test_skipping_every_row_is_an_error(tmp_path: Path) -> None:
    read = table(tmp_path, lines({"prompt": ""}, {"prompt": None}))
    assert rows.prompts(read) == []
    with refused("no-usable-row", said="no usable row is left of 2"):
        read.require_clean("skip")


@pytest.mark.parametrize(
    "end", ['{"prompt":', '{"prompt": "abc', '{"prompt": "abc"', '{"prompt": "abc", ', '{"pro\n\n']
)
def test_a_file_that_was_cut_off_says_so(tmp_path: Path, end: str) -> None:
    read = table(tmp_path, '{"prompt": "a"}\n' + end)
    assert ":2" in read.problems[0]
    assert "cut off" in read.problems[0]


def test_only_the_last_line_is_said_to_be_cut_off(tmp_path: Path) -> None:
    read = table(tmp_path, '{"prompt":\n{"prompt": "a"}\n')
    assert ":1" in read.problems[0]
    assert "cut off" not in read.problems[0]


def test_mixed_formats_are_counted(tmp_path: Path) -> None:
    values = [{"prompt": "a"}, {"prompt": "b"}, {"text": "c"}, {"prompt": "d", "completion": "e"}]
    with pytest.raises(DataError) as error:
        rows.prompts(table(tmp_path, lines(*values)))
    for part in ("2 rows look like prompt", "1 rows look like text", "1 rows look like prompt_completion"):
        assert part in str(error.value)
    assert "first odd one: " in str(error.value) and ":3" in str(error.value)


@pytest.mark.parametrize(("typo", "meant"), [("promt", "prompt"), ("mesages", "messages"), ("txt", "text")])
def test_a_mistyped_column_is_recognised(tmp_path: Path, typo: str, meant: str) -> None:
    with refused("unknown-rows", said=f"Is '{typo}' meant to be \"{meant}\"") as error:
        rows.prompts(table(tmp_path, lines({typo: "a"}, {typo: "b"})))
    assert f"found columns {typo}" in str(error.value)


def test_columns_like_none_of_the_formats_are_named_without_a_guess(tmp_path: Path) -> None:
    with refused("unknown-rows"):
        rows.prompts(table(tmp_path, lines({"zzz": "a", "n": 1})))


def test_text_rows_are_no_prompts(tmp_path: Path) -> None:
    read = table(tmp_path, lines({"text": "a"}))
    assert rows.prompts(read) == []
    assert '"prompt" is missing' in read.problems[0]


# ---------------------------------------------------------------------------------------------------- prompts


@pytest.mark.parametrize("column", rows.ANSWERS)
def test_the_answer_may_stand_in_any_usual_column(tmp_path: Path, column: str) -> None:
    (found,) = rows.prompts(table(tmp_path, lines({"prompt": "a", column: "4"})))
    assert found.answer == "4"
    assert found.columns["answer"] == "4"


def test_a_null_answer_does_not_hide_the_solution(tmp_path: Path) -> None:
    (found,) = rows.prompts(table(tmp_path, lines({"prompt": "a", "answer": None, "solution": "4"})))
    assert found.answer == "4"
    assert found.columns["answer"] == "4"


def test_ids_are_stable_and_repeats_are_told_apart(tmp_path: Path) -> None:
    text = lines({"prompt": "a", "n": 1}, {"n": 1, "prompt": "a"}, {"prompt": "a", "n": 2})
    first, repeat, other = (p.id for p in rows.prompts(table(tmp_path, text)))
    assert repeat == f"{first}-2"
    assert other not in (first, repeat)
    assert [p.id for p in rows.prompts(table(tmp_path, text, "copy.jsonl"))] == [first, repeat, other]


def carried_through_a_checkpoint(found: list[Prompt]) -> list[Group]:
    """Groups of these prompts that wait for the next step, read back from a checkpoint in strict JSON."""
    sampler: Any = None  # nothing is sampled here
    source, again = (
        RolloutSource(found, sampler, Rewards([]), Sampling(), 1, 1, Cursor(len(found), seed=0), seed=0)
        for _ in range(2)
    )
    source.carried = [Group(p, (Completion((1, 2), "x", logprobs=(-0.5, -0.25), reward=1.0),)) for p in found]
    again.restore(json.loads(json.dumps(source.state(), allow_nan=False)))
    assert again.carried == source.carried
    return again.carried


def test_every_prompt_of_a_file_survives_a_checkpoint(tmp_path: Path) -> None:
    repeated = [{"prompt": "a"}, {"prompt": "a"}]
    found = rows.prompts(table(tmp_path, lines({"prompt": [USER], "n": [1.5, {"k": None}]}, *repeated)))
    assert [g.prompt for g in carried_through_a_checkpoint(found)] == found


@pytest.mark.parametrize("value", [0.5, datetime(2024, 1, 1), b"\x00"], ids=["number", "date", "bytes"])
def test_every_prompt_of_a_data_set_survives_a_checkpoint(tmp_path: Path, value: Any) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_dict({"prompt": ["a"], "extra": [value]}).save_to_disk(str(tmp_path / "saved"))
    found = rows.prompts(rows.read(str(tmp_path / "saved")))
    assert [g.prompt.columns for g in carried_through_a_checkpoint(found)] == [{"extra": value}]


def test_a_number_that_is_missing_in_a_data_set_survives_a_checkpoint(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    saved = {"prompt": ["a"], "extra": [float("nan")]}
    datasets.Dataset.from_dict(saved).save_to_disk(str(tmp_path / "saved"))
    assert len(carried_through_a_checkpoint(rows.prompts(rows.read(str(tmp_path / "saved"))))) == 1


# -------------------------------------------------------------------------------------------- written answers


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "a", "completion": "b", "level": 3},
        {"prompt": [USER], "completion": [ASSISTANT], "level": 3},
        {"messages": [USER, ASSISTANT], "level": 3},
        {"text": "abc", "level": 3},
    ],
    ids=lambda row: "+".join(row),
)
def test_a_written_answer_is_a_group_of_one_with_reward_1(tmp_path: Path, row: dict[str, Any]) -> None:
    read = table(tmp_path, lines(row))
    (group,) = rows.groups(read, renderer(), None)
    (completion,) = group.completions
    assert completion.reward == 1.0
    assert completion.tokens[-1] == renderer().tokenizer.eos_token_id
    assert group.prompt.columns == {"level": 3}
    assert group.prompt.id
    assert (read.read, read.problems) == (1, [])


UNTRAINABLE = {
    "null completion": ({"prompt": "a", "completion": None}, '"completion" is null'),
    "empty completion": ({"prompt": "a", "completion": ""}, '"completion" is empty'),
    "null prompt": ({"prompt": None, "completion": "b"}, '"prompt" is null'),
    "text and messages": ({"prompt": "a", "completion": [ASSISTANT]}, "both be text or both be messages"),
    "messages and text": ({"prompt": [USER], "completion": "b"}, "both be text or both be messages"),
    "no assistant": ({"prompt": [USER], "completion": [USER]}, ""),
    "unknown role": (
        {"prompt": [USER], "completion": [{"role": "gpt", "content": "b"}]},
        "message 1 has role 'gpt'",
    ),
    "too long": ({"prompt": "a" * 60, "completion": "b" * 60}, "121 tokens, the context holds 100"),
}
"""Kind -> (row, part of the reason)."""


@pytest.mark.parametrize("kind", UNTRAINABLE)
def test_a_row_that_cannot_be_trained_on_is_rejected_by_its_line(tmp_path: Path, kind: str) -> None:
    row, reason = UNTRAINABLE[kind]
    good = {"prompt": "a", "completion": "b"}
    read = table(tmp_path, lines(good, row, good))
    assert len(rows.groups(read, renderer(), 100)) == 2
    assert len(read.problems) == 1
    assert read.problems[0].startswith(f"{read.path}:2: ")
    assert reason in read.problems[0]
    assert read.read == len(read.rows) + len(read.problems)


CONVERSATIONS = {
    "null": (None, '"messages" is null'),
    "text": ("a", "must be a list of messages"),
    "empty": ([], "empty list"),
    "ends with the user": ([USER, ASSISTANT, USER], "ends with a message of the user"),
}
"""Kind -> (messages, part of the reason)."""


@pytest.mark.parametrize("kind", CONVERSATIONS)
def test_a_conversation_that_cannot_be_trained_on_is_rejected_by_its_line(tmp_path: Path, kind: str) -> None:
    messages, reason = CONVERSATIONS[kind]
    good = {"messages": [USER, ASSISTANT]}
    read = table(tmp_path, lines(good, {"messages": messages}, good))
    assert len(rows.groups(read, renderer(), None)) == 2
    assert read.problems[0].startswith(f"{read.path}:2: ")
    assert reason in read.problems[0]


def test_a_conversation_that_the_assistant_opens_is_rejected_by_its_line(tmp_path: Path) -> None:
    good = {"messages": [USER, ASSISTANT]}
    read = table(tmp_path, lines(good, {"messages": [ASSISTANT, USER, ASSISTANT]}, good))
    found = rows.groups(read, renderer(), None)
    assert (len(found), len(read.problems)) == (2, 1)
    assert read.problems[0].startswith(f"{read.path}:2: ")
    assert "starts with the assistant" in read.problems[0]


def test_a_conversation_that_the_template_refuses_is_rejected_by_its_line(tmp_path: Path) -> None:
    refuse = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    system = {"role": "system", "content": "be kind"}
    good = {"messages": [USER, ASSISTANT]}
    read = table(tmp_path, lines(good, {"messages": [system, USER, ASSISTANT]}, good))
    assert len(rows.groups(read, renderer(refuse + CHAT), None)) == 2
    assert read.problems[0].startswith(f"{read.path}:2: ")
    assert "no system role" in read.problems[0]


def test_an_answer_without_an_assistant_is_rejected_where_the_template_has_no_generation_prompt(
    tmp_path: Path,
) -> None:
    good = {"prompt": [USER], "completion": [ASSISTANT]}
    read = table(tmp_path, lines(good, {"prompt": [USER], "completion": [USER]}, good))
    assert len(rows.groups(read, renderer(TURNS), None)) == 2
    assert read.problems[0].startswith(f"{read.path}:2: ")


def test_conversations_need_a_chat_template(tmp_path: Path) -> None:
    read = table(tmp_path, lines({"messages": [USER, ASSISTANT]}))
    with refused("no-chat-template"):
        rows.groups(read, renderer(chat_template=None), None)
        read.require_clean("stop")


def test_prompts_alone_are_nothing_to_fine_tune_on(tmp_path: Path) -> None:
    with refused("wrong-rows", said='no "completion"'):
        rows.groups(table(tmp_path, lines({"prompt": "a"})), renderer(), None)


# ----------------------------------------------------------------------------------------------------- cursor


@pytest.mark.parametrize("step", [1, 3, 7, 10, 25])
def test_every_item_is_drawn_once_per_epoch(step: int) -> None:
    cursor = Cursor(10, seed=3)
    drawn = [i for _ in range(-(-40 // step)) for i in cursor.take(step)][:40]
    epochs = [drawn[k : k + 10] for k in range(0, 40, 10)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4


def test_the_order_is_fixed_by_the_seed() -> None:
    orders = [list(Cursor(20, seed).take(60)) for seed in (0, 0, 1)]
    assert orders[0] == orders[1]
    assert orders[0] != orders[2]


@pytest.mark.parametrize("done", [0, 1, 9, 10, 11, 20, 33])
def test_a_restored_cursor_goes_on_where_it_stood(done: int) -> None:
    whole = list(Cursor(10, seed=5).take(50))
    cursor = Cursor(10, seed=5)
    list(cursor.take(done))
    assert cursor.drawn == done
    assert list(Cursor(10, seed=5, drawn=cursor.drawn).take(50 - done)) == whole[done:]


def test_a_cursor_in_use_can_be_set_back() -> None:
    cursor = Cursor(10, seed=5)
    whole = list(cursor.take(35))
    for drawn in (3, 12, 20, 30):
        cursor.drawn = drawn
        assert list(cursor.take(35 - drawn)) == whole[drawn:]


def test_epochs_are_counted_in_parts() -> None:
    cursor = Cursor(8, seed=0)
    list(cursor.take(12))
    assert cursor.epochs == 1.5


def test_a_restored_file_source_repeats_the_rest_of_the_run(tmp_path: Path) -> None:
    read = table(tmp_path, lines(*[{"prompt": str(i), "completion": "a"} for i in range(5)]))
    items = rows.groups(read, renderer(), None)

    async def steps(source: FileSource, n: int) -> list[list[str]]:
        return [[g.prompt.text for g in (await source.draw(k, n)).groups] for k in range(n)]

    whole = asyncio.run(steps(FileSource(items, 3, Cursor(5, seed=1)), 6))
    source = FileSource(items, 3, Cursor(5, seed=1))
    asyncio.run(steps(source, 2))
    again = FileSource(items, 3, Cursor(5, seed=1))
    again.restore(json.loads(json.dumps(source.state())))
    assert asyncio.run(steps(again, 4)) == whole[2:]


# ------------------------------------------------------------------------------------- turns that teach nothing right

BACK = {"role": "assistant", "content": "yo"}
POINTLESS = {
    "a list as text": ({"text": [USER, BACK]}, '"text" holds a list; where it is one of messages, call it so:'),
    "an answer that the user ends": (
        {"prompt": [USER], "completion": [BACK, USER]},
        '"completion" ends with a message of the user',
    ),
    "an answer that a tool begins": (
        {"prompt": [USER], "completion": [{"role": "tool", "content": "x"}, BACK]},
        '"completion" begins with a message of the tool',
    ),
    "an answer to an answer": (
        {"prompt": [USER, BACK], "completion": [BACK]},
        '"prompt" ends with an assistant message',
    ),
    "an empty answer": ({"messages": [USER, BACK | {"content": " "}]}, "message 2 is empty: the assistant says"),
    "an empty question": ({"messages": [USER | {"content": ""}, BACK]}, "message 1 is empty: the user says nothing"),
}
"""Kind -> (row, part of the reason)."""


@pytest.mark.parametrize("kind", POINTLESS)
def test_turns_that_teach_nothing_right_are_bad(tmp_path: Path, kind: str) -> None:
    row, reason = POINTLESS[kind]
    sound = {"text": "hi", "messages": [USER, BACK], "prompt": [USER], "completion": [BACK]}
    read = table(tmp_path, lines({name: sound[name] for name in row}, row))
    assert len(rows.groups(read, renderer(), None)) == 1
    assert read.problems[0].startswith(f"{read.path}:2: ") and reason in read.problems[0]


def test_an_empty_answer_is_none_and_verls_truth_is_taken(tmp_path: Path) -> None:
    truth = {"reward_model": {"style": "rule", "ground_truth": "34"}}
    found = table(tmp_path, "".join(json.dumps(row) + "\n" for row in (
        {"prompt": "a", "answer": "", "solution": "so 34", **truth},
        {"prompt": "b", "answer": "35", **truth},
    )))  # fmt: skip
    first, second = rows.prompts(found)
    assert (first.answer, first.columns["answer"], second.answer) == ("34", "34", "35")
    assert found.notes == [
        f'{found.path}: in 1 of 2 rows "answer" says another thing than the "ground_truth" of "reward_model"; "answer" '
        "is taken"
    ]
    (blank,) = rows.prompts(table(tmp_path, '{"prompt": "a", "answer": " ", "solution": "so 34"}\n'))
    assert blank.answer == "so 34"
