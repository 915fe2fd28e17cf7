"""Equations and inequalities: `x = 5` is a labelled value, `0 < x < 1` an interval."""

from __future__ import annotations

from collections.abc import Callable

from postlude.maths import ratios
from postlude.maths.evaluate import evaluate
from postlude.maths.grammar import Node, parse
from postlude.maths.names import label, name
from postlude.maths.polynomials import Budget
from postlude.maths.problems import Unsupported
from postlude.maths.tokens import Token, split
from postlude.maths.values import Assignment, Expression, Interval, Labelled, Region, Relation, Series, Value

MARKS = frozenset({"=", "<", ">", r"\le", r"\ge", r"\ne", r"\approx", r"\equiv", r"\sim", r"\simeq"})
_ABOUT = (r"\approx", r"\sim", r"\simeq")
_OPPOSITE = {">": "<", r"\ge": r"\le"}
Read = Callable[[list[Token]], Value]


def expression(tokens: list[Token], sign: int = 1) -> Expression:
    tree = parse(tokens, sign)
    return Expression(tree, evaluate(tree))


def of(tree: Node) -> Expression:
    return Expression(tree, evaluate(tree))


def infinite(sign: int) -> Expression:
    return of(["sym", "∞"] if sign > 0 else ["neg", ["sym", "∞"]])


def read(sides: list[list[Token]], marks: list[Token], inner: Read) -> Value:
    """The meaning of sides with marks between them."""
    names = [m.text for m in marks]
    if any(n in _ABOUT for n in names):
        return _about(sides, names, inner)
    if not sides[0] and names[0] == "=":  # "= 16" continues what stands before the box
        return read(sides[1:], marks[1:], inner) if marks[1:] else inner(sides[1])
    if all(n == "=" for n in names):
        return _equation(sides, inner)
    if len(names) == 1:
        return _inequality(expression(sides[0]), names[0], expression(sides[1]))
    if len(names) == 2 and "=" not in names:
        return _between([expression(s) for s in sides], names)
    raise Unsupported("more than two inequalities in a row")


def _about(sides: list[list[Token]], names: list[str], inner: Read) -> Value:
    """What is exact counts, what is only about right does not; a lone name's value is what follows it."""
    first = next(i for i, n in enumerate(names) if n in _ABOUT)
    if first == 0 and (not sides[0] or label(sides[0]) is not None):
        if len(sides) != 2:
            raise Unsupported("more than one approximate value")
        value = inner(sides[1])
        return Labelled(label(sides[0]) or "", value) if sides[0] else value
    left = sides[: first + 1]
    return inner(left[0]) if len(left) == 1 else _equation(left, inner)


def _equation(sides: list[list[Token]], inner: Read) -> Value:
    labelled = _named(sides, inner) or _turned(sides, inner) or _point(sides, inner)
    if labelled is not None:
        return labelled
    if len(sides) == 2:
        left, right = expression(sides[0]), expression(sides[1])
        if left.value.symbols or right.value.symbols or left.value.opaque or right.value.opaque:
            return Relation(left, right, "=")
    if all(_texts(s) == _texts(sides[0]) for s in sides) or any(_letters(expression(s).tree) for s in sides):
        raise Unsupported("an equation that says nothing")
    return _last(sides, inner)


def _named(sides: list[list[Token]], inner: Read) -> Value | None:
    """x = 5, x = y = 5, A = lw = 12; None where no name begins it, or the name is also in its value."""
    names = [n for n in map(name, sides[:-1]) if n]
    count = next((i for i, s in enumerate(sides[:-1]) if not name(s)), len(sides) - 1)
    names = names[:count]
    if not names or len({n.text for n in names}) != len(names):
        return None
    value = _last(sides[count:], inner)
    letters = value.value.symbols if isinstance(value, Expression) else set[str]()
    if letters & {n.text for n in names} or (letters and any(n.weak for n in names)):
        return None
    if len(names) == 1:
        return Labelled(names[0].text, value)
    return Assignment(tuple(n.text for n in names), (value,) * len(names))


def _turned(sides: list[list[Token]], inner: Read) -> Value | None:
    """5 = x."""
    called = label(sides[-1])
    if len(sides) != 2 or called is None:
        return None
    value = inner(sides[0])
    return Labelled(called, value) if isinstance(value, Expression) and not value.value.symbols else None


def _point(sides: list[list[Token]], inner: Read) -> Value | None:
    """(x, y) = (1, 2) is the point."""
    names = tuple_names(sides[0])
    if len(sides) != 2 or names is None:
        return None
    value = inner(sides[1])
    if isinstance(value, Series) and len(value.items) == len(names):
        return Assignment(names, value.items, bracketed=True)
    return None


def tuple_names(tokens: list[Token]) -> tuple[str, ...] | None:
    """The different names in brackets, as in (x, y)."""
    if len(tokens) < 3 or tokens[0].text != "(" or tokens[-1].text != ")":
        return None
    names = [label(part) for part in split(tokens[1:-1], frozenset({",", ";"}))[0]]
    found = tuple(n for n in names if n)
    return found if 1 < len(names) == len(set(found)) else None


def _letters(tree: Node) -> bool:
    """Whether letters stand in a term, also those that its value does not depend on."""
    if tree[0] == "sym":
        return tree[1] not in ("π", "e", "i", ratios.INFINITY)
    return any(isinstance(t, list) and _letters(t) for t in tree[1:])


def _texts(tokens: list[Token]) -> list[str]:
    return [t.text for t in tokens]


def _last(sides: list[list[Token]], inner: Read) -> Value:
    """The value of a chain a = b = c: all sides must have the same; before a number, terms with letters may be any."""
    if len(sides) == 1:
        return inner(sides[0])
    values = [expression(s) for s in sides]
    last = values[-1]
    if not last.value.symbols:
        values = [v for v in values if not v.value.symbols]
    if any(ratios.same(last.value, v.value, Budget()) is not True for v in values):
        raise Unsupported("the sides of an equation differ")
    return last


def _between(sides: list[Expression], names: list[str]) -> Value:
    """a < x < b, either way round."""
    if all(n in _OPPOSITE for n in names):
        sides, names = sides[::-1], [_OPPOSITE[n] for n in reversed(names)]
    name = sides[1].value.symbol
    if name is None or any(n not in ("<", r"\le") for n in names):
        raise Unsupported("inequalities that are not about one letter")
    if name in sides[0].value.symbols | sides[2].value.symbols:
        raise Unsupported("inequalities that are not about one letter")
    return Region((Interval(sides[0], sides[2], names[0] == r"\le", names[1] == r"\le"),), name)


def _inequality(left: Expression, name: str, right: Expression) -> Value:
    if name in _OPPOSITE:
        left, right, name = right, left, _OPPOSITE[name]
    if name not in ("<", r"\le", r"\ne"):
        raise Unsupported(f"{name}")
    for letter, bound, below in ((left.value.symbol, right, True), (right.value.symbol, left, False)):
        if letter and not bound.value.symbols:
            return Region(_side(bound, below, name), letter)
    if name == r"\ne":
        raise Unsupported("an inequality that is not solved")
    return Relation(left, right, "<" if name == "<" else "<=")


def _side(bound: Expression, below: bool, name: str) -> tuple[Interval, ...]:
    if name == r"\ne":
        return _below(bound, False), _above(bound, False)
    return ((_below if below else _above)(bound, name == r"\le"),)


def _below(bound: Expression, closed: bool) -> Interval:
    return Interval(infinite(-1), bound, False, closed)


def _above(bound: Expression, closed: bool) -> Interval:
    return Interval(bound, infinite(1), closed, False)
