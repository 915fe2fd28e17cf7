"""Words that are a set: all real numbers, no solution."""

from __future__ import annotations

from postlude.maths import regions, wording
from postlude.maths.spellings import REALS
from postlude.maths.values import Value, Words


def words(text: str) -> Value | None:
    """Plain words, or the number or set that they say; None where it is something else."""
    if "real" in text.lower() and REALS.fullmatch(_lower(text)):
        return regions.line()
    return wording.words(text)


def meaning(said: str) -> Value:
    """The set or the statement that words are."""
    lower = _lower(said)
    return regions.line() if REALS.fullmatch(lower) else Words(wording.canonical(lower))


def _lower(text: str) -> str:
    return wording.plain(text).lower()
