"""About how large a number is: for the order of the ends of intervals, and for whether a decimal is a rounding."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from decimal import Context, Decimal, localcontext
from fractions import Fraction

from postlude.maths import ratios
from postlude.maths.grammar import Node
from postlude.maths.polynomials import Budget
from postlude.maths.values import Expression

_DIGITS = 50
_SURE = Decimal("1e-12")
"""Two numbers that are nearer than this share of the larger one are not told apart by their size."""
_NEAR = Decimal("0.005")
"""How far a fraction such as 22/7, or a product such as 1.2*10^5, may be from what it stands for."""
_DECIMAL = re.compile(r"[+-]?(\d*)(?:\.(\d*))?[A-Za-z°%]*")
_PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459")
_FLOATS: dict[str, Callable[[float], float]] = {
    "sin": math.sin, "cos": math.cos, "tan": math.tan, "arcsin": math.asin, "arccos": math.acos, "arctan": math.atan,
    "sinh": math.sinh, "cosh": math.cosh, "tanh": math.tanh,
}  # fmt: skip


def order(a: Expression, b: Expression) -> int | None:
    """-1 where a is the smaller one, 0 where they are equal, 1 where it is the larger; None where that is not known."""
    if ratios.same(a.value, b.value, Budget()) is True:
        return 0
    p, q = a.value.rational, b.value.rational
    if p is not None and q is not None:
        return -1 if p < q else 1
    x, y = about(a), about(b)
    if x is None or y is None or (x.is_infinite() and y.is_infinite() and x == y):
        return None
    if x.is_infinite() or y.is_infinite() or abs(x - y) > _SURE * max(abs(x), abs(y), Decimal(1)):
        return -1 if x < y else 1
    return None


def rounds(exact: Expression, rounded: Expression, written: str) -> bool | None:
    """Whether a number, as it is written, is the exact one rounded or cut off; None where their sizes are not known."""
    x, y = about(exact), about(rounded)
    if x is None or y is None:
        return None
    digits = _DECIMAL.fullmatch(written)
    if not digits:
        return abs(x - y) <= _NEAR * max(abs(x), abs(y))
    zeros = len(digits.group(1)) - len(digits.group(1).rstrip("0"))
    last = Decimal(1).scaleb(-len(digits.group(2)) if digits.group(2) else zeros)
    cut_off = bool(digits.group(2)) and abs(y) <= abs(x)
    return abs(x - y) <= last / 2 or (cut_off and abs(x - y) < last)


def about(value: Expression) -> Decimal | None:
    """The number to a dozen digits or more, infinity too; None for one with letters, or with functions not known here.

    An approximation for comparisons of size: nothing is equal because of it.
    """
    ends = {"∞": Decimal("Infinity"), "-1*∞": Decimal("-Infinity")}
    if str(value) in ends:
        return ends[str(value)]
    try:
        with localcontext(Context(prec=_DIGITS)):
            size = _size(value.tree)
    except (ArithmeticError, ValueError):
        return None
    return size if size is not None and size.is_finite() else None


def _size(tree: Node) -> Decimal | None:
    tag = tree[0]
    if tag == "num":
        value = Fraction(tree[1])
        return Decimal(value.numerator) / Decimal(value.denominator)
    if tag == "sym":
        return {"π": _PI, "e": Decimal(1).exp()}.get(tree[1])
    parts = [_size(t) for t in tree[1:] if isinstance(t, list)]
    sizes = [p for p in parts if p is not None]
    if not sizes or len(sizes) != len(parts):
        return None
    if tag == "call":
        return _call(tree[1], sizes[0])
    if tag == "root":
        degree = int(tree[1])
        sign = -1 if sizes[0] < 0 and degree % 2 else 1
        return sign * (sign * sizes[0]) ** (Decimal(1) / degree)
    return _OPERATIONS[tag](sizes) if tag in _OPERATIONS else None


def _call(name: str, x: Decimal) -> Decimal | None:
    if name == "ln":
        return x.ln()
    if name == "exp":
        return x.exp()
    if name == "abs":
        return abs(x)
    return Decimal(_FLOATS[name](float(x))) if name in _FLOATS and abs(x) < 10**6 else None


def _product(sizes: list[Decimal]) -> Decimal:
    total = Decimal(1)
    for size in sizes:
        total *= size
    return total


_OPERATIONS: dict[str, Callable[[list[Decimal]], Decimal | None]] = {
    "+": lambda s: sum(s, Decimal(0)),
    "*": _product,
    "/": lambda s: s[0] / s[1],
    "^": lambda s: s[0] ** s[1],
    "neg": lambda s: -s[0],
    "log": lambda s: s[0].ln() / s[1].ln() if len(s) == 2 else None,
}
