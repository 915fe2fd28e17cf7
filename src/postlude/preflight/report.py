"""What a preflight found: sections with findings, as plain values for people and for machines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, cast

from postlude.errors import Problem

SCHEMA = 1
Level = Literal["ok", "note", "warning", "broken"]
LEVELS: tuple[Level, ...] = ("ok", "note", "warning", "broken")
"""From harmless to fatal."""
Kind = Literal["prompt", "context", "trained", "end", "cut"]
"""Of a stretch of a shown row: what is asked, what stands between trained turns, what is learned, the token that ends
an answer, and what was left out of the view."""


@dataclass(frozen=True)
class Finding:
    """One thing that a person should know, with an entry of `codes.CODES` and what to do about it."""

    level: Level
    code: str
    text: str
    mend: str = ""

    @classmethod
    def of(cls, problem: Problem) -> Finding:
        """What a check refuses; its sentence says how to mend it."""
        return cls("broken", problem.code, str(problem))


@dataclass(frozen=True)
class Piece:
    """A stretch of a rendered row whose tokens are all of one kind."""

    kind: Kind
    text: str


@dataclass
class Section:
    """One subject of the report."""

    name: str
    """Stable, for programs."""
    title: str
    summary: str = ""
    """One line that is enough where nothing is wrong."""
    figures: dict[str, Any] = field(default_factory=dict[str, Any])
    """Plain JSON values."""
    findings: list[Finding] = field(default_factory=list[Finding])
    rows: list[list[Piece]] = field(default_factory=list[list[Piece]])
    """Rows shown token kind by token kind."""
    table: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    """Names and values shown below the summary."""

    @property
    def level(self) -> Level:
        """Of its worst finding."""
        return LEVELS[max((LEVELS.index(one.level) for one in self.findings), default=0)]

    def note(self, code: str, text: str, mend: str = "") -> None:
        self.findings.append(Finding("note", code, text, mend))

    def warn(self, code: str, text: str, mend: str = "") -> None:
        self.findings.append(Finding("warning", code, text, mend))

    def broken(self, code: str, text: str, mend: str = "") -> None:
        self.findings.append(Finding("broken", code, text, mend))


@dataclass
class Report:
    """Everything that was looked at."""

    recipe: str
    method: str = ""
    sizes: str = ""
    quick: bool = False
    sections: list[Section] = field(default_factory=list[Section])
    seconds: float = 0.0

    @property
    def verdict(self) -> Level:
        """`ok`, `warning` or `broken`: a note is none."""
        worst = max((LEVELS.index(section.level) for section in self.sections), default=0)
        return LEVELS[worst] if worst > 1 else "ok"

    @property
    def findings(self) -> list[Finding]:
        return [one for section in self.sections for one in section.findings]

    def codes(self, level: Level) -> list[str]:
        """Of all findings of a level, in order."""
        return [one.code for one in self.findings if one.level == level]

    def section(self, name: str) -> Section:
        """Raises KeyError where that was not looked at."""
        for section in self.sections:
            if section.name == name:
                return section
        raise KeyError(name)

    def to_json(self) -> dict[str, Any]:
        """The report as plain values: docs/checks.md says what stands where."""
        rows = [_finite({**asdict(s), "level": s.level, "table": dict(s.table)}) for s in self.sections]
        head = {"schema": SCHEMA, "verdict": self.verdict, "recipe": self.recipe, "method": self.method}
        return {**head, "sizes": self.sizes, "quick": self.quick, "seconds": round(self.seconds, 1), "sections": rows}


def _finite(value: Any) -> Any:
    """A value as JSON can hold it: null for a number that is none, or infinite."""
    if isinstance(value, dict):
        return {str(k): _finite(v) for k, v in cast("dict[Any, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in cast("list[Any]", value)]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def refused(problems: Sequence[Problem]) -> Section:
    """What the cheap check refuses, which is all that is known then."""
    section = Section("refused", "Recipe and data")
    section.findings = [Finding.of(problem) for problem in problems]
    count = len(problems)
    section.summary = f"{count} thing{'s' * (count != 1)} to mend before anything can be loaded"
    return section
