"""What stands in an answer that has no value for us, in one spelling: equal wordings are the same answer."""

from __future__ import annotations

from postlude.maths.normalise import normalise
from postlude.maths.problems import Unreadable
from postlude.maths.symbols import letterlike
from postlude.maths.tokens import Token, cut


def verbatim(text: str) -> str:
    """Its tokens, with neither the space between them nor the braces around a single one."""
    clean = normalise(text)
    try:
        tokens = cut(clean)
    except Unreadable:
        return clean
    words = [_word(t) for t in tokens]
    kept = [
        word
        for i, word in enumerate(words)
        if not (word == "{" and words[i + 2 : i + 3] == ["}"]) and not (word == "}" and words[i - 2 : i - 1] == ["{"])
    ]
    return " ".join(kept)


def _word(token: Token) -> str:
    if token.kind == "command":
        return letterlike(token.text[1:])
    return " ".join(token.text.split()) if token.kind == "text" else token.text
