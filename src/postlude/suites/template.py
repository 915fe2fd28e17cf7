"""Texts with columns in braces: `What is {a} + {b}?`. A brace itself is written twice: `{{` or `}}`."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Self

from postlude.errors import ConfigError, DataError
from postlude.words import meant

_PART = re.compile(r"(?P<twice>\{\{|\}\})|\{(?P<name>[^{}]*)\}|(?P<alone>[{}])")
LITERAL = "A brace itself is written twice: {{ or }}."


@dataclass(frozen=True)
class Template:
    """A text that was taken apart."""

    parts: tuple[tuple[str, str | None], ...]
    """(text, the column that follows it; None at the end)."""

    @classmethod
    def of(cls, text: str, what: str) -> Self:
        """Raises ConfigError where its braces say nothing. `what`: its name, for messages."""
        parts: list[tuple[str, str | None]] = []
        before, place = "", 0
        for match in _PART.finditer(text):
            before += text[place : match.start()]
            place = match.end()
            if match["alone"] or match["name"] == "":
                near = text[max(0, match.start() - 12) : place + 12]
                why = "no name of a column in" if match["name"] == "" else "a brace without its other in"
                raise ConfigError(f"{what}: {why} {near!r}. {LITERAL}", code="bad-template", key=what)
            if match["twice"]:
                before += match["twice"][0]
            else:
                parts.append((before, match["name"]))
                before = ""
        return cls((*parts, (before + text[place:], None)))

    @property
    def names(self) -> list[str]:
        """The columns, each once."""
        return [*dict.fromkeys(name for _, name in self.parts if name is not None)]

    def require(self, known: Collection[str], what: str, whose: str) -> None:
        """Raises ConfigError where it names a column that none has."""
        for name in self.names:
            if name not in known:
                there = ", ".join(known) or "none"
                raise ConfigError(
                    f"{what}: {{{name}}} names no column of {whose}.{meant(name, known)} There are {there}. {LITERAL}",
                    code="bad-template",
                    key=what,
                )

    def filled(self, columns: Mapping[str, Any], what: str) -> str:
        """With columns in the place of their names. Raises DataError for one that is missing, or no text."""
        return "".join(text + ("" if name is None else _value(columns, name, what)) for text, name in self.parts)

    def with_what_is_there(self, columns: Mapping[str, Any]) -> str:
        """Filled; of a column that is missing nothing."""
        return "".join(text + str(columns.get(name or "", "")) for text, name in self.parts)


def _value(columns: Mapping[str, Any], name: str, what: str) -> str:
    value = columns.get(name)
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        there = "is missing" if value is None else f"is {type(value).__name__}, and no text or number"
        raise DataError(f'{what}: column "{name}" {there}', code="missing-field")
    return str(value)
