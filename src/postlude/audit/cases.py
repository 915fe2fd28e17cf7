"""Rows of data as cases of an audit: a prompt, a reference answer, other answers and what people said of them."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from postlude.audit.probes import gold_of
from postlude.data import Message, Prompt, message_text
from postlude.errors import DataError
from postlude.sources import file as rows
from postlude.sources.compared import holds_compared, preference
from postlude.sources.file import Reading, Row, Table
from postlude.sources.formats import recognise
from postlude.sources.forms import given_answer

WRITTEN = ("completion", "response", "output", "solution")
"""Columns taken as the reference answer, in this order, before the column `answer`."""
JUDGED = ("pair", "rated", "binary")


@dataclass(frozen=True)
class Sample:
    """Another answer to a case's prompt; `label` is larger for better ones, None where nobody said."""

    text: str
    label: float | None = None


@dataclass(frozen=True)
class Case:
    """One prompt of an audit."""

    prompt: Prompt
    reference: str
    gold: str | None = None
    label: float | None = None
    """Of the reference, on the scale of the samples'."""
    samples: tuple[Sample, ...] = ()


@dataclass(frozen=True)
class Cases:
    """All that is audited, and what a user should know about where it came from."""

    cases: list[Case]
    source: str
    """Where the reference answers stood."""
    without: int = 0
    """Rows that were left out because they have no reference answer."""
    notes: list[str] = field(default_factory=list[str])

    def first(self, limit: int | None) -> Cases:
        return replace(self, cases=self.cases[:limit])


def cases_of(table: Table, reading: Reading | None = None, template: str | None = None) -> Cases:
    """The cases of a file: written answers, answers put into a template, or compared answers, the better one of each.

    Bad rows, and a file without any reference answer, are a DataError.
    """
    found = _compared(table, reading) if template is None and holds_compared(table) else None
    found = found or _written(table, reading, template)
    if not found.cases:
        raise DataError(
            f"{table.path}: no row has a reference answer. An audit compares degenerate answers with good "
            f"ones: give a column {', '.join(WRITTEN)} or answer, chosen and rejected, or name one: --columns "
            f"'{{completion: NAME}}'. The columns are {', '.join(sorted(table.columns))}.",
            code="missing-column",
        )
    return found


# ------------------------------------------------------------------------------------------------- written answers


def _written(table: Table, reading: Reading | None, template: str | None) -> Cases:
    """One case for each row that has a prompt and a reference."""
    recognise(table, "prompts", reading)
    table.rows = [_open_ended(row) for row in table.rows]
    prompts = rows.prompts(table, reading)
    table.require_clean("stop", None)
    if template is not None:
        _check_template(template, table)
    name = next((n for n in WRITTEN if any(p.columns.get(n) is not None for p in prompts)), "answer")
    cases = []
    for prompt in prompts:
        reference = _filled(template, prompt.columns) if template else said(prompt.columns.get(name))
        if reference is not None:
            cases.append(Case(prompt, reference, gold_of(prompt.answer)))
    source = f"--reference {template!r}" if template else f"column {name}"
    return Cases(cases, source, len(prompts) - len(cases))


def _open_ended(row: Row) -> Row:
    """A conversation that the assistant ends: its last turn is the reference."""
    messages = row.values.get("messages")
    if not isinstance(messages, list) or len(messages) < 2 or not isinstance(messages[-1], dict):
        return row
    if messages[-1].get("role") != "assistant":
        return row
    return replace(row, values={"completion": messages[-1:], **row.values, "messages": messages[:-1]})


