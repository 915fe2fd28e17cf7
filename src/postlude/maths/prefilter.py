"""What is not given to a computer algebra system, because it could take it forever."""

from __future__ import annotations

import re
from fractions import Fraction

from postlude.maths.grammar import Node
from postlude.maths.problems import Refused
from postlude.maths.tokens import MAX_NESTING, check_length

MAX_INTEGER = 200
"""Digits."""
MAX_EXPONENT = 1000
MAX_NODES = 400
MAX_COUNT = 5000
"""Of a factorial, and above in a binomial coefficient."""
_COUNTS = {"binom": "binomial coefficient", "perm": "number of permutations"}
_NOT_COMPUTED = {"sum": "sum", "prod": "product", "int": "integral"}
_LARGE = re.compile(r"\\(?:sum|prod|int|iint|iiint|oint|lim|limsup|liminf|bigcup|bigcap)(?![A-Za-z])")
_FACTORIAL = re.compile(r"\d{4}\s*[)}]*\s*!|!\s*[)}]*\s*!")
_POINTS = re.compile(r"\d\.\d+\.\d")
_EXPONENT = re.compile(r"\^\s*\{?\s*-?\s*\d{4}|\^\s*(?:\{[^{}]*)?\S*\^|\*\*")


def check_tree(tree: Node) -> None:
    """Raises Refused for a tree that is too large, nested or high."""
    if _size(tree, 0, False) > MAX_NODES:
        raise Refused(f"more than {MAX_NODES} operations")


def _size(tree: Node, depth: int, raised: bool) -> int:
    if depth > MAX_NESTING:
        raise Refused(f"operations nested deeper than {MAX_NESTING}")
    if tree[0] == "num":
        _check_number(Fraction(tree[1]), raised)
        return 1
    if tree[0] == "sym":
        return 1
    if tree[0] in _NOT_COMPUTED:
        raise Refused(f"a {_NOT_COMPUTED[tree[0]]} is not computed")
    if (raised and tree[0] == "^") or (tree[:2] == ["call", "factorial"] and tree[2][0] == "call"):
        raise Refused("a tower of powers or factorials")
    if tree[0] in _COUNTS or tree[1] in ("factorial", "double factorial"):
        _check_counts(tree)
    total = 1
    for place, part in enumerate(tree[1:]):
        if isinstance(part, list):
            total += _size(part, depth + 1, raised or (tree[0] == "^" and place == 1))
    return total


def _check_counts(tree: Node) -> None:
    for part in tree[1:]:
        if isinstance(part, list) and _has_power(part):
            raise Refused("a tower of powers or factorials")
        if part[0] == "num" and Fraction(part[1]) > MAX_COUNT:
            raise Refused(f"a {_COUNTS.get(tree[0], 'factorial')} of more than {MAX_COUNT:,}")


def _has_power(tree: Node) -> bool:
    return tree[0] == "^" or any(isinstance(part, list) and _has_power(part) for part in tree[1:])


def _check_number(value: Fraction, raised: bool) -> None:
    if raised and max(abs(value.numerator), value.denominator) > MAX_EXPONENT:
        raise Refused(f"an exponent above {MAX_EXPONENT}")
    if max(abs(value.numerator), value.denominator) >= 10**MAX_INTEGER:
        raise Refused(f"a number of more than {MAX_INTEGER} digits")


def check_text(text: str) -> None:
    """The same for LaTeX that another parser will read."""
    check_length(text)
    if _POINTS.search(text):
        raise Refused("a number with two points")
    if re.search(rf"\d{{{MAX_INTEGER + 1}}}", text):
        raise Refused(f"a number of more than {MAX_INTEGER} digits")
    for pattern, what in (
        (_LARGE, "a sum, product, integral or limit"),
        (_FACTORIAL, "a factorial"),
        (_EXPONENT, "a power"),
    ):
        if pattern.search(text):
            raise Refused(f"{what} that could take too long")
    depth = deepest = 0
    for c in text:
        depth += (c in "([{") - (c in ")]}")
        deepest = max(deepest, depth)
    if deepest > MAX_NESTING:
        raise Refused(f"more than {MAX_NESTING} brackets in each other")
