"""Stop strings, found in tokens: a string may begin within one token, span several and end within another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from postlude.models.said import plain

_MORE = 8
"""Tokens that are read before the string could begin: the first of a tail may hold the rest of a character."""


def completes_stop(tokenizer: Any, tokens: Sequence[int], stop: Sequence[str]) -> bool:
    """Whether a stop string ends within the last token, given that none did before.

    A tail of the text is enough. A token is usually at least a byte of it, while a character can take four tokens;
    where tokens are less than that, more of them are read.
    """
    wanted = max(len(s.encode()) for s in stop) + _MORE
    size = wanted
    while True:
        text = plain(tokenizer, tokens[-size:])
        if any(s in text for s in stop):
            return True
        if size >= len(tokens) or len(text.encode()) >= wanted:
            return False
        size *= 2


def until_stop(tokenizer: Any, tokens: Sequence[int], stop: Sequence[str]) -> int:
    """How many tokens there are up to the one within which a stop string first ends; all where none does."""
    if not stop or not any(s in plain(tokenizer, tokens) for s in stop):
        return len(tokens)
    return next((n for n in range(1, len(tokens)) if completes_stop(tokenizer, tokens[:n], stop)), len(tokens))
