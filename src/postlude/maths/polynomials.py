"""Sums of monomials with exact rational coefficients, on a budget.

A monomial is a sorted tuple of (atom, exponent). Atoms are strings: letters and names (`x`, `x_1`, `\\alpha`), `π`,
`e`, `i`; `#p`, the positive number p of a prime p, with an exponent in (0, 1); `ln p`; and `[...]`, a function that is
kept closed (opaque). All but the opaque ones are taken as independent, so two sums are equal only if they are the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction

from postlude.maths.problems import Refused

Monomial = tuple[tuple[str, Fraction], ...]
Poly = Mapping[Monomial, Fraction]

ONE: Poly = {(): Fraction(1)}
ZERO: Poly = {}
MAX_BITS = 10_000
"""Of a coefficient: about 3,000 digits, which holds 999!."""
MAX_WORK = 40_000
"""Products of terms for one answer: some 0.1 s."""


class Budget:
    """How much work is left; a step that would exceed it raises Refused before it is done."""

    def __init__(self, work: int = MAX_WORK) -> None:
        self._left = work

    def spend(self, work: int) -> None:
        self._left -= work
        if self._left < 0:
            raise Refused("it expands to too many terms")

    @contextmanager
    def part(self) -> Iterator[Budget]:
        """Half of what is left, for work that may be given up; what it took is gone from the whole."""
        half = self._left // 2
        inner = Budget(half)
        try:
            yield inner
        finally:
            self._left -= half - max(inner._left, 0)


def checked(value: Fraction) -> Fraction:
    if value.numerator.bit_length() + value.denominator.bit_length() > MAX_BITS:
        raise Refused("a number has more than 3,000 digits")
    return value


def constant(value: Fraction | int) -> Poly:
    if not value:
        return ZERO
    return {(): value if isinstance(value, Fraction) else Fraction(value)}


def add(a: Poly, b: Poly, budget: Budget) -> Poly:
    budget.spend(len(b) + 1)
    total = dict(a)
    for monomial, coefficient in b.items():
        value = total.get(monomial, 0) + coefficient
        if value:
            total[monomial] = checked(Fraction(value))
        else:
            total.pop(monomial, None)
    return total


def scale(a: Poly, factor: Fraction) -> Poly:
    return {m: checked(c * factor) for m, c in a.items()} if factor else ZERO


def multiply(a: Poly, b: Poly, budget: Budget) -> Poly:
    if len(a) == 1 and () in a:
        budget.spend(len(b))
        return scale(b, a[()])
    if len(b) == 1 and () in b:
        budget.spend(len(a))
        return scale(a, b[()])
    budget.spend(len(a) * len(b) * 2)
    total: dict[Monomial, Fraction] = {}
    for left, x in a.items():
        for right, y in b.items():
            monomial, factor = join(left, right)
            total[monomial] = checked(total.get(monomial, Fraction(0)) + x * y * factor)
    return {m: c for m, c in total.items() if c}


def join(left: Monomial, right: Monomial) -> tuple[Monomial, Fraction]:
    """The product of two monomials: a reduced one and a rational factor."""
    exponents = dict(left)
    for atom, exponent in right:
        exponents[atom] = exponents.get(atom, Fraction(0)) + exponent
    return reduce(exponents)


def reduce(exponents: Mapping[str, Fraction]) -> tuple[Monomial, Fraction]:
    """`#p` keeps the broken part of its exponent, i none but 1; the rest becomes a factor."""
    factor, kept = Fraction(1), []
    for atom, exponent in exponents.items():
        if atom[0] == "#":
            whole = exponent.__floor__()
            factor *= integer_power(Fraction(int(atom[1:])), whole)
            exponent -= whole
        elif atom == "i" and exponent.denominator == 1:
            factor *= -1 if exponent % 4 in (2, 3) else 1
            exponent %= 2
        if exponent:
            kept.append((atom, exponent))
    return tuple(sorted(kept)), factor


def integer_power(value: Fraction, exponent: int) -> Fraction:
    """Raises Refused before a number of too many digits is made."""
    bits = max(value.numerator.bit_length(), value.denominator.bit_length())
    if value not in (0, 1, -1) and bits * abs(exponent) > 2 * MAX_BITS:
        raise Refused("a power has more than 3,000 digits")
    if value in (1, -1):
        return value if exponent % 2 else Fraction(1)
    return checked(value**exponent)


def power(a: Poly, exponent: int, budget: Budget) -> Poly:
    """`a` to a whole power of at least 0. One term costs nothing, however high the power."""
    if len(a) == 1:
        ((monomial, coefficient),) = a.items()
        raised, factor = reduce({atom: e * exponent for atom, e in monomial})
        return {raised: checked(integer_power(coefficient, exponent) * factor)}
    if exponent > 1000:
        raise Refused("it expands to too many terms")
    result, square = ONE, a
    while exponent and a:
        if exponent & 1:
            result = multiply(result, square, budget)
        exponent >>= 1
        if exponent:
            square = multiply(square, square, budget)
    return result if a else (ZERO if exponent else ONE)


def text(a: Poly) -> str:
    """A canonical form: equal sums have equal texts."""
    if not a:
        return "0"
    if len(a) == 1 and () in a:
        return _number(a[()])
    return " + ".join(_term(m, a[m]) for m in sorted(a, key=lambda m: (-sum(e for _, e in m), m)))


def _term(monomial: Monomial, coefficient: Fraction) -> str:
    parts = [atom.lstrip("#") + (f"^({e})" if e != 1 else "") for atom, e in monomial]
    if coefficient != 1 or not parts:
        parts.insert(0, _number(coefficient))
    return "*".join(parts)


def _number(value: Fraction) -> str:
    return str(value.numerator) if value.denominator == 1 else f"({value.numerator}/{value.denominator})"
