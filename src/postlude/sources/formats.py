"""The formats people keep rows in, as one table, and the way from each to `prompt`, `completion`, `messages`, `text`.

A new format is a line in `FORMS`: the columns that make a row one, and a function to the canonical columns. All other
columns, those that were read from too, stay in the row under their own names.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any, Literal

from postlude.errors import DataError
from postlude.sources.table import Kind, Row, Table

Values = Mapping[str, Any]
Want = Literal["prompts", "answers", "compared"]

COMPLETIONS = ("completion", "response", "output")
"""Columns taken as the written answer to a prompt."""
CANONICAL = (
    "prompt", "completion", "messages", "text", "answer", "tools", "system",
    "chosen", "rejected", "completions", "ranks", "scores", "label", "labels", "margin", "probability",
)  # fmt: skip
PINS: Mapping[str, Kind] = {"prompt": "prompt", "completion": "prompt", "messages": "messages", "text": "text"}
"""Canonical columns that decide, once they are named in data.columns, which kind of row this is."""
SPEAKERS = {
    "human": "user", "user": "user", "gpt": "assistant", "chatgpt": "assistant", "assistant": "assistant",
    "model": "assistant", "function_call": "assistant", "system": "system", "tool": "tool", "observation": "tool",
    "function_response": "tool",
}  # fmt: skip
"""ShareGPT's `from` -> role."""
ALPACA = (
    "Below is an instruction that describes a task. Write a response that appropriately completes the request.",
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request.",
)
"""The opening of Alpaca's own prompt, without and with an input."""


@dataclass(frozen=True)
class Reading:
    """How the columns of a file are to be read."""

    columns: Mapping[str, str] = field(default_factory=dict[str, str])
    """Canonical name -> column of the file; goes before everything that is recognised by itself."""
    chat: bool = False
    """Text prompts and answers become a user's and an assistant's message."""
    key: str = "data.columns"
    """Where `columns` stands in the recipe, for messages."""
    own_key: str = "data.columns"
    """Where columns of this file alone can be named."""

    @property
    def kind(self) -> Kind | None:
        """The kind of rows that `columns` asks for."""
        return next((PINS[name] for name in self.columns if name in PINS), None)


# ----------------------------------------------------------------------------------------------------- the table


@dataclass(frozen=True)
class Form:
    """One way to write rows down."""

    name: str
    kind: Kind
    needs: tuple[str, ...]
    """A row with these columns is of this form."""
    also: tuple[str, ...] = ()
    """Columns that are read with it where they are there."""
    convert: Callable[[Values, bool], dict[str, Any]] = lambda row, chat: {}
    """(row, whether chat is wanted) -> canonical columns to put into it."""
    when: Callable[[Values], bool] = lambda row: True
    """What else must hold of a row with the columns it needs."""

    def fits(self, row: Values) -> bool:
        return all(name in row for name in self.needs) and self.when(row)

    def covers(self, other: Form) -> bool:
        """Whether a row of this form would fit `other` only by the way."""
        return {*other.needs} < {*self.needs, *self.also} and self.needs != other.needs

    @property
    def canonical(self) -> bool:
        return self.kind in self.needs


def _is_verl(row: Values) -> bool:
    return isinstance(row["reward_model"], dict) and "ground_truth" in row["reward_model"]


def _verl(row: Values, chat: bool) -> dict[str, Any]:
    return {} if row.get("answer") is not None else {"answer": row["reward_model"]["ground_truth"]}


def _alpaca(row: Values, chat: bool) -> dict[str, Any]:
    if row.get("history"):
        raise DataError('"history" is not read with "instruction"; write the row as "messages"')
    instruction, extra, system = row["instruction"], row.get("input"), row.get("system")
    if not isinstance(instruction, str) or not instruction.strip():
        return {"prompt": instruction}
    if chat:
        return {"prompt": f"{instruction}\n\n{extra}" if extra else instruction}
    context = f"\n\n### Input:\n{extra}" if extra else ""
    return {"prompt": f"{system or ALPACA[bool(extra)]}\n\n### Instruction:\n{instruction}{context}\n\n### Response:\n"}


