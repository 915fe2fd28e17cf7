"""Quotients of sums: what every expression without letters under functions comes down to, exactly."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

from postlude.maths import polynomials as poly
from postlude.maths.polynomials import ONE, Budget, Monomial, Poly
from postlude.maths.problems import Undefined

INFINITY = "∞"


@dataclass(frozen=True, eq=False)
class Ratio:
    """`top` / `bottom`; a bottom of one term is folded into the top, so then it is 1."""

    top: Poly
    bottom: Poly = field(default_factory=lambda: ONE)

    @property
    def rational(self) -> Fraction | None:
        """The number, where it is a rational one."""
        if len(self.bottom) != 1 or len(self.top) > 1:
            return None
        return Fraction(0) if not self.top else self.top.get(())

    @property
    def atoms(self) -> set[str]:
        return {atom for part in (self.top, self.bottom) for monomial in part for atom, _ in monomial}

    @property
    def opaque(self) -> bool:
        """Whether a function is kept closed in it: then being different in form does not make it different."""
        return any(atom[0] == "[" for atom in self.atoms)

    @property
    def symbols(self) -> set[str]:
        """Its letters, as far as they are not inside closed functions."""
        return {a for a in self.atoms if a[0] not in "#[" and a not in ("π", "e", "i", INFINITY) and a[:3] != "ln "}

    @property
    def symbol(self) -> str | None:
        """The letter, where it is nothing but one."""
        found = self.symbols
        return next(iter(found)) if len(found) == 1 and dict(self.top) == {_monomial(*found): Fraction(1)} else None

    def __str__(self) -> str:
        if self.bottom is ONE or self.bottom == ONE:
            return poly.text(self.top)
        first = self.bottom[min(self.bottom)]
        return f"({poly.text(poly.scale(self.top, 1 / first))})/({poly.text(poly.scale(self.bottom, 1 / first))})"


def _monomial(atom: str) -> Monomial:
    return ((atom, Fraction(1)),)


def number(value: Fraction | int) -> Ratio:
    return Ratio(poly.constant(value))


def atom(name: str) -> Ratio:
    return Ratio({_monomial(name): Fraction(1)})


def quotient(top: Poly, bottom: Poly, budget: Budget) -> Ratio:
    """Raises Undefined where the bottom is zero."""
    if not bottom:
        raise Undefined("it divides by zero")
    if len(bottom) == 1:
        ((monomial, coefficient),) = bottom.items()
        inverse, factor = poly.reduce({name: -e for name, e in monomial})
        return Ratio(poly.multiply(top, {inverse: factor / coefficient}, budget))
    if not top:
        return Ratio(top)
    share = _share(top, bottom)
    return number(share) if share else Ratio(top, bottom)


def _share(top: Poly, bottom: Poly) -> Fraction | None:
    """c where top = c * bottom."""
    if top.keys() != bottom.keys():
        return None
    shares = {top[m] / bottom[m] for m in top}
    return shares.pop() if len(shares) == 1 else None


def add(a: Ratio, b: Ratio, budget: Budget) -> Ratio:
    if a.bottom == b.bottom:
        return quotient(poly.add(a.top, b.top, budget), a.bottom, budget)
    left, right = poly.multiply(a.top, b.bottom, budget), poly.multiply(b.top, a.bottom, budget)
    return quotient(poly.add(left, right, budget), poly.multiply(a.bottom, b.bottom, budget), budget)


def negative(a: Ratio) -> Ratio:
    return Ratio(poly.scale(a.top, Fraction(-1)), a.bottom)


def subtract(a: Ratio, b: Ratio, budget: Budget) -> Ratio:
    return add(a, negative(b), budget)


def multiply(a: Ratio, b: Ratio, budget: Budget) -> Ratio:
    return quotient(poly.multiply(a.top, b.top, budget), poly.multiply(a.bottom, b.bottom, budget), budget)


def divide(a: Ratio, b: Ratio, budget: Budget) -> Ratio:
    return quotient(poly.multiply(a.top, b.bottom, budget), poly.multiply(a.bottom, b.top, budget), budget)


def integer_power(a: Ratio, exponent: int, budget: Budget) -> Ratio:
    if exponent < 0:
        return integer_power(divide(number(1), a, budget), -exponent, budget)
    if exponent == 0 and not a.top:
        raise Undefined("it is 0 to the power 0")
    return quotient(poly.power(a.top, exponent, budget), poly.power(a.bottom, exponent, budget), budget)


def same(a: Ratio, b: Ratio, budget: Budget) -> bool | None:
    """Whether two are equal; None where that depends on what closed functions are."""
    if a.bottom is ONE and b.bottom is ONE:
        left, right = a.top, b.top
    else:
        left, right = poly.multiply(a.top, b.bottom, budget), poly.multiply(b.top, a.bottom, budget)
    if left == right:
        return True
    return None if a.opaque or b.opaque else False


def proportion(a: Ratio, b: Ratio, budget: Budget) -> Fraction | None:
    """c where a = c * b, a rational number other than 0; None where there is none."""
    left, right = poly.multiply(a.top, b.bottom, budget), poly.multiply(b.top, a.bottom, budget)
    return _share(left, right) if left else None


def cleared(a: Ratio) -> Ratio:
    """Its numerator, without letters to negative whole powers: what is 0 where it is, and where a denominator is."""
    lowest: dict[str, Fraction] = {}
    for monomial in a.top:
        for name, power in monomial:
            if power < lowest.get(name, 0) and power.denominator == 1 and name[0] not in "#[":
                lowest[name] = power
    if not lowest:
        return Ratio(a.top)
    factor: Poly = {tuple(sorted((name, -power) for name, power in lowest.items())): Fraction(1)}
    return Ratio(poly.multiply(a.top, factor, Budget()))
