"""Rows of a file or data set, checked one by one, as prompts or as groups with written answers."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from postlude.data import Group, Prompt, row_id
from postlude.errors import DataError
from postlude.models.chat import Renderer

MAX_SHOWN = 20
MAX_RECORD = 16 << 20
"""Characters of one record; a longer one is an error, not a memory problem."""
ANSWERS = ("answer", "solution", "ground_truth", "target")
"""Columns taken as `Prompt.answer`, in this order."""
_BROKEN = object()
ROLES = {"system", "user", "assistant", "tool", "developer"}

Format = Literal["prompt", "prompt_completion", "messages", "text"]


@dataclass(frozen=True)
class Row:
    """One row and where it stands."""

    where: str
    values: Mapping[str, Any]


@dataclass
class Table:
    """Rows that were read, and every problem found; `read` = rows + rejected."""

    path: str
    rows: list[Row] = field(default_factory=list[Row])
    problems: list[str] = field(default_factory=list[str])
    read: int = 0
    blank: int = 0

    def reject(self, where: str, reason: str) -> None:
        self.problems.append(f"{where}: {reason}")

    @property
    def columns(self) -> set[str]:
        return {name for row in self.rows for name in row.values}

    def require_clean(self, on_bad_row: Literal["stop", "skip"]) -> None:
        """Raise with every problem, unless bad rows are to be skipped (and counted)."""
        if self.read == 0 and not self.problems:
            raise DataError(f"{self.path}: 0 rows.")
        if self.problems and on_bad_row == "stop":
            shown = self.problems[:MAX_SHOWN]
            more = len(self.problems) - len(shown)
            tail = [f"... and {more} more rows like these."] if more else []
            summary = f"{self.path}: {self.read} rows read, {len(self.rows)} good, {self.read - len(self.rows)} bad."
            advice = "Mend them, or go on without them: data.on_bad_row=skip (they are counted and listed)."
            raise DataError([*shown, *tail, summary + " " + advice])
        if not self.rows:
            raise DataError(f"{self.path}: no usable row is left of {self.read}.")


# ------------------------------------------------------------------------------------------------------ reading


def read(path: str, split: str = "train") -> Table:
    """Rows of a JSONL or JSON file, of a folder saved by `datasets`, or of a hub data set `hf:OWNER/NAME`."""
    if path.startswith("hf:"):
        return _from_datasets(path, split)
    place = Path(path).expanduser()
    if not place.exists():
        raise DataError(f"data: {path!r} does not exist.{_nearby(place)}")
    if place.is_dir():
        return _from_datasets(path, split)
    if place.suffix.lower() not in (".jsonl", ".json", ".ndjson", ""):
        raise DataError(f"data: {path!r} is not JSONL or JSON. Convert it to one JSON object per line.")
    try:
        text = place.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 (byte {error.start}). Save the file as UTF-8.") from error
    except OSError as error:
        raise DataError(f"data: cannot read {path!r}: {error.strerror}.") from error
    table = Table(path)
    if text.lstrip().startswith("["):
        _read_array(table, text)
    else:
        _read_lines(table, text)
    return table


def _nearby(place: Path) -> str:
    if not place.parent.is_dir():
        return f" The folder {str(place.parent)!r} does not exist either."
    names = [p.name for p in place.parent.iterdir() if p.is_file()]
    close = get_close_matches(place.name, names, 1, 0.75)
    return f" Did you mean {str(place.parent / close[0])!r}?" if close else ""


def _read_lines(table: Table, text: str) -> None:
    lines = text.split("\n")
    final = next((n for n in range(len(lines), 0, -1) if lines[n - 1].strip()), 0)
    for number, line in enumerate(lines, 1):
        if not line.strip():
            table.blank += 1
            continue
        table.read += 1
        where = f"{table.path} line {number}"
        if len(line) > MAX_RECORD:
            table.reject(where, f"{len(line)} characters in one record (limit {MAX_RECORD})")
            continue
        value = _parse(table, where, line, last=number == final)
        if value is not _BROKEN:
            _add(table, where, value)


def _read_array(table: Table, text: str) -> None:
    value = _parse(table, table.path, text, last=True)
    for number, item in enumerate(value if isinstance(value, list) else [], 1):
        table.read += 1
        _add(table, f"{table.path} item {number}", item)


def _parse(table: Table, where: str, text: str, last: bool) -> Any:
    def constant(name: str) -> Any:
        raise ValueError(f"{name} is not JSON; use null or a number")

    def number(digits: str) -> float:
        value = float(digits)
        if math.isinf(value):
            raise ValueError(f"{digits} is too large for a number")
        return value

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        twice = [k for k, n in Counter(k for k, _ in items).items() if n > 1]
        if twice:
            raise ValueError(f"key {twice[0]!r} appears twice in one object")
        return dict(items)

    try:
        return json.loads(text, parse_constant=constant, parse_float=number, object_pairs_hook=pairs)
    except json.JSONDecodeError as error:
        at_end = error.pos >= len(text.rstrip()) - 1 or "Unterminated" in error.msg
        hint = " (the file looks cut off)" if last and at_end else ""
        line = f"line {error.lineno} " if error.lineno > 1 else ""
        table.reject(where, f"not JSON at {line}column {error.colno}: {error.msg}{hint}")
    except (ValueError, RecursionError) as error:
        table.reject(where, str(error) or "nested too deeply")
    return _BROKEN


def _add(table: Table, where: str, value: Any) -> None:
    if not isinstance(value, dict):
        table.reject(where, f"a row must be a JSON object, found {type(value).__name__}")
        return
    table.rows.append(Row(where, value))


def _from_datasets(path: str, split: str) -> Table:
    try:
        import datasets
    except ImportError as error:
        raise DataError(f"data: {path!r} needs the datasets library: pip install 'postlude[datasets]'.") from error
    name = path.removeprefix("hf:")
    try:
        if path.startswith("hf:"):
            found: Any = datasets.load_dataset(name, split=split)
        else:
            found = datasets.load_from_disk(name)
            found = found[split] if isinstance(found, datasets.DatasetDict) else found
    except Exception as error:  # the library raises many kinds; all mean that there are no rows
        raise DataError(f"data: cannot load data set {path!r} (split {split}): {_first_line(error)}") from error
    table = Table(path)
    for number, value in enumerate(found, 1):
        table.read += 1
        _add(table, f"{path} row {number}", dict(value))
    return table


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


# ------------------------------------------------------------------------------------------------------- checks


def detect(table: Table) -> Format:
    """The format all rows share; a file that mixes formats is an error that counts them."""
    found: Counter[Format | None] = Counter(_format_of(row.values) for row in table.rows)
    if not found:
        raise DataError(table.problems or [f"{table.path}: 0 rows."])
    if len(found) > 1:
        counts = ", ".join(f"{n} rows look like {name or 'none of the formats'}" for name, n in found.most_common())
        first = next(r for r in table.rows if _format_of(r.values) != found.most_common(1)[0][0])
        raise DataError(f"{table.path}: mixed formats: {counts} (first odd one: {first.where}).")
    only = next(iter(found))
    if only is None:
        raise DataError(
            f'{table.path}: rows need "prompt" (and "completion" for SFT), "messages" or "text"; found columns '
            f"{', '.join(sorted(table.columns))}.{_typo(table.columns)}"
        )
    return only


def _typo(columns: set[str]) -> str:
    """A hint where a column looks like one that is needed."""
    for column in sorted(columns):
        close = get_close_matches(column, ["prompt", "completion", "messages", "text"], 1)
        if close:
            return f' Is {column!r} meant to be "{close[0]}"?'
    return ""


def _format_of(row: Mapping[str, Any]) -> Format | None:
    if "prompt" in row:
        return "prompt_completion" if "completion" in row else "prompt"
    if "messages" in row:
        return "messages"
    return "text" if "text" in row else None


def _surrogate(text: str) -> int | None:
    """Where a lone surrogate stands; None where there is none."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        return error.start
    return None


