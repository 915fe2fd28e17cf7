"""Rows of a file or data set, checked one by one, as prompts or as groups with written answers."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import groupby
from typing import Any

from postlude.data import RESERVED, Completion, Group, Prompt, row_id
from postlude.errors import DataError, Problem
from postlude.models.chat import Renderer, options_of
from postlude.sources.formats import recognise, require_one_shape
from postlude.sources.forms import ANSWERS, Reading, given_answer, is_missing
from postlude.sources.order import Cursor, Mixture
from postlude.sources.reading import read
from postlude.sources.source import Drawn
from postlude.sources.table import MAX_SHOWN, Kind, Row, Table
from postlude.sources.unused import TRAINED, Unused

__all__ = [
    "ANSWERS", "MAX_SHOWN", "Cursor", "FileSource", "Mixture", "Reading", "Row", "Table",
    "groups", "prompts", "read", "recognise", "renamed", "require_answers",
]  # fmt: skip

EARLY = Problem(
    "answer-ends-early",
    "the answer goes on behind a token that ends answers: no model would write the rest. Cut it there, or make a text "
    "row of prompt and answer",
)
ROLES = {"system", "user", "assistant", "tool", "developer"}


# ------------------------------------------------------------------------------------------------------- checks


def is_blank(text: str) -> bool:
    """Whether nobody would see anything: white space, controls, characters of no width."""
    return all(mark.isspace() or unicodedata.category(mark) in ("Cf", "Cc") for mark in text)


def _surrogate(text: str) -> int | None:
    """Where a lone surrogate stands; None where there is none."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        return error.start
    return None


def field_problem(value: Any, name: str, roles_end: str | None = None) -> Problem | None:
    """What is wrong with a text or message field; None where nothing is."""
    if value is None:
        return Problem("missing-field", f'"{name}" is null')
    if isinstance(value, str):
        if is_blank(value):
            return Problem("empty-field", f'"{name}" is empty')
        surrogate = _surrogate(value)
        if surrogate is not None:
            return Problem(
                "unencodable-text", f'"{name}" holds a lone surrogate at character {surrogate}, which no file can store'
            )
        return None
    if not isinstance(value, list):
        return Problem(
            "wrong-field",
            f'"{name}" must be text or a list of messages, found {type(value).__name__} {str(value)[:40]!r}',
        )
    if not value:
        return Problem("empty-field", f'"{name}" is an empty list of messages')
    for i, message in enumerate(value):
        problem = _message_problem(message)
        if problem:
            return problem.within(f'"{name}" message {i + 1} ')
    if roles_end and value[-1]["role"] != roles_end:
        return Problem(
            "bad-messages",
            f'"{name}" ends with a message of the {value[-1]["role"]}; the last must be the {roles_end}\'s',
        )
    return None


def _message_problem(message: Any) -> Problem | None:
    if not isinstance(message, dict) or "role" not in message:
        return Problem("bad-messages", 'must be an object with "role" and "content"')
    if not isinstance(message["role"], str) or message["role"] not in ROLES:
        return Problem("bad-messages", f"has role {message['role']!r}; use one of {', '.join(sorted(ROLES))}")
    calls = message.get("tool_calls")
    if calls is not None and not (isinstance(calls, list) and all(isinstance(c, dict) for c in calls)):
        return Problem("bad-messages", 'has "tool_calls" that are not a list of objects')
    content = message.get("content")
    if content is None and calls and message["role"] == "assistant":
        return None
    if not isinstance(content, str):
        return Problem("bad-messages", 'has no text in "content"' + _seen_instead(message))
    surrogate = _surrogate(content)
    if surrogate is not None:
        return Problem("unencodable-text", f"holds a lone surrogate at character {surrogate}, which no file can store")
    if message["role"] in ("user", "assistant") and is_blank(content) and not calls:
        return Problem("empty-field", f"is empty: the {message['role']} says nothing")
    return None


