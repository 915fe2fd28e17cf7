"""The second stage, run in a worker: sympy on trees that are built node by node. No text is ever evaluated."""

from __future__ import annotations

from fractions import Fraction
from typing import Any
from zlib import crc32

import sympy
from sympy.core.function import AppliedUndef

from postlude.maths.grammar import Node

_CONSTANTS = {"π": sympy.pi, "e": sympy.E, "i": sympy.I}
_FUNCTIONS: dict[str, Any] = {
    "sin": sympy.sin, "cos": sympy.cos, "tan": sympy.tan, "cot": sympy.cot, "sec": sympy.sec, "csc": sympy.csc,
    "arcsin": sympy.asin, "arccos": sympy.acos, "arctan": sympy.atan, "arccot": sympy.acot, "arcsec": sympy.asec,
    "arccsc": sympy.acsc, "sinh": sympy.sinh, "cosh": sympy.cosh, "tanh": sympy.tanh, "ln": sympy.log, "exp": sympy.exp,
    "abs": sympy.Abs, "floor": sympy.floor, "ceil": sympy.ceiling, "factorial": sympy.factorial,
    "double factorial": sympy.factorial2, "arsinh": sympy.asinh, "arcosh": sympy.acosh, "artanh": sympy.atanh,
    "sech": sympy.sech, "csch": sympy.csch, "coth": sympy.coth, "sgn": sympy.sign, "conj": sympy.conjugate,
    "cis": lambda a: sympy.cos(a) + sympy.I * sympy.sin(a), "gcd": sympy.Function("gcd"),
    "lcm": sympy.Function("lcm"), "max": sympy.Max, "min": sympy.Min,
}  # fmt: skip
"""gcd and lcm of whole numbers are computed before; of letters sympy's are those of polynomials: gcd(x, y) = 1."""
_POINTS = (sympy.Rational(739, 1000), sympy.Rational(-1327, 900), sympy.Rational(2711, 1000))
_INFINITE = (sympy.zoo, sympy.nan, sympy.oo, -sympy.oo)
"""Poles, such as arctan i: nothing equals them. The two infinities are compared exactly and do not come here."""
_LOG_BASE = sympy.Symbol("base of log", positive=True)


def equal(left: Node, right: Node, tolerance: Fraction = Fraction(0)) -> bool:
    """Whether two trees are proved to be equal (or, numbers with a tolerance, close). Unproved is False."""
    a, b = build(left), build(right)
    if any(x.has(*_INFINITE) for x in (a, b)):
        return False
    if tolerance and not (a - b).free_symbols:
        x, y = sympy.N(a, 30), sympy.N(b, 30)
        return bool(x.is_real and y.is_real and abs(x - y) <= sympy.Rational(str(tolerance)) * max(abs(x), abs(y)))
    difference = a - b
    return difference == 0 or (not _differs(difference) and _proved(difference))


def build(tree: Node) -> Any:
    tag = tree[0]
    if tag == "num":
        value = Fraction(tree[1])
        return sympy.Rational(value.numerator, value.denominator)
    if tag == "sym":
        return _CONSTANTS[tree[1]] if tree[1] in _CONSTANTS else sympy.Symbol(tree[1], real=True)
    if tag == "lim":
        return _limit(tree)
    parts = [build(t) for t in tree[1:] if isinstance(t, list)]
    if tag == "call":
        return _FUNCTIONS[tree[1]](*parts)
    if tag == "apply":
        return sympy.Function(tree[1])(*(sorted(parts, key=str) if tree[1] == "·" else parts))
    if tag == "root":
        return (
            sympy.real_root(parts[0], int(tree[1]))
            if _is_odd_negative(tree, parts)
            else sympy.root(parts[0], int(tree[1]))
        )
    return _OPERATIONS[tag](*parts)


def _limit(tree: Node) -> Any:
    """A number that the values nearby come close to; nan for every other limit."""
    variable, point, side = sympy.Symbol(tree[1], real=True), tree[2], tree[3][1].removeprefix("side") or "+-"
    place = {"sym": sympy.oo, "neg": -sympy.oo}[point[0]] if point[-1] in ("∞", ["sym", "∞"]) else build(point)
    body = build(tree[4])
    if body.free_symbols - {variable}:
        return sympy.nan
    try:
        value = sympy.limit(body, variable, place, "-" if place == sympy.oo else "+" if place == -sympy.oo else side)
    except (NotImplementedError, ValueError):
        return sympy.nan
    return (
        value if value.is_number and value.is_finite and _comes_close(body, variable, place, side, value) else sympy.nan
    )


def _comes_close(body: Any, variable: Any, place: Any, side: str, value: Any) -> bool:
    far, near = sympy.Integer(10) ** 8, sympy.Rational(1, 10**8)
    nearby = (
        [place + near] * ("+" in side) + [place - near] * ("-" in side)
        if place.is_finite
        else [sympy.sign(place) * far]
    )
    distances = [abs(sympy.N(body.subs(variable, sympy.Float(x, 60)) - value, 30, maxn=200)) for x in nearby]
    return all(d.is_number and bool(d < sympy.Rational(1, 1000)) for d in distances)


def _is_odd_negative(tree: Node, parts: list[Any]) -> bool:
    return int(tree[1]) % 2 == 1 and bool(parts[0].is_negative)


def _log(argument: Any, base: Any = None) -> Any:
    return sympy.log(argument) / sympy.log(_LOG_BASE if base is None else base)


_OPERATIONS: dict[str, Any] = {
    "+": sympy.Add,
    "*": sympy.Mul,
    "/": lambda a, b: a / b,
    "^": lambda a, b: a**b,
    "neg": lambda a: -a,
    "log": _log,
    "binom": sympy.binomial,
    "perm": sympy.ff,
    "mod": sympy.Mod,
}


def _differs(difference: Any) -> bool:
    """Whether a value of it, to 30 digits, is not zero: at three points where it has letters.

    An unknown function has some value for each of its arguments: what is zero for every function is zero for that one.
    """
    letters = sorted(difference.free_symbols, key=str)
    for place in range(len(_POINTS) if letters else 1):
        at = {
            s: abs(_POINTS[(place + i) % 3]) if s.is_positive else _POINTS[(place + i) % 3] + i
            for i, s in enumerate(letters)
        }
        value = sympy.N(difference.subs(at).replace(_is_unknown, _arbitrary), 30, maxn=200)
        if not value.is_number or value.has(*_INFINITE):
            continue
        size = abs(value)
        if size.is_comparable and size > sympy.Rational(1, 10**20):  # a double factorial of pi has no value in figures
            return True
    return False


def _is_unknown(term: Any) -> bool:
    return isinstance(term, AppliedUndef) and not term.free_symbols


def _arbitrary(term: Any) -> Any:
    """A value of an unknown function, of its name and the values of its arguments."""
    text = str([term.func.__name__, *(sympy.N(a, 12) for a in term.args)])
    return sympy.Rational(crc32(text.encode()) + 1, 2**31)


def _proved(difference: Any) -> bool:
    """Whether sympy can show that it is zero, by simplification or through its minimal polynomial."""
    if not difference.free_symbols and difference.is_algebraic:
        return sympy.minimal_polynomial(difference, sympy.Symbol("x")) == sympy.Symbol("x")
    if difference.has(sympy.asinh, sympy.acosh, sympy.atanh):
        difference = difference.rewrite(sympy.log)
    for simpler in (sympy.expand, sympy.trigsimp, sympy.simplify):
        if simpler(difference) == 0:
            return True
    return difference.equals(0) is True