def _problem(value: Any, name: str, roles_end: str | None = None) -> str | None:
    """What is wrong with a text or message field; None where nothing is."""
    if value is None:
        return f'"{name}" is null'
    if isinstance(value, str):
        if not value.strip(" \t\r\n\u200b\ufeff"):
            return f'"{name}" is empty'
        surrogate = _surrogate(value)
        if surrogate is not None:
            return f'"{name}" holds a lone surrogate at character {surrogate}, which no file can store'
        return None
    if not isinstance(value, list):
        return f'"{name}" must be text or a list of messages, found {type(value).__name__} {str(value)[:40]!r}'
    if not value:
        return f'"{name}" is an empty list of messages'
    for i, message in enumerate(value):
        if not isinstance(message, dict) or "role" not in message:
            return f'"{name}" message {i + 1} must be an object with "role" and "content"'
        if not isinstance(message["role"], str) or message["role"] not in ROLES:
            return f'"{name}" message {i + 1} has role {message["role"]!r}; use one of {", ".join(sorted(ROLES))}'
        if not isinstance(message.get("content"), str):
            return f'"{name}" message {i + 1} has no text in "content"'
        surrogate = _surrogate(message["content"])
        if surrogate is not None:
            return f'"{name}" message {i + 1} holds a lone surrogate at character {surrogate}, which no file can store'
    if roles_end and value[-1]["role"] != roles_end:
        return f'"{name}" ends with a message of the {value[-1]["role"]}; the last must be the {roles_end}\'s'
    return None


