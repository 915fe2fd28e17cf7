"""A suite's rows as prompts, and what the suite is, as a fingerprint."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from postlude.data import Message, Prompt, row_id
from postlude.errors import ConfigError, DataError, Problem
from postlude.runs.sealed import Hashes
from postlude.sources import file as sources
from postlude.sources.table import MAX_SHOWN, Row
from postlude.suites.spec import Suite
from postlude.suites.tasks import make
from postlude.suites.template import Template


@dataclass(frozen=True)
class Asked:
    """A suite's prompts, all of them, and its fingerprint."""

    prompts: list[Prompt]
    fingerprint: str
    """Of rows, wording, examples and rewards: results of another one are of another suite."""
    origin: str
    """Where the rows are from, in words."""


def ask(suite: Suite, chat: bool) -> Asked:
    """The prompts of a suite, as messages or as text. Raises ConfigError, or DataError with every row that is wrong."""
    rows, origin = _rows(suite)
    wording = _Wording.of(suite, dict.fromkeys(name for row in rows for name in row.values))
    prompts: list[Prompt] = []
    problems: list[Problem] = []
    for row in rows:
        try:
            prompts.append(wording.prompt(row, chat))
        except DataError as error:
            problems += [problem.at(row.where) for problem in error.problems]
    if problems:
        rest = len(problems) - MAX_SHOWN
        more = [Problem("bad-rows", f"... and {rest} more rows like these.")] if rest > 0 else []
        raise DataError([*problems[:MAX_SHOWN], *more])
    prompts = _told_apart(prompts)
    _require_different(suite, prompts)
    return Asked(prompts, fingerprint(suite, [row.values for row in rows], chat), origin)


def _require_different(suite: Suite, prompts: Sequence[Prompt]) -> None:
    """Raises ConfigError where rows that differ all ask the same."""
    if len(prompts) > 1 and all(prompt.messages == prompts[0].messages for prompt in prompts):
        raise ConfigError(
            f"suite {suite.name}: all {len(prompts)} rows ask the same: {suite.prompt!r} names no column in which they "
            f"differ. There are {', '.join(prompts[0].columns)}.",
            code="bad-template",
            key="prompt",
        )


def _rows(suite: Suite) -> tuple[list[Row], str]:
    data = suite.data
    if data.made is not None:
        made = make(data.made.task, data.made.rows, data.made.seed)
        place = f"{suite.name} row"
        return [Row(f"{place} {i}", row) for i, row in enumerate(made, 1)], f"made by task {data.made.task}"
    assert data.path is not None
    _require_same(suite.name, Path(data.path).expanduser(), data.sha256)
    table = sources.read(data.path, data.split)
    table.require_clean("stop", None)
    return table.rows, data.path


def _require_same(name: str, path: Path, digest: str | None) -> None:
    """A file with a hash is the one that the suite was written for."""
    if digest is None or not path.is_file():  # who reads it says what is wrong
        return
    there = Hashes().of(path)
    if there != digest.lower():
        raise ConfigError(
            f"suite {name}: data.sha256 is {digest}, and {str(path)!r} has {there}: it is another file than the suite "
            "is about. Put that one there, or change data.sha256.",
            code="damaged-file",
        )


# ------------------------------------------------------------------------------------------------------ prompts


@dataclass(frozen=True)
class _Wording:
    """How a suite asks, taken apart once."""

    suite: Suite
    asked: Template
    system: Template
    between: str
    shots: Sequence[tuple[str, str]]
    """What each example asks, and its answer."""

    @classmethod
    def of(cls, suite: Suite, columns: Collection[str]) -> Self:
        """Raises ConfigError for names that no row has, or an example has not."""
        texts = suite.templates
        for what in ("prompt", "system"):
            texts[what].require(columns, what, "the rows")
        for number, example in enumerate(suite.examples, 1):
            for what in ("prompt", "shown"):
                texts[what].require(example, what, f"example {number}")
        shots = [tuple(texts[what].filled(e, "an example") for what in ("prompt", "shown")) for e in suite.examples]
        between = texts["between"].filled({}, "between")
        return cls(suite, texts["prompt"], texts["system"], between, [(asked, shown) for asked, shown in shots])

    def prompt(self, row: Row, chat: bool) -> Prompt:
        """Of a row. Raises DataError."""
        said, answer = self.asked.filled(row.values, "prompt"), _answer(self.suite, row.values)
        columns = {**row.values, **({} if answer is None else {"answer": answer})}
        messages: str | Sequence[Message]
        if chat:
            system = self.system.filled(row.values, "system")
            messages = [{"role": "system", "content": system}] if system else []
            for asked, shown in self.shots:
                messages += [{"role": "user", "content": asked}, {"role": "assistant", "content": shown}]
            messages.append({"role": "user", "content": said})
        else:
            messages = "".join(f"{asked}{shown}{self.between}" for asked, shown in self.shots) + said
        return Prompt(row_id(row.values), messages, answer, columns, place=row.where)


def _answer(suite: Suite, columns: Mapping[str, Any]) -> Any:
    if suite.answer is None:
        return None
    found = columns.get(suite.answer)
    if found is None and suite.answer != "answer":
        raise DataError(f'column "{suite.answer}", the reference answer, is missing', code="missing-field")
    if suite.answer_after is None or found is None:
        return found
    _, mark, tail = str(found).rpartition(suite.answer_after)
    if not mark:
        raise DataError(
            f'column "{suite.answer}" does not hold {suite.answer_after!r} (answer_after)', code="wrong-field"
        )
    return tail.strip()


def _told_apart(prompts: Iterable[Prompt]) -> list[Prompt]:
    """Rows that are the same count once each: results are compared by their ids."""
    unique: dict[str, Prompt] = {}
    for prompt in prompts:
        unique.setdefault(prompt.id, prompt)
    return [*unique.values()]


def fingerprint(suite: Suite, rows: Sequence[Mapping[str, Any]], chat: bool) -> str:
    """Of all that says what is asked and what is right; sampling and the count of answers are told apart from it."""
    about = asdict(suite)
    for name in ("about", "source", "licence", "data", "samples", "sampling"):
        del about[name]
    said = json.dumps([about, chat, [*map(row_id, rows)]], sort_keys=True, default=str)
    return hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest()[:16]
