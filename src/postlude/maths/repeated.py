"""Sums and products over a variable: added up where they are finite and small, kept closed where not."""

from __future__ import annotations

from collections.abc import Callable

from postlude.maths import ratios
from postlude.maths.polynomials import Budget
from postlude.maths.problems import Refused
from postlude.maths.ratios import Ratio
from postlude.maths.reader import Node
from postlude.maths.roots import closed
from postlude.maths.trees import replaced

MAX_TERMS = 1000
_Value = Callable[[Node, Budget], Ratio]


def total(tree: Node, value: _Value, budget: Budget) -> Ratio:
    """The value of ["sum", variable, from, to, of] or ["prod", ...]."""
    low, high = (_whole(limit, value, budget) for limit in tree[2:4])
    if low is None or high is None or high - low >= MAX_TERMS or _is_in_names(tree[1], tree[4]):
        return kept(tree, value, budget)
    try:
        with budget.part() as part:
            return _added(tree, range(low, high + 1), value, part)
    except Refused:
        return kept(tree, value, budget)


def _added(tree: Node, places: range, value: _Value, budget: Budget) -> Ratio:
    """Every term; numbers with many digits cost more."""
    name, variable, _, _, body = tree
    found = ratios.number(0 if name == "sum" else 1)
    for place in places:
        term = value(replaced(body, {variable: ["num", str(place)]}), budget)
        found = (ratios.add if name == "sum" else ratios.multiply)(found, term, budget)
        budget.spend(sum(c.numerator.bit_length() + c.denominator.bit_length() for c in found.top.values()) >> 8)
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


def _is_in_names(variable: str, tree: Node) -> bool:
    """Whether the variable is in a subscript, as in a_k."""
    if tree[0] in ("sym", "apply") and variable in tree[1] and tree[1] != variable:
        return True
    return any(_is_in_names(variable, part) for part in tree[1:] if isinstance(part, list))