# ------------------------------------------------------------------------------------------------------ prompts


def prompts(table: Table) -> list[Prompt]:
    """Every usable row as a prompt; problems go to the table. Ids are unique: repeats get a suffix."""
    detect(table)
    good: list[Row] = []
    result: list[Prompt] = []
    seen: Counter[str] = Counter()
    for row in table.rows:
        messages = row.values.get("prompt", row.values.get("messages"))
        problem = _prompt_problem(row, messages)
        if problem:
            table.reject(row.where, problem)
            continue
        good.append(row)
        answer = next((row.values[c] for c in ANSWERS if row.values.get(c) is not None), None)
        columns = {k: v for k, v in row.values.items() if k not in ("prompt", "messages")}
        if columns.get("answer") is None and answer is not None:
            columns["answer"] = answer
        name = row_id(row.values)
        seen[name] += 1
        unique = name if seen[name] == 1 else f"{name}-{seen[name]}"
        result.append(Prompt(unique, messages, answer, columns, place=row.where))
    table.rows = good
    return result


def _prompt_problem(row: Row, messages: Any) -> str | None:
    if messages is None and "prompt" not in row.values:
        return '"prompt" is missing. Rows for sampling need "prompt" (text or messages)'
    if isinstance(messages, list) and messages and isinstance(messages[-1], dict):
        if messages[-1].get("role") == "assistant":
            return '"prompt" ends with an assistant message; the policy must answer a user\'s'
    return _problem(messages, "prompt")


# ------------------------------------------------------------------------------------------------ written answers


def groups(table: Table, renderer: Renderer, max_tokens: int | None, vocabulary: int | None = None) -> list[Group]:
    """Every usable row as a group of one written answer; problems go to the table."""
    form = detect(table)
    if form == "prompt":
        raise DataError(f'{table.path}: rows have "prompt" but no "completion": nothing to fine-tune on.')
    good: list[Row] = []
    result: list[Group] = []
    for row in table.rows:
        problem = _answer_problem(row.values, form)
        if problem is None:
            try:
                group = _group(row.values, form, renderer)
                problem = _unusable(group, max_tokens, vocabulary)
            except DataError as error:
                problem = str(error)
        if problem is not None:
            table.reject(row.where, problem)
            continue
        good.append(row)
        result.append(group)
    table.rows = good
    return result