def _seen_instead(message: Mapping[str, Any]) -> str:
    """What a message without text holds: parts of other kinds, a refusal, a value that is none."""
    content = message.get("content")
    if isinstance(content, list):
        kinds = [str(part.get("type")) if isinstance(part, dict) else type(part).__name__ for part in content]
        return f", but parts of the kinds {', '.join(dict.fromkeys(kinds))}" if kinds else ", but an empty list"
    if content is not None:
        return f", found {type(content).__name__} {str(content)[:40]!r}"
    refusal = message.get("refusal")
    return '; what "refusal" says can be written there' if isinstance(refusal, str) and refusal else ""


def answer_messages_problem(messages: Any, name: str) -> Problem | None:
    """What is wrong with the turns that answer a prompt of messages; None for text, which has none."""
    if not isinstance(messages, list):
        return None
    if all(m["role"] != "assistant" for m in messages):
        return Problem("bad-messages", f'"{name}": the answer holds no message of the assistant')
    for place, where in ((0, "begins"), (-1, "ends")):
        if messages[place]["role"] != "assistant":
            return Problem(
                "bad-messages",
                f'"{name}" {where} with a message of the {messages[place]["role"]}; it must be the assistant\'s',
            )
    return _left_out(messages, name)


def unanswered_problem(messages: Any, name: str) -> Problem | None:
    """What is wrong with a prompt that the assistant has had the last word in."""
    if isinstance(messages, list) and messages and isinstance(messages[-1], dict):
        if messages[-1].get("role") == "assistant":
            return Problem("bad-messages", f'"{name}" ends with an assistant message; the policy must answer a user\'s')
    return None


def unique_id(row: Row, seen: Counter[str]) -> str:
    """An id for a row that no other has; a repeated row gets a suffix."""
    name = row_id(row.values)
    seen[name] += 1
    return name if seen[name] == 1 else f"{name}-{seen[name]}"


# ------------------------------------------------------------------------------------------------------ prompts


def prompts(table: Table, reading: Reading | None = None, seen: Counter[str] | None = None) -> list[Prompt]:
    """Every usable row as a prompt; problems go to the table.

    Ids are unique: repeats get a suffix. `seen`: ids in use, shared by the sets of a mixture.
    """
    column = "messages" if recognise(table, "prompts", reading) == "messages" else "prompt"
    good: list[Row] = []
    result: list[Prompt] = []
    seen = Counter() if seen is None else seen
    left = {column, *renamed(reading)}
    instead = other = 0
    for row in table.rows:
        messages: Any = row.values.get(column)
        problem = _prompt_problem(row, column)
        if problem:
            table.reject(row.where, problem)
            continue
        good.append(row)
        answer = _gold(given_answer(row.values))
        columns = {k: v for k, v in row.values.items() if k not in left}
        if isinstance(columns.get("answer"), Decimal):
            columns["answer"] = _gold(columns["answer"])
        other += _other_truth(row.values)
        if is_missing(columns.get("answer")) and not is_missing(answer):
            instead += "answer" in columns
            columns["answer"] = answer
        result.append(Prompt(unique_id(row, seen), messages, answer, columns, place=row.where))
    table.rows = good
    if instead:
        others = ", ".join(c for c in ANSWERS[1:] if c in table.columns)
        table.notes.append(
            f'{table.path}: in {instead} of {len(good)} rows "answer" is missing and taken from {others}'
        )
    if other:
        table.notes.append(
            f'{table.path}: in {other} of {len(good)} rows "answer" says another thing than the "ground_truth" of '
            '"reward_model"; "answer" is taken'
        )
    return result


def _other_truth(row: Mapping[str, Any]) -> bool:
    """Whether verl's truth is not what the row's own answer says."""
    truth = row.get("reward_model")
    truth = truth.get("ground_truth") if isinstance(truth, dict) else None
    answer = row.get("answer")
    return not is_missing(answer) and not is_missing(truth) and str(answer).strip() != str(truth).strip()


def _gold(answer: Any) -> Any:
    """A decimal number, as data bases give them, as a plain one."""
    if isinstance(answer, Decimal) and answer.is_finite():
        return int(answer) if answer == answer.to_integral_value() else float(answer)
    return None if isinstance(answer, Decimal) else answer


