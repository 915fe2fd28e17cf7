"""Values seen as what they also are: a list of lists as rows, y = 2x as an equation, a quantity in base units."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from postlude.maths import polynomials as poly
from postlude.maths import ratios
from postlude.maths.grammar import Node
from postlude.maths.names import parameters
from postlude.maths.polynomials import Budget
from postlude.maths.problems import Unreadable
from postlude.maths.ratios import Ratio
from postlude.maths.synonyms import renamed
from postlude.maths.terms import has_letters, infinite, is_infinite, of
from postlude.maths.values import Expression, Interval, Labelled, Quantity, Region, Relation, Series, Value

BASES: Mapping[str, Node] = {"ten": ["num", "10"], "e": ["sym", "e"]}
"""Of a logarithm that says none, by convention."""
_DEGREE: Node = ["/", ["sym", "π"], ["num", "180"]]


def is_interval(value: Value) -> bool:
    """Whether a pair can be no point: it has an end at infinity, or brackets of two kinds."""
    if isinstance(value, Region):
        return True
    if not isinstance(value, Series):
        return False
    infinite = any(isinstance(i, Expression) and is_infinite(i) for i in value.items)
    return infinite or (value.opening == "(") != (value.closing == ")")


def as_rows(value: Series) -> list[tuple[Value, ...]]:
    """The rows of a list of lists in square brackets; none where it is something else."""
    rows = [i for i in value.items if isinstance(i, Series) and i.opening == "[" and i.closing == "]"]
    square = value.opening == "[" and value.closing == "]"
    return [r.items for r in rows] if square and len(rows) == len(value.items) else []


def as_called(a: Labelled, b: Labelled) -> Expression | None:
    """The value of f(x) = ... in the letters of f(t) = ...; None where these are no two spellings of one function."""
    (f, here), (g, there) = parameters(a.name), parameters(b.name)
    if f != g or not here or len(here) != len(there) or not isinstance(a.value, Expression):
        return None
    if a.value.value.symbols & {*there}:
        return None
    return of(renamed(a.value.tree, dict(zip(here, there, strict=True))))


def in_base_units(value: Quantity) -> Expression:
    if value.unit.factor == 1:
        return value.number
    return of(["*", value.number.tree, ["num", str(value.unit.factor)]])


def in_radians(value: Quantity) -> Expression:
    scaled = in_base_units(value)
    return of(["*", scaled.tree, _DEGREE]) if "angle" in value.unit.powers else scaled


def as_equation(value: Labelled) -> Relation | None:
    """y = 2x + 1 as the equation it also is; only letters are names of unknowns, several capitals their product."""
    if not isinstance(value.value, Expression):
        return None
    name = value.name
    try:
        if len(name) > 1 and name.isalpha() and name.isupper():
            return Relation(of(["*", *(["sym", c] for c in name)]), value.value, "=")
        plain = len(name) == 1 or name[0] == "\\" or "_" in name or "/d" in name
        return Relation(of(["sym", name]), value.value, "=") if plain else None
    except Unreadable:
        return None


def respelt(relation: Relation, names: Mapping[str, str]) -> Relation:
    left, right = (of(renamed(side.tree, names)) for side in (relation.left, relation.right))
    return Relation(left, right, relation.mark)


def as_solved(relation: Relation) -> Region | None:
    """2x > 3 as x > 3/2; None where it is no inequality of the first degree in one letter."""
    difference = ratios.subtract(relation.left.value, relation.right.value, Budget())
    letter = next(iter(difference.symbols), "") if len(difference.symbols) == 1 else ""
    rest = dict(difference.top)
    share = rest.pop(((letter, Fraction(1)),), Fraction(0))
    bound = Ratio(poly.scale(rest, -1 / share)).rational if share and difference.bottom == poly.ONE else None
    if relation.mark == "=" or bound is None:
        return None
    at, closed = of(["num", str(bound)]), relation.mark == "<="
    if share > 0:
        return Region((Interval(infinite(-1), at, False, closed),), letter)
    return Region((Interval(at, infinite(1), closed, False),), letter)


def with_base(value: Expression, base: Node) -> Expression:
    """With that base of a logarithm where none is said."""
    tree = _based(value.tree, base)
    return value if tree == value.tree else of(tree)


def _based(tree: Node, base: Node) -> Node:
    parts = [_based(part, base) if isinstance(part, list) else part for part in tree]
    return [*parts, base] if tree[0] == "log" and len(tree) == 2 else parts


def as_said(value: Value) -> Expression | None:
    """The number in a + b = 5 or ab = 12: a sum or a product of different letters; None of other equations."""
    if not isinstance(value, Relation) or value.mark != "=" or has_letters(value.right.tree):
        return None
    left, right = value.left.value, value.right.value
    if left.bottom != poly.ONE or left.opaque or len(left.symbols) < 2 or right.rational == 0:
        return None
    terms = [(dict(monomial), coefficient) for monomial, coefficient in left.top.items()]
    total = all(len(letters) == 1 and abs(coefficient) == 1 for letters, coefficient in terms)
    product = len(terms) == 1 and terms[0][1] == 1
    plain = all(power == 1 for letters, _ in terms for power in letters.values())
    return value.right if plain and (total or product) else None
