"""Blocks of code in an answer: what stands between fences, in every spelling that models write."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

Language = Literal["python", "", "other"]
"""What a fence says of its block; the empty one says nothing."""

_OPENING = re.compile(
    r"(?P<before>[ \t]*(?:>[ \t]?)*[ \t]*(?:(?:[-*+]|\d+[.)])[ \t]+)?)(?P<mark>`{3,}|~{3,})(?P<info>[^`]*)"
)
_BEHIND_PROSE = re.compile(r"(?P<before>)[^`]*[^`\s][ \t]*(?P<mark>`{3,})(?P<info>[A-Za-z][^`]{0,40})")
"""An opening fence that does not begin its line: only with a word for Python after it."""
_CLOSING = re.compile(r"[\s>]*(?P<mark>`{3,}|~{3,})(?:[^\w`~{]*|\s*</?[\w|:]+>.*)")
"""A closing fence may have a full stop or a tag after it, as in "```</answer>"."""
_PYTHON = re.compile(r"(?:i|c|micro)?python[\d._-]*|py[\d.]*|pypy[\d._-]*|(?:.*[\w/])?\.py")
_WORDS = re.compile(r"[\s,:;{}()\[\]=\"']+")
_TAGGED = re.compile(
    r"<(code|python)(?:\s[^>\n]{0,80})?>((?:(?!<code|<python).)*?)</\1>|\[PYTHON\]((?:(?!\[PYTHON).)*?)\[/PYTHON\]",
    re.DOTALL,
)
_STRINGS = re.compile(r"#.*|\\.|\"\"\"|'''|\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'")
MOST_RETURNS = 20
"""So many blocks are read to the end of the answer for a fence outside their strings; later ones end at the first."""


@dataclass(frozen=True)
class Block:
    language: Language
    code: str
    """Without the indentation and the quote marks of the fence."""
    start: int
    end: int
    """Its first and last line, fences included."""


class _End(NamedTuple):
    """Where a block ends."""

    line: int
    kind: Literal["fence", "code", "opening"]
    """A fence of its own, one at the end of a line of code, or the next block's."""
    in_string: bool = False


def blocks_of(lines: Sequence[str]) -> Iterator[Block]:
    """Every block that is closed, in order. One that is not was cut off, and is none."""
    at = returns = 0
    while at < len(lines):
        opening = _opening(lines[at])
        if opening is None:
            at += 1
            continue
        end = _end(lines, at + 1, opening["mark"], returns < MOST_RETURNS)
        if end is None:
            return
        body = list(lines[at + 1 : end.line])
        if end.kind == "code":
            body.append(lines[end.line].rstrip().removesuffix(opening["mark"]))
        yield Block(language_of(opening["info"]), _unindented(body, opening["before"]), at, end.line)
        returns += end.in_string
        at = end.line + (end.kind != "opening")


def tagged(text: str) -> list[str]:
    """What stands between `<code>` and `</code>`, `<python>` or `[PYTHON]`, where it has more than a line."""
    inside = [match[2] if match[1] else match[3] for match in _TAGGED.finditer(text)]
    return [_unindented(code.split("\n"), "") for code in inside if "\n" in code.strip()]


def language_of(info: str) -> Language:
    """Of what stands after an opening fence: `python`, `{.python}`, `py3`, `python:main.py`, `Python 3`, `main.py`."""
    words = [word for word in _WORDS.split(info.strip().lower()) if word]
    if not words:
        return ""
    return "python" if _PYTHON.fullmatch(words[0]) or _PYTHON.fullmatch(words[0].lstrip(".=")) else "other"


def _opening(line: str) -> re.Match[str] | None:
    line = line.rstrip()
    if begins := _OPENING.fullmatch(line):
        return begins
    behind = _BEHIND_PROSE.fullmatch(line) if "```" in line else None
    return behind if behind is not None and language_of(behind["info"]) == "python" else None


def _end(lines: Sequence[str], start: int, mark: str, strings: bool) -> _End | None:
    """Where a block ends that the mark opened. A fence inside a triple-quoted string ends it only if no other does."""
    quote, first = "", None
    for number in range(start, len(lines)):
        line = lines[number].rstrip()
        kind, code = _ending(line, mark) if mark in line else (None, line)
        if strings:
            after = _quote_after(code, quote)
            quote, in_string = _quote_after(line, quote), bool(after)
        else:
            in_string = False
        if kind is not None and not in_string:
            return _End(number, kind)
        if kind is not None and first is None:
            first = _End(number, kind, in_string=True)
    return first


def _ending(line: str, mark: str) -> tuple[Literal["fence", "code", "opening"] | None, str]:
    """(how the line ends a block, if it does; the code on it)."""
    closing = _CLOSING.fullmatch(line)
    if closing is not None and closing["mark"].startswith(mark):
        return "fence", ""
    opening = _OPENING.fullmatch(line)
    if opening is not None and opening["mark"] == mark and language_of(opening["info"]) == "python":
        return "opening", ""
    code = line.removesuffix(mark)
    if code != line and not code.endswith(mark[0]) and "#" not in code:
        return "code", code
    return None, line


def _quote_after(line: str, quote: str) -> str:
    """The triple quote that is open at the end of a line, where `quote` was at its beginning."""
    at = 0
    while at < len(line):
        if quote:
            at = _behind(line, quote, at)
            if at < 0:
                return quote
            quote = ""
        elif (match := _STRINGS.search(line, at)) is None or match[0].startswith("#"):
            return ""
        else:
            at = match.end()
            quote = match[0] if match[0] in ('"""', "'''") else ""
    return quote


def _behind(line: str, quote: str, at: int) -> int:
    """The place after the quote that closes a string, -1 where none does; a backslash hides what follows it."""
    while at < len(line):
        if line.startswith(quote, at):
            return at + len(quote)
        at += 2 if line[at] == "\\" else 1
    return -1


def _unindented(body: Sequence[str], before: str) -> str:
    """The lines without the quote marks and the indentation of their fence, then without that of the first of them."""
    depth = before.count(">")
    if depth:
        space = " ?" if before[before.rindex(">") + 1 :] else ""
        body = [re.sub(rf"^(?:[ \t]*>){{0,{depth}}}{space}", "", line) for line in body]
        before = before.rpartition(">")[2].removeprefix(" ")
    if before.isspace():
        body = [_without(line, before) for line in body]
    leading = next((line[: len(line) - len(line.lstrip(" \t"))] for line in body if line.strip()), "")
    return "\n".join(_without(line, leading) for line in body) + "\n"


def _without(line: str, indentation: str) -> str:
    """The line without the indentation, as far as it has it."""
    if line.startswith(indentation):
        return line[len(indentation) :]
    return line.lstrip(" \t") if line[: len(indentation)].isspace() else line
