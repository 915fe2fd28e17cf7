"""Rows that were read, where each stands, and every problem found on the way."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from postlude.errors import DataError, Problem
from postlude.words import counted

Kind = Literal["prompt", "messages", "text", "pair", "rated", "binary", "steps"]
"""What a row is: a prompt (with or without a completion), a conversation, plain text, or compared answers."""
MAX_SHOWN = 20
MAX_RECORD = 16 << 20
"""Characters of one record; a longer one is an error, not a memory problem."""


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
    problems: list[Problem] = field(default_factory=list[Problem])
    read: int = 0
    blank: int = 0
    kind: Kind | None = None
    """Of rows, once `formats.recognise` has seen them; then they have canonical columns."""
    form: str = ""
    """What they were recognised as, for people."""
    notes: list[str] = field(default_factory=list[str])
    """What a user should know about rows that are used."""

    def reject(self, where: str, problem: Problem) -> None:
        self.problems.append(problem.at(where))

    def add(self, where: str, value: Any) -> None:
        """Take one value as a row, or reject it."""
        if not isinstance(value, dict):
            self.reject(where, Problem("wrong-field", f"a row must be a JSON object, found {type(value).__name__}"))
            return
        self.rows.append(Row(where, value))

    @property
    def no_rows(self) -> DataError:
        """What is said of an empty file."""
        return DataError(
            f"{self.path}: 0 rows. Put one JSON object on each line, or name another file.", code="no-rows"
        )

    @property
    def columns(self) -> set[str]:
        return {name for row in self.rows for name in row.values}

    def require_clean(self, on_bad_row: Literal["stop", "skip"], option: str | None = "data.on_bad_row=skip") -> None:
        """Raise with every problem, unless bad rows are to be skipped (and counted). `option`: what skips them,
        if anything does."""
        if self.read == 0 and not self.problems:
            raise self.no_rows
        if self.problems and on_bad_row == "stop":
            self.problems.sort(key=_place)
            shown = self.problems[:MAX_SHOWN]
            more = len(self.problems) - len(shown)
            tail = [Problem("bad-rows", f"... and {more} more rows like these.")] if more else []
            good, bad = len(self.rows), self.read - len(self.rows)
            summary = f"{self.path}: {counted(self.read, 'row')} read, {good} good, {bad} bad."
            without = f", or go on without them: {option} (they are counted and listed)" if option else ""
            advice = f"Mend them{without}."
            raise DataError([*shown, *tail, Problem("bad-rows", f"{summary} {advice}")])
        if not self.rows:
            raise DataError(f"{self.path}: no usable row is left of {self.read}.", code="no-usable-row")


def _place(problem: Problem) -> list[tuple[int, str]]:
    """For sorting: numbers within a problem's place count as numbers."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", problem.place)]
