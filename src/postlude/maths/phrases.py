"""Values that have words around them, such as `\\$3000 at 11\\%` or `max at x = 2`."""

from __future__ import annotations

from postlude.maths.quantities import PERCENT
from postlude.maths.tokens import Token, change

MAX_WORDS = 12
_SPOKEN = {"@": "at", r"\max": "max", r"\min": "min", r"\inf": "inf", r"\sup": "sup"}


def runs(tokens: list[Token]) -> list[str | list[Token]]:
    """Words as text and what is between them as tokens, in order; nothing where it is not both."""
    found: list[str | list[Token]] = []
    depth = 0
    for token in tokens:
        depth += change(token)
        word = _word(token) if not depth else None
        last = found[-1] if found else None
        if word is None:
            found = [*found[:-1], [*last, token]] if isinstance(last, list) else [*found, [token]]
        elif not (word == "." and isinstance(last, str)):
            found = [*found[:-1], f"{last} {word}"] if isinstance(last, str) else [*found, word]
    words = sum(len(run.split()) for run in found if isinstance(run, str))
    return found if 0 < words <= MAX_WORDS and any(isinstance(run, list) for run in found) else []


def _word(token: Token) -> str | None:
    """What it says, in small letters; None where it is part of a value."""
    if token.text in _SPOKEN:
        return _SPOKEN[token.text]
    if token.kind not in ("word", "text") or len(token.text) < 2 or token.text.lower() in PERCENT:
        return None
    return " ".join(token.text.lower().split())
