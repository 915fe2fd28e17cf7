"""What an answer says, from its tokens: the text that rewards, files and people read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def plain(tokenizer: Any, tokens: Sequence[int]) -> str:
    """The text of some tokens as it was sampled: special tokens by their names, spaces where they stood."""
    return tokenizer.decode(
        tokens, skip_special_tokens=False, clean_up_tokenization_spaces=False, spaces_between_special_tokens=False
    )


def answer_text(tokenizer: Any, tokens: Sequence[int], stop_ids: frozenset[int]) -> str:
    """The text of an answer without the id that ended it, where one did; nothing else is left out."""
    return plain(tokenizer, tokens[:-1] if tokens and tokens[-1] in stop_ids else tokens)