def _unusable(group: Group, max_tokens: int | None, vocabulary: int | None) -> str | None:
    """A training row is used whole or not at all; one without a trained token teaches nothing."""
    completion = group.completions[0]
    if not any(completion.actions):
        return "no token of the assistant to train on"
    highest = max((*group.prompt.tokens, *completion.tokens))
    if vocabulary is not None and highest >= vocabulary:
        return f"token id {highest} is beyond the model's vocabulary of {vocabulary}"
    total = len(group.prompt.tokens) + len(completion.tokens)
    if max_tokens is not None and total > max_tokens:
        return f"{total} tokens, the context holds {max_tokens}"
    return None


def _answer_problem(row: Mapping[str, Any], form: Format) -> str | None:
    if form == "text":
        return _problem(row["text"], "text")
    if form == "messages":
        problem = _problem(row["messages"], "messages", roles_end="assistant")
        if problem is None and isinstance(row["messages"], str):
            problem = '"messages" must be a list of messages'
        return problem
    problem = _problem(row["prompt"], "prompt") or _problem(row["completion"], "completion")
    if problem is None and isinstance(row["completion"], str) != isinstance(row["prompt"], str):
        problem = '"prompt" and "completion" must both be text or both be messages'
    return problem


def _group(row: Mapping[str, Any], form: Format, renderer: Renderer) -> Group:
    name = row_id(row)
    columns = {k: v for k, v in row.items() if k not in ("prompt", "completion", "messages", "text")}
    if form == "text":
        start, completion = renderer.plain_text(row["text"])
        return Group(Prompt(name, "", None, columns, start), (completion,))
    if form == "messages":
        prompt, completion = renderer.conversation(row["messages"])
        return Group(replace(prompt, id=name, columns=columns), (completion,))
    prompt = Prompt(name, row["prompt"], None, columns, renderer.prompt(row["prompt"]))
    return Group(prompt, (renderer.completion(prompt, row["completion"]),))


# ------------------------------------------------------------------------------------------------------- cursor


@dataclass
class Cursor:
    """Which items come next: a new permutation of all items every epoch, fixed by the seed."""

    size: int
    seed: int
    drawn: int = 0

    def take(self, n: int) -> Iterator[int]:
        """The next n indices, going on into the next epoch when one ends."""
        import numpy as np

        for _ in range(n):
            epoch, place = divmod(self.drawn, self.size)
            if place == 0 or not hasattr(self, "_order") or self._epoch != epoch:
                self._order = np.random.default_rng([self.seed, epoch]).permutation(self.size)
                self._epoch = epoch
            self.drawn += 1
            yield int(self._order[place])

    @property
    def epochs(self) -> float:
        return self.drawn / self.size if self.size else math.nan


@dataclass
class Drawn:
    """What a source gave for one step: groups to train on, everything it sampled, and figures about it."""

    groups: list[Group]
    sampled: list[Group] = field(default_factory=list[Group])
    report: dict[str, float] = field(default_factory=dict[str, float])
    notes: list[str] = field(default_factory=list[str])
    extra: dict[str, list[Any]] = field(default_factory=dict[str, "list[Any]"])


@dataclass
class FileSource:
    """Written answers, a fixed number of groups per step."""

    items: list[Group]
    size: int
    cursor: Cursor

    async def draw(self, step: int, steps: int) -> Drawn:
        """The next `size` groups."""
        return Drawn([self.items[i] for i in self.cursor.take(self.size)], report={"epoch": self.cursor.epochs})

    def state(self) -> dict[str, Any]:
        return {"drawn": self.cursor.drawn}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.cursor.drawn = int(state["drawn"])
