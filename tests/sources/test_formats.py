"""Rows as people keep them become canonical rows; what fits two formats, or none, is said."""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any

import pytest

from postlude.data import Group
from postlude.errors import DataError
from postlude.models.chat import Renderer
from postlude.models.tiny import character_tokenizer
from postlude.sources import file as rows
from postlude.sources.file import Reading
from tests.refusals import refused

USER, ASSISTANT = {"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"}
CHAT = (
    "{% for m in messages %}{{ m['role'] + ':' + (m['content'] or '') + '<eos>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}"
)


def table(folder: Path, *values: Any) -> rows.Table:
    (folder / "data.jsonl").write_text("".join(json.dumps(v) + "\n" for v in values))
    return rows.read(str(folder / "data.jsonl"))


def canonical(folder: Path, row: dict[str, Any], want: Any = "answers", **reading: Any) -> dict[str, Any]:
    """The canonical columns of one row."""
    read = table(folder, row)
    rows.recognise(read, want, Reading(**reading))
    assert read.problems == []
    names = ("prompt", "completion", "messages", "text", "answer")
    return {k: v for k, v in read.rows[0].values.items() if k in names}


def renderer() -> Renderer:
    tokenizer = character_tokenizer(string.printable, chat_template=CHAT)
    return Renderer(tokenizer, frozenset({tokenizer.eos_token_id}))


# ------------------------------------------------------------------------------------------------- recognising

ALPACA = {"instruction": "Add.", "input": "1, 2", "output": "3"}
SHAREGPT = {"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "yo"}]}
VERL = {
    "data_source": "gsm8k", "prompt": [USER], "ability": "math",
    "reward_model": {"style": "rule", "ground_truth": "4"}, "extra_info": {"index": 0},
}  # fmt: skip
KNOWN = {
    "prompt": ({"prompt": "a"}, "prompt"),
    "prompt and completion": ({"prompt": "a", "completion": "b"}, "prompt and completion"),
    "messages": ({"messages": [USER, ASSISTANT]}, "messages"),
    "text": ({"text": "a"}, "text"),
    "Alpaca": (ALPACA, "Alpaca (instruction, input, output)"),
    "Alpaca without input": ({"instruction": "a", "output": "b"}, "Alpaca (instruction, output)"),
    "ShareGPT": (SHAREGPT, "ShareGPT (conversations)"),
    "ShareGPT with system": (SHAREGPT | {"system": "s"}, "ShareGPT (conversations, system)"),
    "verl": (VERL, "verl (prompt, reward_model)"),
    "OpenRLHF": ({"input": "a", "output": "b"}, "OpenRLHF (input, output)"),
    "OpenRLHF messages": ({"context_messages": [USER]}, "OpenRLHF (context_messages)"),
    "question": ({"question": "a", "answer": "b"}, "question as prompt"),
    "query": ({"query": "a", "response": "b"}, "query as prompt and response as completion"),
    "problem": ({"problem": "a", "output": "b"}, "problem as prompt and output as completion"),
    "a prompt and another answer": (
        {"prompt": "a", "response": "b"},
        "prompt and completion (completion from response)",
    ),
}
"""Kind -> (row, what it is called)."""


@pytest.mark.parametrize("kind", KNOWN)
def test_a_format_is_recognised_and_named(tmp_path: Path, kind: str) -> None:
    row, said = KNOWN[kind]
    read = table(tmp_path, row, row)
    rows.recognise(read, "answers")
    assert read.form == said
    assert [{k: r.values[k] for k in row} for r in read.rows] == [row, row], "the columns stay under their own names"


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"question": "a", "reply": "b"}, "question as prompt and reply as completion"),
        (ALPACA | {"reply": "b"}, "Alpaca (instruction, input, output, reply)"),
        ({"prompt": "a", "reply": "b"}, "prompt and completion (completion from reply)"),
    ],
)
def test_a_completion_that_was_named_is_told_by_its_column(tmp_path: Path, row: dict[str, str], said: str) -> None:
    read = table(tmp_path, row)
    rows.recognise(read, "answers", Reading({"completion": "reply"}))
    assert read.form == said
    assert read.rows[0].values["completion"] == "b"


def test_alpaca_is_framed_as_it_was_published(tmp_path: Path) -> None:
    found = canonical(tmp_path, ALPACA)
    assert found["completion"] == "3"
    assert found["prompt"] == (
        "Below is an instruction that describes a task, paired with an input that provides further context. Write a "
        "response that appropriately completes the request.\n\n### Instruction:\nAdd.\n\n### Input:\n1, 2\n\n"
        "### Response:\n"
    )
    bare = canonical(tmp_path, {"instruction": "Add.", "input": "", "output": "3", "system": "Be kind."})
    assert bare["prompt"] == "Be kind.\n\n### Instruction:\nAdd.\n\n### Response:\n"


