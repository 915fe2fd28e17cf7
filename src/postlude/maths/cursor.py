"""A place in a list of tokens, and what every reader does there."""

from __future__ import annotations

from postlude.maths.problems import Refused, Unsupported
from postlude.maths.tokens import MAX_NESTING, Token, change

_END = Token("mark", "")
"""Stands for what follows the last token."""


class Cursor:
    def __init__(self, tokens: list[Token]) -> None:
        self.tokens, self.place, self.depth = list(tokens), 0, 0

    @property
    def next(self) -> Token | None:
        return self.tokens[self.place] if self.place < len(self.tokens) else None

    def peek(self, ahead: int = 0) -> Token:
        """The token that many places on; one without text where there is none."""
        place = self.place + ahead
        return self.tokens[place] if place < len(self.tokens) else _END

    def take(self) -> Token:
        token = self.next
        if token is None:
            raise Unsupported("it ends too early")
        self.place += 1
        return token

    def accept(self, *texts: str) -> str | None:
        token = self.next
        if token is not None and token.text in texts and token.kind in ("mark", "command"):
            self.place += 1
            return token.text
        return None

    def expect(self, text: str) -> None:
        if not self.accept(text):
            raise Unsupported(f"{text!r} is missing")

    def enter(self) -> None:
        self.depth += 1
        if self.depth > MAX_NESTING:
            raise Refused(f"more than {MAX_NESTING} brackets in each other")

    def group(self) -> list[Token]:
        """The tokens of a group in braces, or the single token that stands for one."""
        first = self.take()
        if first.text != "{":
            return [first]
        start, depth = self.place, 1
        while depth:
            depth += change(self.take())
        return self.tokens[start : self.place - 1]
