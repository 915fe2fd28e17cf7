"""Control tokens that somebody wrote in a message, put back into letters: no text may end or forge a turn."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from postlude.errors import DataError
from postlude.models.said import plain

_ANCHORS = ("\n", "a", ".")
"""Texts to stand before the letters, so that a tokenizer does not take them for the beginning of a text."""


def strings(value: Any) -> Iterator[str]:
    """Every text in plain values, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, one in value.items():
            yield from strings(key)
            yield from strings(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from strings(one)


def with_strings(value: Any, change: Callable[[str], str]) -> Any:
    """Plain values with every text changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {with_strings(k, change): with_strings(v, change) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [with_strings(one, change) for one in value]
    return value


def stand_in(value: Any) -> str:
    """A private character that no text in the value holds."""
    used = set().union(*map(set, strings(value)))
    return next(c for c in map(chr, range(0xE000, 0xF8FF)) if c not in used)


def letters(tokenizer: Any, text: str, control: Collection[int]) -> tuple[int, ...]:
    """Ids that read as a control text and hold no control token: its two halves, tokenised apart.

    Raises DataError where the tokenizer has no such ids.
    """

    def ids_of(part: str) -> list[int]:
        return list(tokenizer(part, add_special_tokens=False).input_ids)

    cuts = sorted(range(1, len(text)), key=lambda cut: abs(2 * cut - len(text)))
    for anchor in _ANCHORS:
        start = ids_of(anchor)
        for cut in cuts:
            halves = [ids_of(anchor + half) for half in (text[:cut], text[cut:])]
            ids = [i for half in halves for i in half[len(start) :]]
            apart = all(half[: len(start)] == start for half in halves)
            if apart and not {*ids} & {*control} and plain(tokenizer, [*start, *ids]) == plain(tokenizer, start) + text:
                return tuple(ids)
    raise DataError(
        f"a message holds {text!r}, which is a control token of the tokenizer, and the tokenizer cannot write it as "
        "letters; remove it",
        code="control-tokens",
    )


def places(text: str, pattern: re.Pattern[str], stand_in: str) -> list[bool]:
    """For every control text in a rendered text, whether it is the stand-in of one that a message holds."""
    either = re.compile(f"{re.escape(stand_in)}|{pattern.pattern}")
    return [match.group() == stand_in for match in either.finditer(text)]
