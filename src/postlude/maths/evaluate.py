"""Expression tree -> exact value."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

from postlude.maths import functions, ratios
from postlude.maths.grammar import Node
from postlude.maths.polynomials import Budget
from postlude.maths.problems import Undefined, Unsupported
from postlude.maths.ratios import INFINITY, Ratio
from postlude.maths.roots import power, root

_OPERATIONS: dict[str, Callable[[Ratio, Ratio, Budget], Ratio]] = {
    "+": ratios.add,
    "*": ratios.multiply,
    "/": ratios.divide,
    "^": power,
    "binom": functions.binomial,
}


def evaluate(tree: Node) -> Ratio:
    """The value of a tree. Raises Unreadable: Undefined, or Refused where it could take too long."""
    if tree in (["sym", INFINITY], ["neg", ["sym", INFINITY]]):
        return ratios.atom(INFINITY) if tree[0] == "sym" else ratios.negative(ratios.atom(INFINITY))
    return _value(tree, Budget())


def _value(tree: Node, budget: Budget) -> Ratio:
    tag = tree[0]
    budget.spend(1)
    if tag == "num":
        return ratios.number(Fraction(tree[1]))
    if tag == "sym":
        if tree[1] == INFINITY:
            raise Undefined("it computes with infinity")
        return ratios.atom(tree[1])
    if tag == "neg":
        return ratios.negative(_value(tree[1], budget))
    if tag == "root":
        return root(_value(tree[2], budget), int(tree[1]), budget)
    if tag == "call":
        return functions.apply(tree[1], _value(tree[2], budget), budget)
    if tag == "log":
        base = _value(tree[2], budget) if len(tree) == 3 else None
        return functions.logarithm(_value(tree[1], budget), base, budget)
    if tag in _OPERATIONS:
        total = _value(tree[1], budget)
        for part in tree[2:]:
            total = _OPERATIONS[tag](total, _value(part, budget), budget)
        return total
    raise Unsupported(str(tag))
