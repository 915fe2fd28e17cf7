"""Sums and products over a variable: added up where they are finite and small, kept closed where not."""

from __future__ import annotations

from collections.abc import Callable

from postlude.maths import ratios
from postlude.maths.polynomials import Budget
from postlude.maths.problems import Refused
from postlude.maths.ratios import Ratio
from postlude.maths.reader import Node
from postlude.maths.roots import closed

MAX_TERMS = 1000
_Value = Callable[[Node, Budget], Ratio]


def total(tree: Node, value: _Value, budget: Budget) -> Ratio:
    """The value of ["sum", variable, from, to, of] or ["prod", ...]."""
    name, variable, low, high, body = tree
    try:
        added = _added(name, variable, (_whole(low, value, budget), _whole(high, value, budget)), body, value)
    except Refused:
        added = None
    return added if added is not None else kept(tree, value, budget)


def _added(name: str, variable: str, limits: tuple[int | None, int | None], body: Node, value: _Value) -> Ratio | None:
    """Every term, with a budget of its own; None where the limits are no numbers or names depend on the variable."""
    low, high = limits
    if low is None or high is None or high - low >= MAX_TERMS or _is_in_names(variable, body):
        return None
    found, budget = ratios.number(0 if name == "sum" else 1), Budget()
    for place in range(low, high + 1):
        term = value(_with(variable, ["num", str(place)], body), budget)
        found = (ratios.add if name == "sum" else ratios.multiply)(found, term, budget)
    return found


def kept(tree: Node, value: _Value, budget: Budget) -> Ratio:
    """What is not computed: equal where all its parts are. An infinite end is a part like any other."""
    parts = [_part(part, value, budget) for part in tree[1:]]
    return closed(tree[0], *parts)


def _part(part: Node | str, value: _Value, budget: Budget) -> Ratio:
    if isinstance(part, str):
        return ratios.atom(part)
    if part in (["sym", ratios.INFINITY], ["neg", ["sym", ratios.INFINITY]]):
        return ratios.atom(("-" if part[0] == "neg" else "") + ratios.INFINITY)
    return value(part, budget)


def _whole(tree: Node, value: _Value, budget: Budget) -> int | None:
    if tree[-1] == ratios.INFINITY or (tree[0] == "neg" and tree[1][-1] == ratios.INFINITY):
        return None
    number = value(tree, budget).rational
    return number.numerator if number is not None and number.denominator == 1 else None


def _with(variable: str, number: Node, tree: Node) -> Node:
    if tree == ["sym", variable]:
        return number
    return [_with(variable, number, part) if isinstance(part, list) else part for part in tree]


def _is_in_names(variable: str, tree: Node) -> bool:
    """Whether the variable is in a subscript, as in a_k."""
    if tree[0] in ("sym", "apply") and variable in tree[1] and tree[1] != variable:
        return True
    return any(_is_in_names(variable, part) for part in tree[1:] if isinstance(part, list))
