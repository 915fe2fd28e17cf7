"""Answers in words, and what they mean where it is a number or a set."""

from __future__ import annotations

import re

from postlude.maths import regions
from postlude.maths.ratios import number
from postlude.maths.spellings import REALS
from postlude.maths.tokens import FUNCTIONS
from postlude.maths.values import Expression, Value, Words

_WORDS = re.compile(r"[A-Za-z]['A-Za-z -]*[A-Za-z]")
_DIFFERENCE = re.compile(r"[A-Za-z]{1,2}(?: ?- ?[A-Za-z]{1,2})+")
_TEXT = re.compile(r"\\(?:text|mbox|textrm|textbf|textit|mathrm|textnormal|emph)\s*\{([^{}]*)\}")
_ALIASES = {
    "dne": "does not exist", "doesn't exist": "does not exist", "limit does not exist": "does not exist",
    "the limit does not exist": "does not exist", "no solutions": "no solution", "no real solutions": "no solution",
    "no real solution": "no solution", "empty set": "no solution", "the empty set": "no solution",
}  # fmt: skip
_NUMBERS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
_NOT_WORDS = FUNCTIONS | {"pi", "infinity", "inf", "infty", "oo", "theta"}


def words(text: str) -> Value | None:
    """Plain words; None where it is something else."""
    if _DIFFERENCE.fullmatch(text):
        return None
    said = plain(text)
    lower = said.lower()
    if not _WORDS.fullmatch(said) or lower in _NOT_WORDS or {*lower.split()} & {"or", "and"}:
        return None
    if REALS.fullmatch(lower) or lower in _NUMBERS:
        return meaning(said)
    if all(len(w) == 1 for w in said.split()) or (len(said) == 2 and said.islower() and said not in ("no", "is")):
        return None  # letters that are multiplied
    if r"\text" not in text and any(w in FUNCTIONS for w in said.split()):
        return None
    return meaning(said)


def plain(text: str) -> str:
    """Without marks of text, hyphens and what stands at the ends of sentences."""
    return " ".join(_TEXT.sub(r" \1 ", text).replace("-", " ").split()).strip(" .!")


def meaning(said: str) -> Value:
    """The number, the set or the statement that words are."""
    said = said.lower().strip(" .!")
    if said in _NUMBERS:
        value = _NUMBERS.index(said)
        return Expression(["num", str(value)], number(value))
    return regions.line() if REALS.fullmatch(said) else Words(_ALIASES.get(said, said))
