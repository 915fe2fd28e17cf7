"""Equations and inequalities: `x = 5` is a labelled value, `0 < x < 1` an interval."""

from __future__ import annotations

from collections.abc import Callable

from postlude.maths import ratios
from postlude.maths.evaluate import evaluate
from postlude.maths.grammar import Node, parse
from postlude.maths.polynomials import Budget
from postlude.maths.problems import Unreadable, Unsupported
from postlude.maths.tokens import Token
from postlude.maths.values import Expression, Interval, Labelled, Region, Relation, Series, Value

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


def label(tokens: list[Token]) -> str | None:
    """The name that stands left of `=`: a letter, f(x), AB, |AB|, words; None where it is an expression."""
    kinds = {t.kind for t in tokens}
    text = "".join(t.text for t in tokens)
    if not tokens or ("number" in kinds and not {"_", "("} & {t.text for t in tokens}):
        return None
    if kinds <= {"word", "text"}:
        return text.lower()
    first, rest = tokens[0], tokens[1:]
    if first.text in (r"\angle", r"\triangle", r"\overline", "|"):
        return text if any(t.kind == "letter" for t in rest) and not kinds & {"number"} else None
    if not (first.kind in ("letter", "text") or _greek(first)):
        return None
    if not rest or (rest[0].text == "_" and _ends_subscript(rest)):
        return text
    if all(t.kind == "letter" and t.text.isupper() for t in tokens):
        return text
    called = rest[0].text == "(" and rest[-1].text == ")" and len(rest) > 2
    return text if called and first.text in "fghPFGVAST" and not any(t.text in "+-*/=" for t in rest) else None


def _greek(token: Token) -> bool:
    if token.kind != "command":
        return False
    try:
        return parse([token])[0] == "sym" and token.text not in (r"\pi", r"\infty")
    except Unreadable:
        return False


def _ends_subscript(rest: list[Token]) -> bool:
    return len(rest) == 2 or (rest[1].text == "{" and rest[-1].text == "}" and "{" not in {t.text for t in rest[2:]})


def _equation(sides: list[list[Token]], inner: Read) -> Value:
    name = label(sides[0])
    if name is None and len(sides) == 2 and label(sides[1]) is not None and label(sides[1]) != "":
        left = inner(sides[0])
        if isinstance(left, Expression) and not left.value.symbols:
            return Labelled(label(sides[1]) or "", left)
    if name is not None:
        value = _last(sides[1:], inner)
        if not (isinstance(value, Expression) and name in value.value.symbols):
            return Labelled(name, value)
    point = _point(sides, inner)
    if point is not None:
        return point
    if len(sides) == 2:
        left, right = expression(sides[0]), expression(sides[1])
        if left.value.symbols or right.value.symbols or left.value.opaque or right.value.opaque:
            return Relation(left, right, "=")
    value = _last(sides, inner)
    if isinstance(value, Expression) and value.value.symbols:
        raise Unsupported("more than two sides with letters")
    return value


def _point(sides: list[list[Token]], inner: Read) -> Value | None:
    """(x, y) = (1, 2) is the point."""
    if len(sides) != 2 or sides[0][:1] == [] or sides[0][0].text != "(":
        return None
    if any(t.kind != "letter" and t.text not in "(,)" for t in sides[0]):
        return None
    value = inner(sides[1])
    return value if isinstance(value, Series) else None


def _last(sides: list[list[Token]], inner: Read) -> Value:
    """The value of a chain a = b = c: all sides must have the same."""
    if len(sides) == 1:
        return inner(sides[0])
    values = [expression(s) for s in sides]
    if any(ratios.same(values[0].value, v.value, Budget()) is not True for v in values[1:]):
        raise Unsupported("the sides of an equation differ")
    return values[-1]


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
