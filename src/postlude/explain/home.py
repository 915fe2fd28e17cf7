"""A table that says what things mean, as `explain` reads it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from postlude.facts.topic import Topic


@cache
def plain(name: str) -> str:
    """Spellings that are one name: case, and what joins its parts, do not count."""
    joined = "".join("-" if c in " _-/\t\n" else c for c in name.strip().strip("[]`'\"?").casefold())
    return "-".join(part for part in joined.split("-") if part)


def first_sentence(text: str) -> str:
    """Up to the first full stop that a new sentence follows."""
    return re.split(r"(?<=[.?!]) (?=[A-Z`])", text.split("\n\n")[0])[0]


@dataclass(frozen=True)
class Home:
    """The topics of one kind. The tables behind it are read when they are asked."""

    kind: str
    several: str
    """What its topics are, for lists: `figures of a run`."""
    names: Callable[[], Sequence[str]]
    """Of all its topics."""
    page: Callable[[str], Topic]
    """Of one of these names, or of one that `also` gave."""
    also: Callable[[str], Iterable[str]] = lambda asked: ()
    """Names that a question means beside those it is equal to: ends of keys, names with a place filled in."""

    def meant(self, asked: str) -> list[str]:
        """The names that are asked for, the nearest first."""
        exact = [name for name in self.names() if plain(name) == plain(asked)]
        return list(dict.fromkeys([*exact, *self.also(asked)]))

    def topics(self) -> Iterable[Topic]:
        return map(self.page, self.names())


def of_table(kind: str, several: str, table: Callable[[], Iterable[Topic]]) -> Home:
    """A home of topics that stand written."""

    def by_name() -> Mapping[str, Topic]:
        return {topic.name: topic for topic in table()}

    def also(asked: str) -> Iterable[str]:
        wanted = plain(asked)
        return [topic.name for topic in table() if wanted in map(plain, (topic.title, *topic.words))]

    return Home(kind, several, lambda: tuple(by_name()), lambda name: by_name()[name], also)
