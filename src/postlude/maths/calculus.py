"""Derivatives as names of what they are: `\\frac{dy}{dx}`, `dy/dx`, `f'(x)`, `\\dot{x}`. Nothing is differentiated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from postlude.maths.cursor import Cursor
from postlude.maths.problems import Unsupported
from postlude.maths.symbols import GREEK, letterlike, named
from postlude.maths.tokens import Token

_MARKS = {"d": "d", r"\partial": "∂", "∂": "∂"}
_VARIABLES = "xyztrsuvw"
"""Letters that `d` before them makes a differential of: x dy is not y dx."""


def name(mark: str, of: str, variables: Mapping[str, int]) -> str:
    """d^2y/dx^2."""
    order = sum(variables.values())
    below = "".join(f"{mark}{v}" + (f"^{n}" if n > 1 else "") for v, n in sorted(variables.items()))
    return f"{mark}^{order}{of}/{below}" if order > 1 else f"{mark}{of}/{below}"


def of_function(base: str, marks: str, variable: str) -> str:
    """f''(x) is d^2f/dx^2."""
    return name("d", base, {variable: len(marks)})


def differential(cursor: Cursor) -> str:
    """The name of dx or dθ at the place of the letter after `d`; "" where d is a letter of its own."""
    token = cursor.peek()
    if not (token.kind == "letter" and token.text in _VARIABLES and not token.spaced) and token.text != r"\theta":
        return ""
    cursor.take()
    return named(cursor, "d" + (token.text if token.kind == "letter" else letterlike("theta")))


class Quotient:
    """A quotient of differentials that is being read: what stands above, how often, and below."""

    def __init__(self, mark: str, order: int, above: list[Token], variables: Mapping[str, int]) -> None:
        self.mark, self.above, self.variables = mark, above, variables
        if order != sum(variables.values()):
            raise Unsupported("a derivative of unclear order")

    def of(self, tokens: list[Token]) -> tuple[str, int]:
        """The name of the derivative of the name that begins the tokens, and how many of them it takes."""
        cursor = Cursor(tokens)
        base = _letter(cursor)
        if base is None:
            raise Unsupported("a derivative of an expression")
        skip_arguments(cursor, set(self.variables))
        return name(self.mark, base, self.variables), cursor.place


def fraction(cursor: Cursor) -> Quotient | None:
    """What \\frac makes of d^2 y over d x^2, after the command; None, and the place as before, for other quotients."""
    start = cursor.place
    top = Cursor(cursor.group())
    mark = _MARKS.get(top.peek().text) if cursor.next else None
    below = _variables(Cursor(cursor.group()), mark) if mark else None
    if mark is None or below is None:
        cursor.place = start
        return None
    top.take()
    return Quotient(mark, _order(top), top.tokens[top.place :], below)


def slashed(cursor: Cursor) -> str | None:
    """dy/dx on one line, at the place of the first d; None, and the place as before, for anything else."""
    start = cursor.place
    mark = _MARKS.get(cursor.take().text, "")
    try:
        order = _order(cursor)
        of = _letter(cursor)
        if of is not None and cursor.accept("/") and _MARKS.get(cursor.peek().text) == mark:
            cursor.take()
            below = _letter(cursor)
            if below is not None and _order(cursor) == order:
                return name(mark, of, {below: order})
    except Unsupported:
        pass
    cursor.place = start
    return None


def of_differentials(above: list[Any], below: list[Any]) -> str | None:
    """dy/dx of the trees of (dy) and (dx); None for other quotients."""
    names = [_differentiated(tree) for tree in (above, below)]
    return f"d{names[0]}/d{names[1]}" if all(names) else None


def _differentiated(tree: list[Any]) -> str:
    """The y of dy."""
    if tree[0] == "sym" and len(tree[1]) > 1 and tree[1][0] == "d" and "/" not in tree[1] and tree[1][1] != "_":
        return tree[1][1:]
    if tree[0] == "*" and len(tree) == 3 and tree[1] == ["sym", "d"] and tree[2][0] == "sym":
        return tree[2][1]
    return ""


def skip_arguments(cursor: Cursor, variables: set[str]) -> None:
    """Past (t) in \\ddot{x}(t), where t is what it is a derivative by."""
    if cursor.peek().text == "(" and cursor.peek(1).text in variables and cursor.peek(2).text == ")":
        cursor.place += 3


def _variables(cursor: Cursor, mark: str | None) -> Mapping[str, int] | None:
    """Of dx^2 or ∂x∂y: how often each is derived by."""
    found: Counter[str] = Counter()
    while cursor.next is not None:
        if _MARKS.get(cursor.take().text) != mark:
            return None
        letter = _letter(cursor)
        if letter is None:
            return None
        found[letter] += _order(cursor)
    return found or None


def _order(cursor: Cursor) -> int:
    if not cursor.accept("^"):
        return 1
    inside = cursor.group()
    if len(inside) != 1 or not inside[0].text.isdecimal() or not 0 < len(inside[0].text) < 3:
        raise Unsupported("a derivative of unclear order")
    return int(inside[0].text)


def _letter(cursor: Cursor) -> str | None:
    """A name without arguments."""
    token = cursor.peek()
    if token.kind in ("letter", "text") and len(token.text) == 1:
        return named(cursor, cursor.take().text)
    if token.kind == "command" and token.text[1:] in GREEK:
        return named(cursor, letterlike(cursor.take().text[1:]))
    return None
