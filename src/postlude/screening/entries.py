"""The good rows of a table as plain text: what is asked, what is answered, what is right."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from postlude.sources.compared import stated
from postlude.sources.forms import given_answer, is_missing
from postlude.sources.table import Kind, Table

_SPACE = re.compile(r"\s+")


@dataclass(frozen=True)
class Entry:
    """One row."""

    place: str
    prompt: str
    answers: tuple[str, ...] = ()
    rewards: tuple[float, ...] = ()
    """Of compared answers, the larger the better."""
    gold: Any = None
    """What the row gives as right; None where it gives nothing."""
    system: str = ""
    """The system messages that the prompt begins with."""

    @property
    def texts(self) -> tuple[str, ...]:
        return (self.prompt, *self.answers)

    @property
    def asked(self) -> str:
        """What is compared where rows are told apart: the prompt, or the text where there is none."""
        return self.prompt or "\n".join(self.answers)

    @property
    def asked_by_user(self) -> str:
        """The same without the system messages before it."""
        return self.asked.removeprefix(self.system)


def entries(table: Table, kind: Kind, compared: bool) -> list[Entry]:
    """Every row that is left in a recognised table. `compared`: its answers are judged."""
    read = _judged if compared else _written
    return [Entry(row.where, *read(row.values, kind), system=_system(row.values)) for row in table.rows]


def _system(row: Mapping[str, Any]) -> str:
    said = next((row[name] for name in ("prompt", "messages", "chosen") if row.get(name) is not None), None)
    return words_of([*takewhile(is_system, said)]) if isinstance(said, list) else ""


def is_system(message: Any) -> bool:
    """Whether a message says how to answer, and asks nothing."""
    return isinstance(message, Mapping) and message.get("role") in ("system", "developer")


def _written(row: Mapping[str, Any], kind: Kind) -> tuple[str, tuple[str, ...], tuple[float, ...], Any]:
    gold = given_answer(row)
    gold = None if is_missing(gold) else gold
    if kind == "text":
        return "", (str(row.get("text")),), (), gold
    if kind == "messages" and isinstance(row["messages"], list):
        turns = row["messages"]
        last = max((i for i, m in enumerate(turns) if m["role"] == "assistant"), default=len(turns))
        return words_of(turns[:last]), tuple(filter(None, [words_of(turns[last:])])), (), gold
    answer = row.get("completion")
    return words_of(row.get("prompt", row.get("messages"))), () if answer is None else (words_of(answer),), (), gold


def _judged(row: Mapping[str, Any], kind: Kind) -> tuple[str, tuple[str, ...], tuple[float, ...], Any]:
    if kind == "steps":
        return words_of(row["prompt"]), ("\n".join(row["completions"]),), (), None
    said = stated(row, kind)
    return words_of(said.prompt), tuple(map(words_of, said.answers)), said.rewards, None


def words_of(said: Any) -> str:
    """A text, or what its messages say, a line each."""
    if isinstance(said, list):
        return "\n".join(str(m.get("content") or "") for m in said if isinstance(m, Mapping))
    return str(said or "")


def normalised(text: str) -> str:
    """A text without what makes no difference to who reads it: case, white space, ways to write one letter."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return _SPACE.sub(" ", text).strip().casefold()


def first_places(keys: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, str]]:
    """(place, place of the first like it) for every (place, key) whose key was there before."""
    first: dict[Any, str] = {}
    for place, key in keys:
        before = first.setdefault(key, place)
        if before != place:
            yield place, before
