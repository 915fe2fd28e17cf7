"""The items of a JSON array of any size, one after the other: only the item that is being read is held."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass

from postlude.sources.table import MAX_RECORD

_MARK = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[\[\]{},"]', re.DOTALL)
"""A whole text, or what opens, closes and parts values; a lone quote begins a text that goes on in the next piece."""
_TEXT_END = re.compile(r'[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_ESCAPE = re.compile(r"(?<!\\)(?:\\\\)*\\\Z")
"""A backslash at the end whose letter is still to come."""


@dataclass(frozen=True)
class Item:
    """One value as it is written."""

    line: int
    """Where it begins."""
    text: str
    beyond: int = 0
    """Its length in characters where that is above `MAX_RECORD`; `text` is then its beginning."""
    cut_off: bool = False
    """Whether the array ends in it, or behind it without a bracket."""


@dataclass
class Splitter:
    """Parts the text of an array at its own commas, whatever stands between them."""

    ended: bool = False
    """The array is closed."""
    behind: str = ""
    """The beginning of what follows it."""
    _line: int = 1
    _depth: int = 0
    _within_text: bool = False
    _begun: str = ""
    _length: int = 0
    _breaks: int = 0
    """Of the item that has begun: its text as far as it is held, its length, its line ends."""
    _number: int = 0

    def items(self, pieces: Iterable[str]) -> Iterator[Item]:
        """Every item, empty ones between two commas too."""
        rest = ""
        for piece in pieces:
            rest = yield from self._split(rest + piece)
        if not self.ended:
            self._take(rest)
            if self._number == 0 or self._begun.strip():
                yield self._item(cut_off=True)

    def _split(self, text: str) -> Generator[Item, None, str]:
        """The items that end in a text; returns what of it has to be looked at together with what follows."""
        if self.ended:
            self.behind = (self.behind + text[:80]).strip()[:80]
            return ""
        start = place = 0
        while (match := self._next(text, place)) is not None:
            mark, place = match[0], match[1]
            self._depth += (mark in ("[", "{")) - (mark in ("]", "}"))
            if mark in ("[", "{") and self._depth == 1:
                start = place
            elif self._depth == 0 or (mark == "," and self._depth == 1):
                self._take(text[start : place - 1])
                if self._depth or self._number or self._begun.strip():
                    yield self._item()
                start = place
            if self._depth == 0:
                self.ended, self.behind = True, text[place : place + 80].strip()
                return ""
        escape = _ESCAPE.search(text, max(start, len(text) - 1000)) if self._within_text else None
        stop = escape.start() if escape else len(text)
        self._take(text[start:stop])
        return text[stop:]

    def _next(self, text: str, place: int) -> tuple[str, int] | None:
        """The next bracket or comma outside of texts, and where it ends."""
        while True:
            match = (_TEXT_END.match if self._within_text else _MARK.search)(text, place)
            if match is None:
                return None
            mark, place = match.group(), match.end()
            if self._within_text or len(mark) > 1:
                self._within_text = False
            elif mark == '"':
                self._within_text = True
            else:
                return mark, place

    def _take(self, part: str) -> None:
        self._begun += part[: max(0, MAX_RECORD + 1 - len(self._begun))]
        self._length += len(part)
        self._breaks += part.count("\n")

    def _item(self, cut_off: bool = False) -> Item:
        text = self._begun.lstrip()
        line = self._line + self._begun.count("\n", 0, len(self._begun) - len(text))
        item = Item(line, text.rstrip(), self._length if self._length > MAX_RECORD else 0, cut_off)
        self._line += self._breaks
        self._begun, self._length, self._breaks, self._number = "", 0, 0, self._number + 1
        return item
