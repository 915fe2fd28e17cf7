"""Equations and inequalities: `x = 5` is a labelled value, `0 < x < 1` an interval."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from postlude.maths import ratios, regions, sizes
from postlude.maths.compare import Comparison
from postlude.maths.names import label, name
from postlude.maths.polynomials import Budget
from postlude.maths.problems import Unsupported
from postlude.maths.ratios import Ratio
from postlude.maths.terms import Read, expression, has_letters, infinite, of
from postlude.maths.tokens import Token, change, split
from postlude.maths.trees import replaced
from postlude.maths.values import (
    Assignment,
    Expression,
    Interval,
    Labelled,
    Quantity,
    Region,
    Relation,
    Series,
    Value,
)  # fmt: skip

MARKS = frozenset({"=", "<", ">", r"\le", r"\ge", r"\ne", r"\approx", r"\equiv", r"\sim", r"\simeq"})
_ABOUT = (r"\approx", r"\sim", r"\simeq")
_OPPOSITE = {">": "<", r"\ge": r"\le"}


def read(sides: list[list[Token]], marks: list[Token], inner: Read) -> Value:
    """The meaning of sides with marks between them."""
    names = [m.text for m in marks]
    if not all(sides[1:]) or (not sides[0] and names[0] not in ("=", *_ABOUT)):
        raise Unsupported("a relation with nothing beside it")
    if any(n in _ABOUT for n in names):
        return _about(sides, names, inner)
    if not sides[0] and names[0] == "=":  # "= 16" continues what stands before the box
        return read(sides[1:], marks[1:], inner) if marks[1:] else inner(sides[1])
    if all(n == "=" for n in names):
        equations = _run_on(sides)
        return inner(equations) if equations else _equation(sides, inner)
    if len(names) == 1:
        return _inequality(sides[0], names[0], sides[1])
    if len(names) == 2 and "=" not in names:
        return _between(sides, names)
    raise Unsupported("more than two inequalities in a row")


def _about(sides: list[list[Token]], names: list[str], inner: Read) -> Value:
    """What is exact counts, and what follows must be a rounding of it; a lone name's value is what follows it."""
    first = next(i for i, n in enumerate(names) if n in _ABOUT)
    if first == 0 and (not sides[0] or label(sides[0]) is not None):
        if len(sides) != 2:
            raise Unsupported("more than one approximate value")
        value = inner(sides[1])
        return Labelled(label(sides[0]) or "", value) if sides[0] else value
    left = sides[: first + 1]
    value = inner(left[0]) if len(left) == 1 else _equation(left, inner)
    exact = _number(value)
    for side in sides[first + 1 :]:
        about = inner(side)
        rounded = _number(about)
        if exact and rounded and sizes.rounds(exact, rounded, "".join(_texts(side))) is False:
            raise Unsupported("an approximate value that is not near the exact one")
        value = _with_unit(value, about)
    return value


def _with_unit(value: Value, about: Value) -> Value:
    """An exact number with the unit that only its rounding has, as in 40/3 \\approx 13.33 minutes."""
    if isinstance(value, Labelled):
        return Labelled(value.name, _with_unit(value.value, about))
    if isinstance(about, Quantity) and isinstance(value, Expression):
        return Quantity(value, about.unit)
    if isinstance(about, Quantity) and isinstance(value, Quantity) and about.unit.powers != value.unit.powers:
        raise Unsupported("an approximate value of another unit")
    return value


def _number(value: Value) -> Expression | None:
    if isinstance(value, Labelled):
        return _number(value.value)
    return value.number if isinstance(value, Quantity) else value if isinstance(value, Expression) else None


def _run_on(sides: list[list[Token]]) -> list[Token] | None:
    """`x = 1 y = 2` with the comma that it lacks; None where it is one equation."""
    if len(sides) < 3 or name(sides[0]) is None:
        return None
    joined = list(sides[0])
    for side in sides[1:-1]:
        place = next((i for i in range(1, len(side)) if _begins_name(side, i)), None)
        if place is None:
            return None
        joined += [Token("mark", "="), *side[:place], Token("mark", ","), *side[place:]]
    return [*joined, Token("mark", "="), *sides[-1]]


def _begins_name(side: list[Token], place: int) -> bool:
    """Whether a name stands there, with a space, behind what can be a value's end, up to the end."""
    before = side[place - 1]
    ends = before.kind == "number" or before.text in (")", "]", "}", r"\}")
    return ends and side[place].spaced and label(side[place:]) is not None


def _equation(sides: list[list[Token]], inner: Read) -> Value:
    labelled = _named(sides, inner) or _turned(sides, inner) or _point(sides, inner)
    if labelled is not None:
        return labelled
    if any(map(_is_structure, sides)):
        return _last(sides, inner)
    if len(sides) == 2:
        left, right = expression(sides[0]), expression(sides[1])
        if left.value.symbols or right.value.symbols or left.value.opaque or right.value.opaque:
            return Relation(left, right, "=")
    if all(_texts(s) == _texts(sides[0]) for s in sides) or any(has_letters(expression(s).tree) for s in sides):
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


