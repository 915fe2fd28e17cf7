"""Rows that were read, where each stands, and every problem found on the way."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from postlude.errors import DataError, Problem, visible
from postlude.words import counted

Kind = Literal["prompt", "messages", "text", "pair", "rated", "binary", "steps"]
"""What a row is: a prompt (with or without a completion), a conversation, plain text, or compared answers."""
MAX_SHOWN = 20
MAX_SAME = 3
"""Problems that are shown where one sentence is true of so many rows that its cause is one."""
MAX_RECORD = 16 << 20
"""Characters of one record; a longer one is an error, not a memory problem."""
EXCERPT = 80
"""Characters of a bad row that are shown."""
KEPT = 4 * EXCERPT
"""Characters that are kept of one that is no row."""


@dataclass(frozen=True)
class Row:
    """One row and where it stands."""

    where: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Balance:
    """What became of every row of a file: read = used + rejected. Raises ValueError where that does not hold."""

    read: int
    used: int
    rejected: Mapping[str, int]
    """Reason (a code) -> rows."""
    blank: int = 0
    """Lines without anything, which are no rows."""
    changed: Mapping[str, int] = field(default_factory=dict[str, int])
    """How rows are read otherwise than they are written -> in how many; one row may be in several."""

    def __post_init__(self) -> None:
        counts = (self.read, self.used, self.blank, *self.rejected.values(), *self.changed.values())
        if min(counts) < 0 or self.read != self.used + sum(self.rejected.values()):
            raise ValueError(f"the counts of rows do not add up: {self}")
        if any(n > self.read for n in self.changed.values()):
            raise ValueError(f"more rows are changed than were read: {self}")


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
    changed: Counter[str] = field(default_factory=Counter[str])
    """How rows are read otherwise than they are written -> in how many."""
    written: dict[str, Mapping[str, Any] | str] = field(default_factory=dict[str, "Mapping[str, Any] | str"])
    """Place -> the row as the file has it; of what is no row, the beginning of its text."""
    marks: int = 0
    """Lines that begin with a byte order mark."""
    returns: int = 0
    """Lines that end as on Windows."""

    def note_mark(self) -> None:
        """A byte order mark was left out."""
        self.marks += 1
        if self.marks == 1:
            self.notes.append(f"{self.path}: a byte order mark is left out")

    def keep(self, where: str, text: str) -> None:
        """Hold on to the text of what is no row, for the report."""
        self.written[where] = text

    def excerpt(self, problem: Problem) -> str:
        """The beginning of what a problem is about, in one line: the field it names where that says something, else the
        row."""
        row = self.written.get(problem.place, "")
        if isinstance(row, str):
            return visible(row[:EXCERPT])
        named = problem.key or next(iter(re.findall(r'"(\w+)"', problem)), "")
        value = row.get(named)
        shown = value if value or isinstance(value, bool | int) else row
        text = shown if isinstance(shown, str) else json.dumps(shown, ensure_ascii=False, default=str)
        return visible(text[:EXCERPT])

    def shown(self) -> list[Problem]:
        """The problems in the order of their rows, `MAX_SHOWN` of each code, each with the start of what it is about;
        then, in one line, how many more there are. Of one sentence on all rows, or on more than `MAX_SHOWN`, `MAX_SAME`
        and their number: the cause is one."""
        self.problems.sort(key=_place)
        sentences = Counter(map(_sentence, self.problems))
        same = {one: n for one, n in sentences.items() if n > (MAX_SAME if n >= self.read else MAX_SHOWN)}
        seen, met = Counter[str](), Counter[tuple[str, str]]()
        problems: list[Problem] = []
        for problem in self.problems:
            sentence = _sentence(problem)
            met[sentence] += 1
            if sentence not in same:
                seen[problem.code] += 1
                problems += [self._with_excerpt(problem)] * (seen[problem.code] <= MAX_SHOWN)
            elif met[sentence] <= MAX_SAME:
                problems.append(self._with_excerpt(problem))
                if met[sentence] == MAX_SAME:
                    rest = counted(same[sentence] - MAX_SAME, "more row")
                    problems.append(Problem(problem.code, f"... and {rest} like this one."))
        more = {code: n - MAX_SHOWN for code, n in seen.items() if n > MAX_SHOWN}
        if more:
            each = ", ".join(f"{n} {code}" for code, n in more.items())
            problems.append(Problem("bad-rows", f"... and {sum(more.values())} more rows like these: {each}."))
        return problems

    def _with_excerpt(self, problem: Problem) -> Problem:
        excerpt = self.excerpt(problem)
        text = f"{problem}: {excerpt}" if excerpt and excerpt not in problem else str(problem)
        return Problem(problem.code, text, problem.place, problem.key)

    def balance(self, dropped: Mapping[str, int] | None = None) -> Balance:
        """What became of every row; `dropped` by their reason are still among `rows`."""
        first: dict[str, str] = {}
        for problem in self.problems:
            first.setdefault(problem.place, problem.code)
        left = Counter(first.values()) + Counter(dropped or {})
        used = len(self.rows) - sum((dropped or {}).values())
        return Balance(self.read, used, dict(left), self.blank, dict(+self.changed))

    def reject(self, where: str, problem: Problem) -> None:
        self.problems.append(problem.at(where))

    def add(self, where: str, value: Any) -> None:
        """Take one value as a row, or reject it."""
        if not isinstance(value, dict):
            self.keep(where, str(value)[:KEPT])
            self.reject(where, Problem("wrong-field", f"a row must be a JSON object, found {type(value).__name__}"))
            return
        self.rows.append(Row(where, value))
        self.written[where] = value

    @property
    def no_rows(self) -> DataError:
        """What is said of an empty file."""
        return DataError(
            f"{self.path}: 0 rows. Put one JSON object on each line, or name another file.", code="no-rows"
        )

    @property
    def nothing_left(self) -> Problem:
        """What is said where no row is good."""
        return Problem("no-usable-row", f"{self.path}: no usable row is left of {self.read}.")

    @property
    def columns(self) -> set[str]:
        return {name for row in self.rows for name in row.values}

    def require_clean(self, on_bad_row: Literal["stop", "skip"], option: str | None = "data.on_bad_row=skip") -> None:
        """Raise with every problem, unless bad rows are to be skipped (and counted). `option`: what skips them,
        if anything does."""
        if self.read == 0 and not self.problems:
            raise self.no_rows
        if self.problems and on_bad_row == "stop":
            good, bad = len(self.rows), self.read - len(self.rows)
            summary = f"{self.path}: {counted(self.read, 'row')} read, {good} good, {bad} bad."
            skips = option and good  # where no row is good, nothing is left to go on with
            without = f", or go on without them: {option} (they are counted and listed)" if skips else ""
            raise DataError([*self.shown(), Problem("bad-rows", f"{summary} Mend them{without}.")])
        if not self.rows:
            raise DataError([*self.shown(), self.nothing_left])


def _sentence(problem: Problem) -> tuple[str, str]:
    """Code and sentence of a problem, without its place, what it quotes of its row, and numbers."""
    return problem.code, re.sub(r"(?<!\w)'(?:[^'\\]|\\.)*'|\d+", "_", problem.without(f"{problem.place}: "))


def _place(problem: Problem) -> list[tuple[int, str]]:
    """For sorting: numbers within a problem's place count as numbers."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", problem.place)]