def _sharegpt(row: Values, chat: bool) -> dict[str, Any]:
    turns, system = row["conversations"], row.get("system")
    if not isinstance(turns, list):
        return {"messages": turns}
    starts = bool(turns) and isinstance(turns[0], dict) and "system" in (turns[0].get("from"), turns[0].get("role"))
    if system and not starts:
        return {"messages": [{"role": "system", "content": system}, *turns]}
    return {"messages": turns}


def _same(name: str) -> Callable[[Values, bool], dict[str, Any]]:
    return lambda row, chat: {"prompt": row[name]}


FORMS = (
    Form("prompt", "prompt", ("prompt",)),
    Form("messages", "messages", ("messages",)),
    Form("text", "text", ("text",)),
    Form("verl", "prompt", ("prompt", "reward_model"), convert=_verl, when=_is_verl),
    Form("Alpaca", "prompt", ("instruction",), ("input", "output", "system", "history"), _alpaca),
    Form("ShareGPT", "messages", ("conversations",), ("system",), _sharegpt),
    Form("OpenRLHF", "prompt", ("input",), ("output",), _same("input")),
    Form("OpenRLHF", "prompt", ("context_messages",), convert=_same("context_messages")),
    Form("question", "prompt", ("question",), convert=_same("question")),
    Form("query", "prompt", ("query",), convert=_same("query")),
    Form("problem", "prompt", ("problem",), convert=_same("problem")),
)


def _helpsteer(row: Values, chat: bool) -> dict[str, Any]:
    """NVIDIA's strength of preference: negative where the first answer is better."""
    name = next(n for n in ("preference_strength", "overall_preference") if n in row)
    strength = row[name]
    if isinstance(strength, bool) or not isinstance(strength, int | float):
        raise DataError(f'"{name}" must be a number, found {strength!r}')
    if strength == 0:
        raise DataError(f'"{name}" is 0: neither answer is preferred')
    prompt = row.get("prompt", row.get("context"))
    answers = [row[n] for n in ("response_1", "response_2", "response1", "response2") if n in row]
    if isinstance(prompt, list):  # HelpSteer3 answers messages with text
        answers = [_said(answer) for answer in answers]
    first, second = answers
    pair = (first, second) if strength < 0 else (second, first)
    return {"prompt": prompt, "chosen": pair[0], "rejected": pair[1]}


def _nemo(row: Values, chat: bool) -> dict[str, Any]:
    """NeMo's list of {rank, completion}; a completion there is a list of messages."""
    items = row["completions"]
    if not all("rank" in item and "completion" in item for item in items):
        raise DataError('"completions" must hold objects with "rank" and "completion"')
    return {
        "prompt": row["context"],
        "completions": [item["completion"] for item in items],
        "ranks": [item["rank"] for item in items],
    }


def _holds_objects(row: Values) -> bool:
    items = row["completions"]
    return isinstance(items, list) and bool(items) and all(isinstance(item, dict) for item in items)


COMPARED = (
    Form("pairs", "pair", ("chosen", "rejected"), ("prompt", "margin", "probability")),
    Form("HelpSteer", "pair", ("response_1", "response_2", "preference_strength"), ("prompt",), _helpsteer),
    Form("HelpSteer", "pair", ("response1", "response2", "overall_preference"), ("context",), _helpsteer),
    Form("ranked", "rated", ("prompt", "completions", "ranks"), when=lambda row: "scores" not in row),
    Form("rated", "rated", ("prompt", "completions", "scores")),
    Form("NeMo", "rated", ("context", "completions"), convert=_nemo, when=_holds_objects),
    Form("labelled", "binary", ("prompt", "completion", "label")),
    Form("labelled steps", "steps", ("prompt", "completions", "labels")),
)
"""The forms of compared and judged answers."""


# --------------------------------------------------------------------------------------------------- recognising


@dataclass(frozen=True)
class Found:
    """What one row is."""

    form: Form
    completion: str | None = None
    """The column that holds the written answer."""

    @property
    def label(self) -> str:
        if self.form.name == "prompt" and self.completion == "completion":
            return "prompt_completion"
        return f"{self.form.name} with {self.completion}" if self.completion else self.form.name


