"""Where the steps of an answer end, in tokens."""

from __future__ import annotations

from bisect import bisect_left
from typing import Any

from postlude.models.said import answer_text, plain


def pieces(text: str, separator: str) -> list[str]:
    """The steps of an answer: what stands between separators, those without visible text left out."""
    return [piece for piece in text.split(separator) if piece.strip()]


def ends(tokenizer: Any, tokens: tuple[int, ...], separator: str, stop_ids: frozenset[int] | None = None) -> list[int]:
    """Index of the last token of each step of an answer, ascending. One of `stop_ids`, where they are not given the
    tokenizer's end-of-sequence token, may end it.

    A step ends with the token that completes the separator after it, the last one with the answer's last token, so that
    its end-of-sequence token belongs to it. Steps that end within one token end there together, once for each.
    """
    closing = frozenset({tokenizer.eos_token_id}) if stop_ids is None else stop_ids
    text = answer_text(tokenizer, tokens, closing)
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
        return len(plain(tokenizer, tokens[:count]))

    return min(bisect_left(range(1, len(tokens) + 1), place, key=length), len(tokens) - 1)


def prefixes(tokenizer: Any, tokens: tuple[int, ...], text: str) -> list[str]:
    """The text of an answer up to and with each of its tokens; the last is the whole `text`, whatever ended it."""
    texts = [plain(tokenizer, tokens[: t + 1]) for t in range(len(tokens) - 1)]
    return [*texts, text] if tokens else []
