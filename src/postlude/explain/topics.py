"""The index: every topic of every home, found by name, by a part of it, or by words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache

from postlude.explain.home import Home, of_table, plain
from postlude.explain.of_measures import CHECKS, SUITES
from postlude.explain.of_recipes import FOREIGN, KEYS, METHODS_HOME, REWARDS
from postlude.explain.of_runs import ALARMS, CODES, FIGURES, FINDINGS, SECTIONS
from postlude.explain.words import content, weighs
from postlude.facts.asked import SAID
from postlude.facts.topic import Topic
from postlude.facts.written import TABLES
from postlude.words import closest

HOMES: tuple[Home, ...] = (
    *(of_table(kind, several, table) for kind, several, table in TABLES),
    METHODS_HOME,
    ALARMS,
    FIGURES,
    KEYS,
    REWARDS,
    CODES,
    FINDINGS,
    SECTIONS,
    SUITES,
    CHECKS,
    FOREIGN,
)
"""Kinds in the order in which matches are listed."""
NEAREST = 5
SHORTEST = 4
"""Letters of a name that is looked for inside of others."""


def find(asked: str, kind: str | None = None, more: Iterable[Home] = ()) -> list[Topic]:
    """The topics that a question names, none where there is none: those of that very name before those of a part of it.

    `kind` looks in one home; `more` are homes that only the caller knows.
    """
    homes = [home for home in (*HOMES, *more) if kind in (None, home.kind)]
    topics = [_linked(home.page(name)) for home in homes for name in home.meant(asked) or _said(asked, home)]
    if kind is None:
        named = {topic.name for topic in topics}
        ours = dict.fromkeys(key for topic in topics if topic.kind == FOREIGN.kind for key in topic.see)
        topics += [_linked(KEYS.page(key)) for key in ours if key not in named and key in KEYS.names()]
    return sorted(topics, key=lambda topic: (plain(topic.name) != plain(asked), topic.kind == FOREIGN.kind))


def named(asked: str, kind: str | None = None, more: Sequence[Home] = ()) -> list[Topic]:
    """The topics that a question names, as it stands or without the words that every question has (`what is dpo`).

    A question that asks for advice (`which method should I use`) is none of a name.
    """
    return find(asked, kind, more) or ([] if weighs(asked) else find(content(asked), kind, more))


def _said(asked: str, home: Home) -> Iterable[str]:
    """Names of topics that users call so."""
    return [name for kind, name in _by_words().get(plain(asked), ()) if kind == home.kind]


@cache
def _by_words() -> Mapping[str, list[tuple[str, str]]]:
    """Words of users -> (kind, name) of what they mean."""
    topics: dict[str, list[tuple[str, str]]] = {}
    for topic, several in SAID.items():
        for words in several:
            topics.setdefault(plain(words), []).append(topic)
    return topics


def family(asked: str, kind: str | None = None) -> list[str]:
    """Names that differ from a numbered one in their number only: of `error 99` those of the corrected errors."""
    numbered = re.fullmatch(r"(?P<head>[a-z-]+-)[\d.]+[a-z]?", plain(asked))
    if numbered is None:
        return []
    head = re.compile(re.escape(numbered["head"]) + r"\d[\d.]*[a-z]?")
    return [name for home in HOMES if kind in (None, home.kind) for name in home.names() if head.fullmatch(plain(name))]


def _linked(topic: Topic) -> Topic:
    """With the concepts and rows that point to it."""
    return replace(topic, see=tuple(dict.fromkeys((*topic.see, *_pointing().get(topic.name, ())))))


@cache
def _pointing() -> Mapping[str, list[str]]:
    """Name -> written topics that point to it."""
    back: dict[str, list[str]] = {}
    for topic in (topic for _, _, table in TABLES for topic in table()):
        for name in topic.see:
            back.setdefault(name, []).append(topic.name)
    return back


def nearest(asked: str, kind: str | None = None, more: Iterable[Home] = ()) -> list[str]:
    """Names that may be meant by one that is none, the likeliest first."""
    homes = [home for home in (*HOMES, *more) if kind in (None, home.kind)]
    names = [name for home in homes if home.kind != "foreign name" or kind for name in home.names()]
    bare = plain(asked).replace("-", "")
    near = [name for name in names if len(bare) >= SHORTEST and bare in plain(name).replace("-", "")][:NEAREST]
    while len(near) < NEAREST and (name := closest(asked, (n for n in names if n not in near))):
        near.append(name)
    return near


def every(more: Iterable[Home] = ()) -> Iterable[Topic]:
    """All topics."""
    for home in (*HOMES, *more):
        yield from home.topics()