def renamed(reading: Reading | None) -> set[str]:
    """Columns with the name of a reward's argument that were given another: they do not stand under both."""
    names = reading.columns.items() if reading else ()
    return {column for name, column in names if name != column and column in RESERVED}


def _prompt_problem(row: Row, column: str) -> Problem | None:
    if column not in row.values:
        return Problem("missing-field", '"prompt" is missing. Rows for sampling need "prompt" (text or messages)')
    answer = given_answer(row.values)
    if not isinstance(answer, str | int | float | list | dict | Decimal | None):
        return Problem(
            "wrong-field", f"the answer is of the kind {type(answer).__name__}, which no text equals; write it as text"
        )
    messages = row.values[column]
    return unanswered_problem(messages, column) or field_problem(messages, column)


# ------------------------------------------------------------------------------------------------ written answers


def groups(
    table: Table,
    renderer: Renderer,
    max_tokens: int | None,
    vocabulary: int | None = None,
    reading: Reading | None = None,
    seen: Counter[str] | None = None,
) -> list[Group]:
    """Every usable row as a group of one written answer; problems go to the table. Ids are unique as in `prompts`."""
    kind = require_answers(table, reading)
    seen = Counter() if seen is None else seen
    good: list[Row] = []
    result: list[Group] = []
    fewer = 0
    unused = Unused(renderer)
    for row in table.rows:
        try:
            group = _usable(row, kind, unused, max_tokens, vocabulary)
        except DataError as error:
            table.reject(row.where, error.problems[0])
            continue
        good.append(row)
        result.append(replace(group, prompt=replace(group.prompt, id=unique_id(row, seen), place=row.where)))
        fewer += _trains_fewer_turns(row.values, kind, group.completions[0])
    table.rows = good
    require_one_shape(table)
    if fewer:
        table.notes.append(
            f"{table.path}: in {fewer} of {len(good)} rows not every turn of the assistant is trained: the chat "
            "template renders earlier turns otherwise than they were written (it drops their thinking, say)"
        )
    unused.write_notes(table)
    return result


def require_answers(table: Table, reading: Reading | None = None) -> Kind:
    """The kind of rows, which must hold something to imitate."""
    kind = recognise(table, "answers", reading)
    if kind == "prompt" and table.rows and "completion" not in table.columns:
        answers = [name for name in ANSWERS if name in table.columns]
        key = reading.own_key if reading else "data.columns"
        hint = f" To train on {answers[0]!r}: {key}={{completion: {answers[0]}}}." if answers else ""
        raise DataError(
            f'{table.path}: rows have "prompt" but no "completion": nothing to fine-tune on. They were taken for '
            f"{table.form}, with columns {', '.join(sorted(table.columns))}; {key} can name the completion.{hint}",
            code="wrong-rows",
        )
    return kind


def _trains_fewer_turns(row: Mapping[str, Any], kind: Kind, completion: Completion) -> bool:
    """Whether the assistant says more turns than stretches of its tokens are trained."""
    said: Any = row["completion"] if kind == "prompt" else row.get(kind)
    if not isinstance(said, list):
        return False
    roles = [m["role"] for m in said]
    return sum(trained for trained, _ in groupby(completion.has_action)) < roles.count("assistant")


def _said(row: Mapping[str, Any], kind: Kind) -> tuple[Any, Mapping[str, Any], tuple[Any, ...]]:
    """Prompt, columns and answers of a row, as far as they are to be told apart before it is rendered."""
    if kind == "prompt":
        return row["prompt"], row, (row["completion"],)
    return (row["text"], row, ()) if kind == "text" else ([], row, (row["messages"],))


