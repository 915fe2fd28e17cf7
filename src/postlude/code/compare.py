"""Whether what a program gave is what was expected. Both are plain values; nothing of the program's runs here."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Comparison:
    """How values are compared."""

    tolerance: float = 0.0
    """Two floats are equal within it, absolute or relative to what is expected."""
    types: Literal["exact", "loose"] = "exact"
    """Exact: 1, 1.0 and True differ, and so do (1,) and [1]. Loose: 1 equals 1.0, (1,) equals [1]; True stays True."""

    def equal(self, expected: Any, got: Any) -> bool:
        """NaN equals nothing."""
        if self.types == "loose":
            expected, got = _loosened(expected, got)
        if type(expected) is not type(got):
            return False
        if isinstance(expected, float | complex):
            return self._near(expected, got)
        if isinstance(expected, list | tuple):
            return len(expected) == len(got) and all(map(self.equal, expected, got))
        if isinstance(expected, dict):
            return self._same_members(expected, got) and all(self.equal(expected[k], got[k]) for k in expected)
        if isinstance(expected, set | frozenset):
            return self._same_members(expected, got)
        return expected == got

    def _near(self, expected: Any, got: Any) -> bool:
        if expected == got:
            return True
        near = self.tolerance * max(1.0, abs(expected))
        return _finite(expected, got) and abs(expected - got) <= near

    def _same_members(self, expected: Iterable[Any], got: Iterable[Any]) -> bool:
        """Members and keys are equal without a tolerance, by their types too."""
        exact = Comparison(0.0, self.types)
        theirs = {member: member for member in got}
        ours = list(expected)
        return len(ours) == len(theirs) and all(m in theirs and exact.equal(m, theirs[m]) for m in ours)

    def same_text(self, expected: str, got: str) -> bool:
        """Lines without spaces at their ends and without empty ones at the end; with a tolerance, word by word."""
        if _lines(expected) == _lines(got):
            return True
        if not self.tolerance:
            return False
        ours, theirs = expected.split(), got.split()
        return len(ours) == len(theirs) and all(map(self._same_word, ours, theirs))

    def _same_word(self, expected: str, got: str) -> bool:
        try:
            return expected == got or self._near(float(expected), float(got))
        except ValueError:
            return False


def _finite(*values: Any) -> bool:
    return all(math.isfinite(abs(v)) for v in values)


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.rstrip().split("\n")]


def _loosened(expected: Any, got: Any) -> tuple[Any, Any]:
    """The two with the type of what is expected, where their types are kin."""
    kinds = (type(expected), type(got))
    if kinds in ((int, float), (float, int)):
        return (float(expected), float(got)) if abs(expected) < 2**53 > abs(got) else (expected, got)
    if kinds in ((list, tuple), (tuple, list)):
        return list(expected), list(got)
    return expected, got
