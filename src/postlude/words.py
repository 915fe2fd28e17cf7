"""Words of messages: numbers with their nouns, and what a misspelt name probably meant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import SequenceMatcher
from typing import Self

SHARE = 3
"""One mistake is allowed for every so many letters, and one in any case."""


class Once(str):
    """A note that a run gives once: the first of its name. Whoever makes it need not remember that it did."""

    name: str

    def __new__(cls, name: str, text: str) -> Self:
        note = super().__new__(cls, text)
        note.name = name
        return note


def first_of_each(notes: Iterable[str], names: list[str]) -> list[str]:
    """The notes, as plain text, without those that are given once and whose name is in `names`; others' are added."""
    fresh: list[str] = []
    for note in notes:
        if isinstance(note, Once):
            if note.name in names:
                continue
            names.append(note.name)
        fresh.append(str(note))
    return fresh


def cut(text: str, most: int) -> str:
    """The text, or its first words and `…`: at most so many characters."""
    if len(text) <= most:
        return text
    head = text[: most - 1]
    words = head.rpartition(" ")[0] if not text[most - 1].isspace() else head
    return (words if len(words) >= most // 2 else head).rstrip(" ,;:(") + "…"


def distance(a: str, b: str) -> int:
    """Letters left out, put in, replaced or swapped with their neighbour that lie between two names.

    The optimal string alignment distance: `gpro` is one swap from `grpo`, and two replacements from `gspo`.
    """
    before: list[int] = []
    last = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        row = [i]
        for j, y in enumerate(b, 1):
            cost = min(last[j] + 1, row[-1] + 1, last[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                cost = min(cost, before[j - 2] + 1)
            row.append(cost)
        before, last = last, row
    return last[-1]


def closest(word: str, names: Iterable[str]) -> str | None:
    """The name that is meant, whatever its case and whether - or _ joins its parts; None where none is near."""
    asked = _plain(word)
    allowed = max(1, len(asked) // SHARE)
    ranked: list[tuple[int, float, str]] = []
    for name in names:
        plain = _plain(name)
        if abs(len(plain) - len(asked)) <= allowed and (near := distance(asked, plain)) <= allowed:
            if near < len(asked):
                ranked.append((near, -SequenceMatcher(None, asked, plain).ratio(), name))
    return min(ranked)[2] if ranked else None


def meant(word: str, names: Iterable[str]) -> str:
    """` Did you mean 'grpo'?`, or nothing."""
    name = closest(word, names)
    return f" Did you mean {name!r}?" if name else ""


def _plain(name: str) -> str:
    return name.casefold().replace("-", "_")[:100]


def counted(number: int, noun: str, several: str | None = None) -> str:
    """`1 row`, `2 rows`, `1,000 rows`; `several` where the plural is not the noun with an s."""
    return f"{number:,} {noun if number == 1 else several or noun + 's'}"


def size(count: float) -> str:
    """1.23 TB, 1.23 GB, 34 MB."""
    unit, name = next(
        one for one in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")) if count >= 0.9995 * one[0] or one[0] == 1e6
    )
    return f"{count / unit:.3g} {name}"