def said(value: Any) -> str | None:
    """An answer as text: text itself, a number, the last message; None where there is none."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, list) and value and isinstance(value[-1], dict) and "role" in value[-1]:
        return message_text(value[-1])
    return json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, list | dict) else str(value)


def _placeholders(template: str, columns: set[str]) -> set[str]:
    return {name for name in re.findall(r"\{(\w+)\}", template) if name in columns}


def _check_template(template: str, table: Table) -> None:
    columns = table.columns | {"answer"}
    if not _placeholders(template, columns):
        raise DataError(
            f"--reference {template!r} names no column: put one in braces, as in '#{{answer}}'. The columns are "
            f"{', '.join(sorted(table.columns))}.",
            code="missing-column",
        )


def _filled(template: str, columns: Mapping[str, Any]) -> str | None:
    """The template with columns in place of their names in braces; all other braces stay. None where one is null."""
    names = _placeholders(template, {*columns, "answer"})
    values = {name: said(columns.get(name)) for name in names}
    if not values or None in values.values():
        return None
    return re.sub(r"\{(\w+)\}", lambda m: str(values[m[1]]) if m[1] in values else m[0], template)


# ------------------------------------------------------------------------------------------------ compared answers


def _compared(table: Table, reading: Reading | None) -> Cases | None:
    """One case for each prompt: the best answer is the reference, the others are samples, all with labels."""
    kind = recognise(table, "compared", reading, JUDGED)
    if kind not in JUDGED:
        raise DataError(f"{table.path}: an audit does not read labelled steps; give whole answers.", code="wrong-rows")
    seen: Counter[str] = Counter()
    asked: dict[str, Prompt] = {}
    answers: dict[str, list[Sample]] = {}
    good: list[Row] = []
    for row in table.rows:
        try:
            found = preference(row.values, kind)
        except DataError as error:
            table.reject(row.where, error.problems[0])
            continue
        good.append(row)
        key = key_of(found.prompt)
        gold = given_answer(row.values)
        name = rows.unique_id(row, seen)
        asked.setdefault(key, Prompt(name, found.prompt, gold, dict(row.values), place=row.where))
        pairs = zip(found.answers, found.rewards, strict=True)
        answers.setdefault(key, []).extend(Sample(said(a) or "", r) for a, r in pairs)
    table.rows = good
    table.require_clean("stop", None)
    cases = [_best(asked[key], found, kind) for key, found in answers.items()]
    kept = [c for c in cases if c is not None]
    return Cases(kept, f"the best answer of each row ({table.form})", len(cases) - len(kept))


def _best(prompt: Prompt, answers: Sequence[Sample], kind: str) -> Case | None:
    """The best answer as reference; none where all that is there was called bad."""
    best = max(range(len(answers)), key=lambda i: answers[i].label or 0.0)
    if kind == "binary" and not answers[best].label:
        return None
    others = tuple(a for i, a in enumerate(answers) if i != best)
    return Case(prompt, answers[best].text, gold_of(prompt.answer), answers[best].label, others)


# --------------------------------------------------------------------------------------------------------- samples


def key_of(messages: str | Sequence[Message]) -> str:
    """What is asked, without the form it is asked in: for finding a prompt again in another file."""
    if isinstance(messages, str):
        return messages.strip()
    return "\n".join(message_text(m).strip() for m in messages)


def with_samples(cases: Cases, table: Table, reading: Reading | None = None) -> Cases:
    """The cases with the answers of another file, such as a run's rollouts; labels are their `label` or `correct`."""
    recognise(table, "prompts", reading)
    found: dict[str, list[Sample]] = {}
    for row in table.rows:
        prompt = row.values.get("prompt", row.values.get("messages"))
        if isinstance(prompt, str | list):
            found.setdefault(key_of(prompt), []).extend(_samples(row.values))
    table.require_clean("stop", None)
    known = {key_of(c.prompt.messages) for c in cases.cases}
    total = sum(map(len, found.values()))
    used = sum(len(v) for k, v in found.items() if k in known)
    if not used:
        raise DataError(
            f"--samples {table.path}: of {total} answers none is to a prompt of the data. They need the same "
            "prompt, and an answer in completion, response, output or completions.",
            code="wrong-rows",
        )
    cases_ = [replace(c, samples=(*c.samples, *found.get(key_of(c.prompt.messages), ()))) for c in cases.cases]
    note = [f"{total - used} of {total} samples are left out: their prompt is not audited"] if used < total else []
    return replace(cases, cases=cases_, notes=[*cases.notes, *note])


def _samples(values: Mapping[str, Any]) -> list[Sample]:
    many = values.get("completions")
    answers = (
        many if isinstance(many, list) else [next((values[n] for n in WRITTEN if values.get(n) is not None), None)]
    )
    label = values.get("label", values.get("correct"))
    number = float(label) if isinstance(label, bool | int | float) else None
    texts = [said(a) for a in answers]
    return [Sample(t, number) for t in texts if t is not None]