def candidates(row: Values, want: Want, kind: Kind | None = None, kinds: Sequence[Kind] = ()) -> list[Form]:
    """The forms a row fits, without those that another covers; of compared rows, those of `kinds` go before others."""
    if want == "compared":
        compared = [f for f in COMPARED if f.fits(row)]
        return [f for f in compared if f.kind in kinds] or compared
    fitting = [f for f in FORMS if (kind is None or f.kind == kind) and f.fits(row)]
    own = {f.kind for f in fitting if f.canonical}
    fitting = [f for f in fitting if f.canonical or f.kind not in own]
    fitting = [f for f in fitting if not any(other.covers(f) for other in fitting)]
    prompts = [f for f in fitting if f.kind != "text"]
    return prompts if want == "prompts" and prompts else fitting


def completions(row: Values) -> list[str]:
    """The columns that may hold the answer to the row's prompt."""
    return ["completion"] if "completion" in row else [name for name in COMPLETIONS if name in row]


def recognise(table: Table, want: Want, reading: Reading | None = None, kinds: Sequence[Kind] = ()) -> Kind:
    """Put every row into canonical columns, say in `table.form` what it was, and return the kind of rows.

    `kinds` of compared rows, those that a method learns from, decide where a row could be read in two ways.

    Rows of several formats, rows that fit two, and columns that are not there are errors. A table that was
    recognised before stays as it is.
    """
    if table.kind:
        return table.kind
    reading = reading or Reading()
    _rename(table, reading)
    found = [_found(row, want, reading, table, kinds) for row in table.rows]
    only = _only(table, _without_unknown(table, found), want)
    table.kind = only.form.kind
    table.form = _compared(table, only.form) if want == "compared" else _sentence(table, only, reading)
    table.rows = [row for row in (_canonical(table, row, only, reading) for row in table.rows) if row]
    return table.kind