def test_alpaca_as_chat_is_a_users_message(tmp_path: Path) -> None:
    found = canonical(tmp_path, ALPACA | {"system": "s"}, chat=True)
    assert found["prompt"] == [{"role": "system", "content": "s"}, {"role": "user", "content": "Add.\n\n1, 2"}]
    assert found["completion"] == [{"role": "assistant", "content": "3"}]


def test_text_becomes_chat_where_that_is_asked_for(tmp_path: Path) -> None:
    found = canonical(tmp_path, {"question": "hi", "response": "yo"}, chat=True)
    assert found == {"prompt": [USER], "completion": [ASSISTANT]}
    assert canonical(tmp_path, {"prompt": [USER], "completion": [ASSISTANT]}, chat=True) == found
    assert canonical(tmp_path, {"prompt": "", "completion": None}, chat=True) == {"prompt": "", "completion": None}


def test_sharegpt_speakers_become_roles(tmp_path: Path) -> None:
    turns = [("system", "s"), ("human", "u"), ("function_call", '{"name": "f", "arguments": {"x": 1}}'),
             ("observation", "1"), ("gpt", "a"), ("user", "v"), ("assistant", "b")]  # fmt: skip
    found = canonical(tmp_path, {"conversations": [{"from": f, "value": v} for f, v in turns]})["messages"]
    assert [m["role"] for m in found] == ["system", "user", "assistant", "tool", "assistant", "user", "assistant"]
    assert found[2]["tool_calls"] == [{"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}]
    assert [m["content"] for m in found] == ["s", "u", None, "1", "a", "v", "b"]


def test_a_system_column_opens_a_sharegpt_conversation_once(tmp_path: Path) -> None:
    system = {"role": "system", "content": "s"}
    assert canonical(tmp_path, SHAREGPT | {"system": "s"})["messages"] == [system, USER, ASSISTANT]
    assert canonical(tmp_path, SHAREGPT | {"system": ""})["messages"] == [USER, ASSISTANT]
    own = {"conversations": [{"from": "system", "value": "t"}, *SHAREGPT["conversations"]], "system": "s"}
    assert canonical(tmp_path, own)["messages"][0]["content"] == "t"


def test_conversations_may_hold_messages(tmp_path: Path) -> None:
    assert canonical(tmp_path, {"conversations": [USER, ASSISTANT]})["messages"] == [USER, ASSISTANT]


def test_verl_rows_give_the_answer_and_keep_their_columns_for_rewards(tmp_path: Path) -> None:
    (found,) = rows.prompts(table(tmp_path, VERL))
    assert (found.messages, found.answer) == ([USER], "4")
    assert found.columns == {k: v for k, v in VERL.items() if k != "prompt"} | {"answer": "4"}


def test_a_column_called_reward_model_does_not_make_a_row_verl(tmp_path: Path) -> None:
    read = table(tmp_path, {"prompt": "a", "reward_model": "some/model"})
    assert rows.prompts(read)[0].columns == {"reward_model": "some/model"}
    assert read.form == "prompt"


def test_an_answer_in_the_file_is_no_completion_for_a_method_that_samples(tmp_path: Path) -> None:
    read = table(tmp_path, {"question": "a", "response": "b", "output": "c"})
    (found,) = rows.prompts(read)
    assert found.columns == {"question": "a", "response": "b", "output": "c"}
    assert read.form == "question as prompt"


def test_openai_messages_keep_calls_and_lose_their_wrapping(tmp_path: Path) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"x": "1"}'}}
    parts = [{"type": "text", "text": "h"}, {"type": "text", "text": "i"}]
    found = canonical(
        tmp_path,
        {"messages": [{"role": "user", "content": parts, "name": None}, ASSISTANT | {"tool_calls": [call]}]},
    )["messages"]
    assert found[0] == USER
    assert found[1]["tool_calls"][0]["function"] == {"name": "f", "arguments": {"x": "1"}}


def test_arguments_that_are_no_object_stay_as_they_were_written(tmp_path: Path) -> None:
    call = {"function": {"name": "f", "arguments": "not json"}}
    found = canonical(tmp_path, {"messages": [USER, ASSISTANT | {"tool_calls": [call]}]})["messages"]
    assert found[1]["tool_calls"] == [call]


def test_tools_may_be_json_text(tmp_path: Path) -> None:
    tool = {"type": "function", "function": {"name": "f"}}
    for tools, expected in ((json.dumps([tool]), [tool]), ([tool], [tool]), ("", None), ([], None)):
        (found,) = rows.prompts(table(tmp_path, {"prompt": [USER], "tools": tools}))
        assert found.columns == {"tools": expected}
    (plain,) = rows.prompts(table(tmp_path, {"prompt": "a", "tools": "hammer, saw"}))
    assert plain.columns == {"tools": "hammer, saw"}, "beside text it is a column like any other"


# ----------------------------------------------------------------------------------------------------- ambiguous

TWICE = {
    "two kinds": (
        {"prompt": "a", "messages": [USER, ASSISTANT]},
        "fit two formats, prompt (prompt) and messages (messages)",
        "data.columns={prompt: prompt} or data.columns={messages: messages}",
    ),
    "Alpaca and text": (
        ALPACA | {"text": "a"},
        "fit two formats, text (text) and Alpaca (instruction)",
        "data.columns={text: text} or data.columns={completion: output}",
    ),
    "an alias and messages": (
        {"problem": "a", "messages": [USER, ASSISTANT]},
        "messages (messages) and problem (problem)",
        "data.columns={messages: messages} or data.columns={prompt: problem}",
    ),
    "two aliases": ({"question": "a", "query": "b"}, "question (question) and query (query)", "{prompt: query}"),
    "two answers": (
        {"prompt": "a", "response": "b", "output": "c"},
        "the answer may stand in response or output",
        "data.columns={completion: response} or data.columns={completion: output}",
    ),
}
"""Kind -> (row, what is said, the way out)."""


@pytest.mark.parametrize("kind", TWICE)
def test_a_row_that_fits_two_formats_is_an_error_with_the_way_out(tmp_path: Path, kind: str) -> None:
    row, said, way = TWICE[kind]
    with pytest.raises(DataError) as error:
        rows.groups(table(tmp_path, row), renderer(), None)
    assert said in str(error.value) and way in str(error.value)
    assert "data.jsonl:1" in str(error.value)


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"text": "text"}, {"text": "a"}),
        ({"completion": "output"}, {"prompt": "### Response", "completion": "3"}),
    ],
)
def test_the_way_out_works(tmp_path: Path, columns: dict[str, str], expected: dict[str, str]) -> None:
    read = table(tmp_path, ALPACA | {"text": "a"})
    kind = rows.recognise(read, "answers", Reading(columns))
    assert kind == next(iter(expected))
    assert all(part in read.rows[0].values[name] for name, part in expected.items())