def _texts(tokens: list[Token]) -> list[str]:
    return [t.text for t in tokens]


def _last(sides: list[list[Token]], inner: Read) -> Value:
    """The value of a chain a = b = c: all sides must have the same; before a number, terms with letters may be any."""
    if len(sides) == 1:
        return inner(sides[0])
    if any(map(_is_structure, sides)):
        return _agreed([inner(s) for s in sides])
    values = [expression(s) for s in sides]
    last = values[-1]
    if not last.value.symbols:
        values = [v for v in values if not v.value.symbols]
    if any(ratios.same(last.value, v.value, Budget()) is not True for v in values):
        raise Unsupported("the sides of an equation differ")
    return last


def _is_structure(side: list[Token]) -> bool:
    """Whether a side is an interval, or has a matrix in it."""
    if any(t.kind == "block" for t in side):
        return True
    return change(side[0]) == 1 and change(side[-1]) == -1 and bool(split(side[1:-1], frozenset({","}))[1])


def _agreed(values: list[Value]) -> Value:
    if any(Comparison().same(v, values[-1]) is not True for v in values):
        raise Unsupported("the sides of an equation differ")
    return values[-1]


# ---------------------------------------------------------------------------------------------------- inequalities


@dataclass(frozen=True)
class _Variable:
    """What an inequality is about: u = x, u = -x, or u = |x - by|."""

    name: str
    turned: bool = False
    absolute: bool = False
    by: Expression | None = None


def _variable(tokens: list[Token]) -> _Variable | None:
    """A name alone up to its sign, or the distance of a letter from a number."""
    if len(tokens) > 2 and tokens[0].text == tokens[-1].text == "|":
        return _distance(expression(tokens[1:-1])) if label(tokens) is None or tokens[1].text.islower() else None
    turned = tokens[0].text == "-"
    called = label(tokens[turned:])
    if called is None and not turned:
        called = expression(tokens).value.symbol
    return _Variable(called, turned) if called else None


def _distance(inside: Expression) -> _Variable | None:
    value = inside.value
    letter = next(iter(value.symbols), "") if len(value.symbols) == 1 else ""
    top = dict(value.top)
    share = top.pop(((letter, Fraction(1)),), Fraction(0))
    if abs(share) != 1 or value.bottom != ratios.number(1).top or Ratio(top).symbols:
        return None
    middle = of(["*", ["num", str(-share)], replaced(inside.tree, {letter: ["num", "0"]})])
    return _Variable(letter, absolute=True, by=middle)


def _pulled(region: Region, variable: _Variable) -> Region:
    """The values of the letter, from those of what an inequality is about."""
    if variable.absolute:
        region = regions.meet([region, Region((_above(of(["num", "0"]), True),))])
        region = regions.union([region, regions.moved(region, True, None)])
    region = regions.moved(region, variable.turned, variable.by)
    return Region(region.intervals, variable.name)


def _between(sides: list[list[Token]], names: list[str]) -> Value:
    """a < x < b, either way round."""
    if all(n in _OPPOSITE for n in names):
        sides, names = sides[::-1], [_OPPOSITE[n] for n in reversed(names)]
    variable = _variable(sides[1])
    if variable is None or any(n not in ("<", r"\le") for n in names):
        raise Unsupported("inequalities that are not about one letter")
    low, high = expression(sides[0]), expression(sides[2])
    if variable.name in low.value.symbols | high.value.symbols:
        raise Unsupported("inequalities that are not about one letter")
    if sizes.order(low, high) == 1:
        raise Unsupported("inequalities that nothing fulfils")
    between = Region((Interval(low, high, names[0] == r"\le", names[1] == r"\le"),))
    return regions.simplest(_pulled(between, variable))


def _inequality(left: list[Token], name: str, right: list[Token]) -> Value:
    if name in _OPPOSITE:
        left, right, name = right, left, _OPPOSITE[name]
    if name not in ("<", r"\le", r"\ne"):
        raise Unsupported(f"{name}")
    for side, other, below in ((left, right, True), (right, left, False)):
        variable = _variable(side) if side else None
        if variable and not (bound := expression(other)).value.symbols:
            return regions.simplest(_pulled(Region(_side(bound, below, name)), variable))
    if name == r"\ne":
        raise Unsupported("an inequality that is not solved")
    return Relation(expression(left), expression(right), "<" if name == "<" else "<=")


def _side(bound: Expression, below: bool, name: str) -> tuple[Interval, ...]:
    if name == r"\ne":
        return _below(bound, False), _above(bound, False)
    return ((_below if below else _above)(bound, name == r"\le"),)


def _below(bound: Expression, closed: bool) -> Interval:
    return Interval(infinite(-1), bound, False, closed)


def _above(bound: Expression, closed: bool) -> Interval:
    return Interval(bound, infinite(1), closed, False)