def _rename(table: Table, reading: Reading) -> None:
    """Put the columns that the recipe names under their canonical names."""
    there = table.columns
    problems = []
    for name, column in reading.columns.items():
        if table.rows and column not in there:
            close = get_close_matches(column, there, 1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            if reading.own_key != reading.key:
                hint += f" {reading.own_key} can name others for this file."
            problems.append(
                f"{table.path}: {reading.key} takes {name} from column {column!r}, which is not there; the columns "
                f"are {', '.join(sorted(there))}.{hint}"
            )
    if problems:
        raise DataError(problems)
    kept = []
    for row in table.rows:
        lacking = [column for column in reading.columns.values() if column not in row.values]
        if lacking:
            table.reject(row.where, f"column {lacking[0]!r}, which {reading.key} names, is missing")
        else:
            values = {name: row.values[column] for name, column in reading.columns.items()}
            kept.append(Row(row.where, {**row.values, **values}))
    table.rows = kept


def _found(row: Row, want: Want, reading: Reading, table: Table, kinds: Sequence[Kind]) -> Found | None:
    forms = candidates(row.values, want, reading.kind, kinds)
    if len(forms) > 1:
        names = " and ".join(f"{f.name} ({', '.join(f.needs)})" for f in forms)
        ways = " or ".join(f"{reading.own_key}={_way_out(f, row.values)}" for f in forms)
        advice = f"Say which one is meant: {ways}."
        if want == "compared":
            advice = "The method learns from either: remove the columns of the one that is not meant."
        raise DataError(
            f"{table.path}: rows fit {'two' if len(forms) == 2 else len(forms)} formats, {names} (first: {row.where}). "
            f"{advice}"
        )
    if not forms:
        return None
    answers = completions(row.values) if forms[0].kind == "prompt" else []
    if want == "prompts":  # other answers in the file are columns like any other
        answers = [name for name in answers if name == "completion"]
    if len(answers) > 1:
        raise DataError(
            f"{table.path}: the answer may stand in {' or '.join(answers)} (first: {row.where}). Say which one is "
            f"meant: {' or '.join(f'{reading.own_key}={{completion: {name}}}' for name in answers)}."
        )
    return Found(forms[0], answers[0] if answers else None)


def _way_out(form: Form, row: Values) -> str:
    """The columns that, once named, settle on this form."""
    if form.kind != "prompt":
        return f"{{{form.kind}: {form.needs[0]}}}"
    answers = completions(row)
    if form.name == "Alpaca" and answers:  # naming the prompt would leave its input out
        return f"{{completion: {answers[0]}}}"
    return f"{{prompt: {form.needs[0]}}}"


def _without_unknown(table: Table, found: list[Found | None]) -> list[Found | None]:
    """Rows of no known form are bad rows, as long as others have one that says what is missing from them."""
    kinds = {f.label for f in found if f}
    if len(kinds) != 1 or all(found):
        return found
    example = next(f for f in found if f)
    for row, f in zip(table.rows, found, strict=True):
        if f is None:
            lacking = [n for n in example.form.needs if n not in row.values]
            table.reject(row.where, f'"{lacking[0] if lacking else example.form.needs[0]}" is missing')
    table.rows = [row for row, f in zip(table.rows, found, strict=True) if f]
    return [f for f in found if f]


def _only(table: Table, found: list[Found | None], want: Want) -> Found:
    """What all rows are; rows of several kinds are counted, and the first odd one is named."""
    if not found:
        raise DataError(table.problems or table.no_rows.problems)
    counts = Counter(f.label if f else "none of the formats" for f in found)
    most = counts.most_common(1)[0][0]
    if len(counts) > 1:
        said = ", ".join(f"{n} rows look like {name}" for name, n in counts.most_common())
        labels = (f.label if f else "none of the formats" for f in found)
        odd = next(row for row, label in zip(table.rows, labels, strict=True) if label != most)
        raise DataError(f"{table.path}: mixed formats: {said} (first odd one: {odd.where}).")
    if found[0] is None and want == "compared":
        raise DataError(
            f"{table.path}: rows of compared answers have "
            + ", or ".join(" + ".join(f'"{n}"' for n in f.needs) for f in COMPARED if f.name in _PLAIN_NAMES)
            + f"; found columns {', '.join(sorted(table.columns))}."
            + _typo(table.columns - {"completion"}, _COMPARED_COLUMNS)
        )
    if found[0] is None:
        raise DataError(
            f'{table.path}: rows need "prompt" (and "completion" for SFT), "messages" or "text", under these or other '
            f"usual names, or named by data.columns={{prompt: COLUMN}}; found columns "
            f"{', '.join(sorted(table.columns))}.{_typo(table.columns)}"
        )
    return found[0]


_PLAIN_NAMES = ("pairs", "ranked", "rated", "labelled", "labelled steps")
_COMPARED_COLUMNS = ("chosen", "rejected", "completions", "ranks", "scores", "label", "labels")


def _typo(columns: set[str], known: tuple[str, ...] = ("prompt", "completion", "messages", "text")) -> str:
    """A hint where a column looks like one that is needed."""
    for column in sorted(columns - {*known}):
        close = get_close_matches(column, known, 1)
        if close:
            return f' Is {column!r} meant to be "{close[0]}"?'
    return ""


def _compared(table: Table, form: Form) -> str:
    """What rows of compared answers are, for people."""
    read = [*form.needs, *(name for name in form.also if name in table.columns)]
    return f"{form.name} ({', '.join(read)})"


def _sentence(table: Table, found: Found, reading: Reading) -> str:
    """What the rows are, for people."""
    form, there = found.form, table.columns
    sources = {name: column for name, column in reading.columns.items() if name != column}
    if found.completion not in (None, "completion"):
        sources["completion"] = str(found.completion)
    answer = sources.get("completion", found.completion)
    if form.canonical and form.name != "verl":
        said = form.name + (" and completion" if answer else "")
    elif form.name == form.needs[0]:
        said = f"{form.name} as prompt" + (f" and {answer} as completion" if answer else "")
        sources.pop("completion", None)
    else:
        read = [*form.needs, *(name for name in form.also if name in there)]
        said = f"{form.name} ({', '.join([*read, answer] if answer and answer not in read else read)})"
        sources.pop("completion", None)
    named = ", ".join(f"{name} from {column}" for name, column in sources.items())
    chat = ", as chat messages" if reading.chat and form.kind == "prompt" else ""
    return said + (f" ({named})" if named else "") + chat


# ----------------------------------------------------------------------------------------------------- converting


def _canonical(table: Table, row: Row, found: Found, reading: Reading) -> Row | None:
    """The row with canonical columns; None where it cannot be converted, which is noted."""
    values = dict(row.values)
    try:
        values |= found.form.convert(row.values, reading.chat)
        if found.completion:
            values["completion"] = row.values[found.completion]
        if reading.chat and found.form.kind not in ("messages", "text"):
            _to_chat(values)
        for name in ("prompt", "completion", "messages", "chosen", "rejected"):
            if isinstance(values.get(name), list):
                values[name] = [message(item) for item in values[name]]
        if found.form.kind == "rated" and isinstance(values["completions"], list):
            values["completions"] = [
                [message(item) for item in one] if isinstance(one, list) else one for one in values["completions"]
            ]
        if _is_chat(values):
            values |= _tools(values)
    except DataError as error:
        table.reject(row.where, str(error))
        return None
    return replace(row, values=values)


def _to_chat(values: dict[str, Any]) -> None:
    """Text becomes messages; what is empty or no text stays, to be found by the checks."""
    prompt, system = values.get("prompt"), values.get("system")
    if isinstance(prompt, str) and prompt.strip():
        before = [{"role": "system", "content": system}] if isinstance(system, str) and system.strip() else []
        values["prompt"] = [*before, {"role": "user", "content": prompt}]
    for name in ("completion", "chosen", "rejected"):
        values |= {name: _said(values[name])} if name in values else {}
    if "completions" in values and "labels" not in values and isinstance(values["completions"], list):
        values["completions"] = [_said(one) for one in values["completions"]]


def _said(answer: Any) -> Any:
    """Text as the assistant's message; what is empty or no text stays."""
    if isinstance(answer, str) and answer.strip():
        return [{"role": "assistant", "content": answer}]
    return answer


def _is_chat(values: Values) -> bool:
    return any(isinstance(values.get(name), list) for name in ("prompt", "messages"))


def _tools(values: Values) -> dict[str, Any]:
    """The `tools` column as a list of JSON schemas, which many data sets keep as JSON text."""
    tools = values.get("tools")
    if isinstance(tools, str):
        try:
            tools = json.loads(tools) if tools.strip() else None
        except ValueError as error:
            raise DataError(f'"tools" is not JSON: {error}') from error
    if tools is None or tools == []:
        return {"tools": None} if "tools" in values else {}
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise DataError('"tools" must be a list of objects, one JSON schema for each tool')
    return {"tools": tools}


def message(item: Any) -> Any:
    """One message as `role` and `content`, whoever wrote it; what is not one stays, to be found by the checks."""
    if not isinstance(item, dict):
        return item
    result = {k: v for k, v in item.items() if v is not None or k in ("role", "content")}
    if "from" in result and "role" not in result:
        result = _speech(result)
    content, calls = result.get("content"), result.get("tool_calls")
    if isinstance(content, list):
        result["content"] = _joined(content)
    if isinstance(calls, list):
        result["tool_calls"] = [_call(call) for call in calls]
    return result


def _speech(turn: dict[str, Any]) -> dict[str, Any]:
    """A turn of ShareGPT as a message."""
    speaker, value = turn.pop("from"), turn.pop("value", None)
    if not isinstance(speaker, str) or speaker not in SPEAKERS:
        raise DataError(f'"conversations" has a turn from {speaker!r}; known: {", ".join(sorted(SPEAKERS))}')
    if speaker != "function_call":
        return {"role": SPEAKERS[speaker], "content": value, **turn}
    try:
        calls = json.loads(value) if isinstance(value, str) else value
    except ValueError as error:
        raise DataError(f'"conversations" has a function_call that is not JSON: {error}') from error
    calls = calls if isinstance(calls, list) else [calls]
    if not all(isinstance(call, dict) and "name" in call for call in calls):
        raise DataError('"conversations" has a function_call without "name" and "arguments"')
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"type": "function", "function": call} for call in calls],
    }


def _joined(parts: list[Any]) -> Any:
    """OpenAI's list of text parts as one text; other parts stay, to be found by the checks."""
    if parts and all(isinstance(p, dict) and p.get("type") == "text" and isinstance(p.get("text"), str) for p in parts):
        return "".join(p["text"] for p in parts)
    return parts


def _call(call: Any) -> Any:
    """A tool call with its arguments as an object: OpenAI writes JSON text, which templates would quote again."""
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("arguments"), str):
        return call
    try:
        arguments = json.loads(function["arguments"])
    except ValueError:
        return call
    return {**call, "function": {**function, "arguments": arguments}} if isinstance(arguments, dict) else call
