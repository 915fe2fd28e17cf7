"""Where the steps of an answer end, in tokens."""

from __future__ import annotations

from bisect import bisect_left
from typing import Any


def pieces(text: str, separator: str) -> list[str]:
    """The steps of an answer: what stands between separators, those without visible text left out."""
    return [piece for piece in text.split(separator) if piece.strip()]


def ends(tokenizer: Any, tokens: tuple[int, ...], separator: str) -> list[int]:
    """Index of the last token of each step of an answer, ascending.

    A step ends with the token that completes the separator after it, the last one with the answer's last token, so that
    its end-of-sequence token belongs to it. Steps that end within one token end there together, once for each.
    """
    text = tokenizer.decode(tokens, skip_special_tokens=True)
    places, start = [], 0
    for piece in text.split(separator):
        start += len(piece) + len(separator)
        if piece.strip():
            places.append(start)
    if not places:
        return []
    return [*(_token_at(tokenizer, tokens, place) for place in places[:-1]), len(tokens) - 1]


def _token_at(tokenizer: Any, tokens: tuple[int, ...], place: int) -> int:
    """Index of the first token with which the decoded text is at least `place` characters long."""

    def length(count: int) -> int:
        return len(tokenizer.decode(tokens[:count], skip_special_tokens=True))

    return min(bisect_left(range(1, len(tokens) + 1), place, key=length), len(tokens) - 1)


def prefixes(tokenizer: Any, tokens: tuple[int, ...], text: str) -> list[str]:
    """The text of an answer up to and with each of its tokens; the last is the whole `text`, whatever ended it."""
    texts = [tokenizer.decode(tokens[: t + 1], skip_special_tokens=True) for t in range(len(tokens) - 1)]
    return [*texts, text] if tokens else []
