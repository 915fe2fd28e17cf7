"""Expression tree -> exact value."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

from postlude.maths import counting, functions, ratios, repeated
from postlude.maths.grammar import Node
from postlude.maths.polynomials import Budget
from postlude.maths.problems import Undefined, Unsupported
from postlude.maths.ratios import INFINITY, Ratio
from postlude.maths.roots import closed, power, root

_OPERATIONS: dict[str, Callable[[Ratio, Ratio, Budget], Ratio]] = {
    "+": ratios.add,
    "*": ratios.multiply,
    "/": ratios.divide,
    "^": power,
    "binom": counting.binomial,
    "perm": counting.permutations,
}


def evaluate(tree: Node) -> Ratio:
    """The value of a tree. Raises Unreadable: Undefined, or Refused where it could take too long."""
    if tree[0] == "num":
        return ratios.number(Fraction(tree[1]))
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
    if tag in _OPERATIONS:
        total = _value(tree[1], budget)
        for part in tree[2:]:
            total = _OPERATIONS[tag](total, _value(part, budget), budget)
        return total
    if tag not in _OTHERS:
        raise Unsupported(str(tag))
    return _OTHERS[tag](tree, budget)


def _root(tree: Node, budget: Budget) -> Ratio:
    return root(_value(tree[2], budget), int(tree[1]), budget)


def _call(tree: Node, budget: Budget) -> Ratio:
    if len(tree) == 3 and tree[1] in functions.NAMES:
        return functions.apply(tree[1], _value(tree[2], budget), budget)
    return counting.several(tree[1], [_value(part, budget) for part in tree[2:]])


def _logarithm(tree: Node, budget: Budget) -> Ratio:
    base = _value(tree[2], budget) if len(tree) == 3 else None
    return functions.logarithm(_value(tree[1], budget), base, budget)


def _application(tree: Node, budget: Budget) -> Ratio:
    """An unknown function of known arguments; those of a product of vectors with a dot have no order."""
    arguments = [_value(part, budget) for part in tree[2:]]
    return closed(tree[1], *(sorted(arguments, key=str) if tree[1] == "·" else arguments))


def _remainder(tree: Node, budget: Budget) -> Ratio:
    modulus = _value(tree[2], budget)
    if tree[1][0] == "^":
        base, exponent = (_value(part, budget) for part in tree[1][1:])
        if (found := counting.remainder_of_power(base, exponent, modulus)) is not None:
            return found
    return counting.remainder(_value(tree[1], budget), modulus)


def _total(tree: Node, budget: Budget) -> Ratio:
    return repeated.total(tree, _value, budget)


def _kept(tree: Node, budget: Budget) -> Ratio:
    return repeated.kept(tree, _value, budget)


_OTHERS: dict[str, Callable[[Node, Budget], Ratio]] = {
    "root": _root, "call": _call, "log": _logarithm, "apply": _application, "mod": _remainder,
    "sum": _total, "prod": _total, "int": _kept, "lim": _kept,
}  # fmt: skip
