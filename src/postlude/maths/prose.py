"""Sentences with mathematics between dollar signs: the one value that a sentence states, or its words and values."""

from __future__ import annotations

import re
from functools import lru_cache

from postlude.maths.problems import Unreadable
from postlude.maths.reading import read
from postlude.maths.values import Phrase, Value, Words
from postlude.maths.verbatim import verbatim

MAX_WORDS = 8
"""Words of a right answer at most, without mathematics between dollar signs."""
MAX_WORDS_BESIDE = 24
"""Words beside such mathematics at most: what is longer is no answer but an explanation."""
_MATH = re.compile(
    r"(?<!\\)\$\$(.+?)(?<!\\)\$\$|(?<!\\)\$(.+?)(?<!\\)\$|(?<!\\)\\\((.+?)\\\)|(?<!\\)\\\[(.+?)\\\]", re.DOTALL
)
_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z][A-Za-z'’]+")
_ENVIRONMENT = re.compile(r"\\(?:begin|end)\s*\{[^{}]*\}(?:\{[^{}]*\})?")
_JOINS = frozenset({"or", "and"})
_POINTS = re.compile(r"[.,;:!?()\"“”]+(?=\s|$)|(?<!\S)[(\"“”]+")
"""Punctuation: the point and the minus of a number are none."""
_THIN = re.compile(r"\\[,;:!](?=\s)")
"""A space of LaTeX before another one."""
_STATES = re.compile(
    r"(?P<said>(?:[^\d\\$=<>]|\$\s*\\?[A-Za-z]+\s*\$)*?"
    r"(?:\b(?:is|are|equals|measures|(?:has|have)\s+(?:an?\s+)?[a-z]+)\s*:?|(?<![^\s])(?:Yes|True)[.,:]|\b[A-Z][a-z]+:))"
    r"\s+(?P<value>[^A-Za-z\s:].*)",
    re.DOTALL,
)
_UNSURE = re.compile(
    r"\b(?:not|never|or|less|more|most|least|than|but|if|between|about|almost|approx\w*|except|either|neither|maybe|no"
    r"|over|under|above|below|up\s+to|any|only|some|one\s+of|such|when|where|whenever|unless|which|that|whose|it)\b|n['’]t",
    re.IGNORECASE,
)
_SENTENCES = re.compile(r"[.;?!]\s+\S")


def exceeded(text: str) -> int | None:
    """How many words an answer has at most, apart from those within its mathematics, where a text has more."""
    outside, formulas = _MATH.subn(" ", text)
    most = MAX_WORDS_BESIDE if formulas else MAX_WORDS
    return most if len(_WORD.findall(_ENVIRONMENT.sub(" ", outside))) > most else None


@lru_cache(maxsize=4096)
def stated(text: str) -> tuple[str, str]:
    """(what a sentence says of a value, the value): "The area is $5$". ("", the text) of any other text.

    Before the value stand words and names of one letter, none that hedges; behind it at most its unit.
    """
    match = _STATES.fullmatch(text.strip()) if len(text) < 500 and "\\text" not in text else None
    if not match or _UNSURE.search(match["said"]):
        return "", text
    value = match["value"].strip()
    outside = _MATH.sub("0", value)
    if len(_WORD.findall(outside)) > 3 or _UNSURE.search(outside) or _SENTENCES.search(outside):
        return "", text
    try:
        known = read(value)
    except Unreadable:
        return "", text
    return ("", text) if isinstance(known, Phrase | Words) else (_plain(match["said"]), value)


def phrase(text: str) -> Phrase | Words | None:
    """Its words and what is between dollar signs, in order; None where it is not at least two words, or has none of
    these signs and more than words. Mathematics that has no value is the text it is."""
    text = _THIN.sub(" ", text)
    parts: list[Value] = []
    place = 0
    for match in _MATH.finditer(text):
        parts += _said(text[place : match.start()])
        parts.append(_value(next(g for g in match.groups() if g is not None)))
        place = match.end()
    parts += _said(text[place:])
    outside = _MATH.sub(" ", text)
    words = [w for w in _WORD.findall(outside) if w.lower() not in _JOINS]
    if not words or re.search(r"[\\${}=<>^_]", outside.replace(r"\$", "")):
        return None
    if len(parts) == 1 and isinstance(parts[0], Words):
        return parts[0] if len(words) > 1 else None
    return Phrase(tuple(parts))


def _said(text: str) -> list[Value]:
    said = _plain(text)
    return [Words(said)] if said else []


def _plain(text: str) -> str:
    """Words in small letters, but for names in capitals, without punctuation."""
    words = _POINTS.sub(" ", text.replace("\\$", "¤")).split()
    return " ".join(w.lower() if w[1:].islower() else w for w in words)


def _value(text: str) -> Value:
    try:
        return read(text)
    except Unreadable:
        return Words(verbatim(text))