def _usable(row: Row, kind: Kind, unused: Unused, max_tokens: int | None, vocabulary: int | None) -> Group:
    """The group of a row, which is used whole or not at all (DataError); without a trained token it teaches nothing."""
    problem = answer_problem(row.values, kind) or unused.problem(*_said(row.values, kind))
    if problem:
        raise DataError(problem)
    group = _group(row, kind, unused.renderer)
    (completion,) = group.completions
    if not any(completion.has_action):
        raise DataError("no token of the assistant to train on", code="nothing-to-train-on")
    if kind == "prompt" and isinstance(group.prompt.messages, str) and unused.stops_early(completion):
        raise DataError(EARLY)
    unused.look_for_unknown((*group.prompt.tokens, *completion.tokens))
    highest = max((*group.prompt.tokens, *completion.tokens))
    if vocabulary is not None and highest >= vocabulary:
        raise DataError(
            f"token id {highest} is beyond the model's vocabulary of {vocabulary}", code="token-beyond-vocabulary"
        )
    total = len(group.prompt.tokens) + len(completion.tokens)
    if max_tokens is not None and total > max_tokens:
        raise DataError(f"{total} tokens, the context holds {max_tokens}", code="too-long")
    return group


def answer_problem(row: Mapping[str, Any], kind: Kind) -> Problem | None:
    """What is wrong with a row of written answers, as far as it shows without a tokenizer."""
    if kind == "text" and isinstance(row["text"], list):
        return Problem(
            "wrong-field", '"text" holds a list; where it is one of messages, call it so: data.columns={messages: text}'
        )
    if kind == "text" and row.get("role") is not None and "parent_id" in row:
        return Problem(
            "wrong-field",
            f'the row is one message ("role" is {row["role"]!r}) of a tree ("parent_id"), not a text of its own; '
            'write each conversation as a row of "messages"',
        )
    if kind == "text":
        return field_problem(row["text"], "text")
    if kind == "messages":
        problem = field_problem(row["messages"], "messages", roles_end="assistant")
        if problem is None and isinstance(row["messages"], str):
            return Problem("wrong-field", '"messages" must be a list of messages')
        return problem or _left_out(row["messages"], "messages")
    problem = field_problem(row["prompt"], "prompt") or field_problem(row["completion"], "completion")
    if problem is None and isinstance(row["completion"], str) != isinstance(row["prompt"], str):
        problem = Problem("text-or-messages", '"prompt" and "completion" must both be text or both be messages')
    return (
        problem
        or unanswered_problem(row["prompt"], "prompt")
        or answer_messages_problem(row["completion"], "completion")
    )


def _left_out(messages: list[Any], name: str) -> Problem | None:
    """A turn that is to be trained otherwise than turns are: all of the assistant's, and no other."""
    for place, message in enumerate(messages, 1):
        for key in TRAINED:
            value, assistants = message.get(key), message["role"] == "assistant"
            wanted = value in (1, "1", "true", "True")
            if value is not None and (not wanted if assistants else wanted and key != "weight"):
                return Problem(
                    "wrong-field",
                    f'"{name}" message {place} has {key} {value}, and every turn of the assistant is trained and no '
                    "other; to train some, write a row for each, as prompt and completion",
                )
    return None


def _group(row: Row, kind: Kind, renderer: Renderer) -> Group:
    values = row.values
    read = ("prompt", "completion") if kind == "prompt" else (kind,)
    columns = {k: v for k, v in values.items() if k not in read}
    if kind == "text":
        start, completion = renderer.plain_text(values["text"])
        return Group(Prompt("", "", None, columns, start), (completion,))
    if kind == "messages":
        prompt, completion = renderer.conversation(values["messages"], values.get("tools"), options_of(values))
        return Group(replace(prompt, columns=columns), (completion,))
    prompt = renderer.with_tokens(Prompt("", values["prompt"], None, columns))
    return Group(prompt, (renderer.completion(prompt, values["completion"]),))


# ------------------------------------------------------------------------------------------------------- source


@dataclass
class FileSource:
    """Written answers, a fixed number of groups per step."""

    items: list[Group]
    size: int
    cursor: Cursor | Mixture
    name: str = ""

    async def draw(self, step: int, steps: int) -> Drawn:
        """The next `size` groups."""
        before = self.cursor.counts()
        groups = [self.items[i] for i in self.cursor.take(self.size)]
        return Drawn(groups, report={"epoch": self.cursor.epochs, **self.cursor.figures(before)}, name=self.name)

    async def settle(self) -> None:
        """Nothing is under way between draws."""

    def close(self) -> None:
        """Nothing to stop."""

    def state(self) -> dict[str, Any]:
        return self.cursor.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        self.cursor.restore(state)