def test_a_canonical_name_goes_before_other_names_of_the_same_kind(tmp_path: Path) -> None:
    row = {"prompt": "a", "question": "b", "input": "c", "instruction": "d", "completion": "e", "output": "f"}
    found = canonical(tmp_path, row)
    assert (found["prompt"], found["completion"]) == ("a", "e")


def test_a_text_column_beside_prompts_is_no_format_for_sampling(tmp_path: Path) -> None:
    (found,) = rows.prompts(table(tmp_path, {"prompt": "a", "text": "b"}))
    assert found.columns == {"text": "b"}


def test_files_that_mix_formats_are_counted_by_name(tmp_path: Path) -> None:
    with refused("mixed-rows", said=r"2 rows look like Alpaca with output, 1 rows look like ShareGPT.*:2"):
        rows.groups(table(tmp_path, ALPACA, SHAREGPT, ALPACA), renderer(), None)


# --------------------------------------------------------------------------------------------------- the columns


def test_named_columns_go_before_what_is_recognised(tmp_path: Path) -> None:
    row = {"question": "q", "prompt": "p", "reply": "r", "gold": "g", "answer": "a"}
    read = table(tmp_path, row)
    (group,) = rows.groups(read, renderer(), None, reading=Reading({"prompt": "question", "completion": "reply"}))
    assert (group.prompt.messages, group.completions[0].text) == ("q", "r")
    assert read.form == "prompt and completion (prompt from question, completion from reply)"
    (prompt,) = rows.prompts(table(tmp_path, row), Reading({"prompt": "question", "answer": "gold"}))
    assert (prompt.messages, prompt.answer, prompt.columns["question"]) == ("q", "g", "q")


def test_any_column_can_be_given_the_name_a_reward_wants(tmp_path: Path) -> None:
    (found,) = rows.prompts(table(tmp_path, {"prompt": "a", "final": 3}), Reading({"gold": "final"}))
    assert found.columns == {"final": 3, "gold": 3}


def test_turns_of_a_named_column_are_read_whoever_wrote_them(tmp_path: Path) -> None:
    found = canonical(tmp_path, {"talk": SHAREGPT["conversations"], "text": "x"}, columns={"messages": "talk"})
    assert found["messages"] == [USER, ASSISTANT]


def test_columns_that_are_not_there_are_all_named_with_the_closest(tmp_path: Path) -> None:
    read = table(tmp_path, {"question": "a", "reply": "b"})
    key = "data.mix.1.columns"
    with pytest.raises(DataError) as error:
        rows.prompts(read, Reading({"prompt": "qestion", "answer": "zzz"}, False, key, key))
    first, second = error.value.problems
    assert "data.mix.1.columns takes prompt from column 'qestion'" in first
    assert "the columns are question, reply. Did you mean 'question'?" in first
    assert "answer from column 'zzz'" in second and "Did you mean" not in second


