"""Where the parts of an answer's text stand: members of a list, words, groups. Text alone, nothing of the reader."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

WRAPPERS = r"\\(?:text|textrm|textbf|textit|mathrm|mbox|operatorname|mathbf)\s*\{[^{}]*\}"
THOUSANDS = r"(?<![\d.,{])\d{1,3}(?:(?:,|\{,\}|,?\s*\\[!,;: ]\s*)\d{3})+(?!\d)"
"""A whole number with marks between its thousands."""
_NAMES = rf"{WRAPPERS}|_\{{[^{{}}]*\}}|_\s*\w|\\[A-Za-z]+|\\begin\{{[^{{}}]*\}}"
_OPENING, _CLOSING = "([{", ")]}"


def members(text: str, mark: str = ",") -> list[str]:
    """The parts between commas outside all brackets."""
    parts, depth, start = list[str](), 0, 0
    for place, letter in enumerate(text):
        depth += (letter in _OPENING) - (letter in _CLOSING)
        if letter == mark and not depth and text[place - 1 : place] != "\\":
            parts.append(text[start:place])
            start = place + 1
    return [part.strip() for part in [*parts, text[start:]]]


def is_whole(text: str) -> bool:
    """Whether every bracket is closed in the order they were opened in, where kinds may differ."""
    depth = 0
    for letter in text:
        depth += (letter in _OPENING) - (letter in _CLOSING)
        if depth < 0:
            return False
    return not depth


def outside(text: str, pattern: str) -> Iterator[re.Match[str]]:
    """The matches that stand in no \\text{...}, subscript or name of a command."""
    blocked = [
        m.span() for m in re.finditer(rf"{WRAPPERS}|_\{{[^{{}}]*\}}|_\s*\w|\\[A-Za-z]+|\\begin\{{[^{{}}]*\}}", text)
    ]
    for match in re.finditer(pattern, text):
        if not any(a <= match.start() < b for a, b in blocked):
            yield match


def replaced(text: str, match: re.Match[str], by: str) -> str:
    return text[: match.start()] + by + text[match.end() :]


def grouped(text: str, by: Callable[[re.Match[str]], str]) -> str:
    """\\frac{a}{b} with both parts in braces, rewritten from the inside out."""
    pattern = re.compile(r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}")
    return pattern.sub(by, text)
