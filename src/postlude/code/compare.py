"""Whether what a program gave is what was expected. Both are plain values; nothing of the program's runs here."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Literal

from postlude.code.cases import AnyOf

_NUMBER = re.compile(r"[+-]?(?:(?P<whole>\d+)|(?:\d+\.\d*|\.\d+|\d+)(?:[eE][+-]?\d+)?)", re.ASCII)
"""A printed number. Not `1_0`, nan or inf, which Python would read."""
WAYS = ("lines", "words", "any order", "any case")
"""Of comparing printed text."""
MOST_DIGITS = 1000
"""Of a whole number that is compared with a float."""


@dataclass(frozen=True)
class Comparison:
    """How values are compared."""

    tolerance: float = 0.0
    """Two floats are equal within it, absolute or relative to what is expected. A whole number that is expected is
    exact: a printed or returned one must be the same, a float may differ from it by the absolute tolerance alone."""
    types: Literal["exact", "loose"] = "exact"
    """Exact: 1, 1.0 and True differ, and so do (1,) and [1]. Loose: 1 equals 1.0, (1,) equals [1]; True stays True."""

    def equal(self, expected: Any, got: Any) -> bool:
        """NaN equals nothing."""
        if isinstance(expected, AnyOf):
            loose = replace(self, types="loose")
            return any(loose.equal(value, got) for value in expected.values)
        if self.types == "loose" and type(expected) is int and type(got) is float:
            return _is_near(expected, got, self.tolerance)
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
        return _finite(expected, got) and abs(expected - got) <= self.tolerance * max(1.0, abs(expected))

    def _same_members(self, expected: Iterable[Any], got: Iterable[Any]) -> bool:
        """Members and keys are equal without a tolerance, by their types too."""
        exact = Comparison(0.0, self.types)
        theirs = {member: member for member in got}
        ours = list(expected)
        return len(ours) == len(theirs) and all(m in theirs and exact.equal(m, theirs[m]) for m in ours)

    def same_text(self, expected: str, got: str, way: str = "lines") -> bool:
        """Lines without spaces at their ends and without empty ones at the end; with a tolerance, word by word.

        `way`: `words` never looks at lines, `any order` not at their order, `any case` not at capitals.
        """
        if way == "words":
            expected, got = "\n".join(expected.split()), "\n".join(got.split())
        elif way == "any order":
            expected, got = ("\n".join(sorted(_lines(text))) for text in (expected, got))
        elif way == "any case":
            expected, got = expected.casefold(), got.casefold()
        if _lines(expected) == _lines(got):
            return True
        if not self.tolerance:
            return False
        ours, theirs = expected.split(), got.split()
        return len(ours) == len(theirs) and all(map(self._same_word, ours, theirs))

    def _same_word(self, expected: str, got: str) -> bool:
        if expected == got:
            return True
        ours, theirs = _NUMBER.fullmatch(expected), _NUMBER.fullmatch(got)
        if ours is None or theirs is None:
            return False
        if ours["whole"] is None:
            return self._near(float(expected), float(got))
        if theirs["whole"] is not None:
            return _digits(expected) == _digits(got)
        return len(expected) < MOST_DIGITS and _is_near(int(expected), float(got), self.tolerance)


def _digits(whole: str) -> str:
    """A printed whole number in one spelling, without making it a number."""
    digits = whole.lstrip("+-").lstrip("0")
    return f"-{digits}" if digits and whole[0] == "-" else digits


def _is_near(expected: int, got: float, tolerance: float) -> bool:
    """Whether a float is a whole number, but for its rounding."""
    return math.isfinite(got) and abs(Fraction(got) - expected) <= Fraction(tolerance)


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