def test_a_row_without_a_named_column_is_rejected_by_its_line(tmp_path: Path) -> None:
    read = table(tmp_path, {"q": "a"}, {"other": "b"}, {"q": "c"})
    assert [p.text for p in rows.prompts(read, Reading({"prompt": "q"}))] == ["a", "c"]
    assert read.problems == [f"{read.path}:2: column 'q', which data.columns names, is missing"]
    assert read.read == 3


def test_an_answer_that_could_be_trained_on_is_suggested(tmp_path: Path) -> None:
    row = {"question": "a", "answer": "b"}
    with refused("wrong-rows", said=r"To train on 'answer': data.columns=\{completion: answer\}"):
        rows.groups(table(tmp_path, row), renderer(), None)
    (group,) = rows.groups(table(tmp_path, row), renderer(), None, reading=Reading({"completion": "answer"}))
    assert group.completions[0].text == "b"


# ------------------------------------------------------------------------------------------------------ bad rows

BROKEN = {
    "unknown speaker": ({"conversations": [{"from": "moderator", "value": "a"}]}, "a turn from 'moderator'; known: "),
    "no value": (
        {"conversations": [{"from": "human"}, {"from": "gpt", "value": "b"}]},
        'message 1 has no text in "con',
    ),
    "no list": ({"conversations": "hi"}, '"messages" must be a list of messages'),
    "null": ({"conversations": None}, '"messages" is null'),
    "not a turn": ({"conversations": ["hi"]}, "message 1 must be an object"),
    "a call that is no JSON": (
        {"conversations": [{"from": "human", "value": "a"}, {"from": "function_call", "value": "f(x)"}]},
        "function_call that is not JSON",
    ),
    "a call without a name": (
        {"conversations": [{"from": "human", "value": "a"}, {"from": "function_call", "value": "[1]"}]},
        'function_call without "name"',
    ),
    "tools that are no JSON": (SHAREGPT | {"tools": "hammer"}, '"tools" is not JSON'),
    "tools that are no schemas": (SHAREGPT | {"tools": ["hammer"]}, '"tools" must be a list of objects'),
    "ends with the human": ({"conversations": [{"from": "human", "value": "a"}]}, "ends with a message of the user"),
}
"""Kind -> (row, part of the reason)."""


@pytest.mark.parametrize("kind", BROKEN)
def test_a_row_that_cannot_be_converted_is_rejected_by_its_line(tmp_path: Path, kind: str) -> None:
    row, reason = BROKEN[kind]
    read = table(tmp_path, SHAREGPT, row, SHAREGPT)
    found: list[Group] = rows.groups(read, renderer(), None)
    assert len(found) == 2
    assert len(read.problems) == 1
    assert read.problems[0].startswith(f"{read.path}:2: ") and reason in read.problems[0]
    assert read.read == len(read.rows) + len(read.problems)


MESSAGES = {
    "null content without calls": (
        [USER, {"role": "assistant", "content": None}],
        'message 2 has no text in "content"',
    ),
    "a user's call": ([{"role": "user", "content": None, "tool_calls": [{}]}, ASSISTANT], "message 1 has no text"),
    "no list of calls": ([USER, ASSISTANT | {"tool_calls": "f()"}], 'message 2 has "tool_calls" that are not a list'),
    "a turn to leave out": ([USER, ASSISTANT | {"weight": 0}, USER, ASSISTANT], "message 2 has weight 0"),
    "no text parts": ([{"role": "user", "content": [{"type": "image_url"}]}, ASSISTANT], "message 1 has no text"),
}
"""Kind -> (messages, part of the reason)."""


@pytest.mark.parametrize("kind", MESSAGES)
def test_messages_that_say_nothing_are_rejected_by_their_line(tmp_path: Path, kind: str) -> None:
    messages, reason = MESSAGES[kind]
    read = table(tmp_path, {"messages": [USER, ASSISTANT]}, {"messages": messages})
    assert len(rows.groups(read, renderer(), None)) == 1
    assert read.problems[0].startswith(f"{read.path}:2: ") and reason in read.problems[0]


def test_alpaca_rows_with_a_history_are_not_cut_short(tmp_path: Path) -> None:
    read = table(tmp_path, ALPACA, ALPACA | {"history": [["a", "b"]]}, ALPACA | {"history": []})
    assert len(rows.groups(read, renderer(), None)) == 2
    assert '"history" is not read' in read.problems[0]


def test_written_answers_have_ids_of_their_own(tmp_path: Path) -> None:
    found = rows.groups(table(tmp_path, ALPACA, ALPACA), renderer(), None)
    assert found[1].prompt.id == f"{found[0].prompt.id}-2"
