"""Powers with broken exponents, exactly: numbers become products of roots of primes, which are independent."""

from __future__ import annotations

from fractions import Fraction
from math import isqrt

from postlude.maths import polynomials as poly
from postlude.maths import ratios
from postlude.maths.polynomials import Budget
from postlude.maths.problems import Undefined, Unsupported
from postlude.maths.ratios import Ratio

TRIAL = 10_000
"""Divisors that are tried; what is left of a number below TRIAL ** 2 is a prime."""


def power(base: Ratio, exponent: Ratio, budget: Budget) -> Ratio:
    """base ** exponent. What has no exact form here is kept closed."""
    value = exponent.rational
    if ratios.INFINITY in base.atoms | exponent.atoms:
        raise Unsupported("an infinite power")
    if value is None:
        return base if base.rational == 1 else closed("power", base, exponent)
    if value.denominator == 1:
        return ratios.integer_power(base, value.numerator, budget)
    if not base.top:
        return _of_zero(value)
    if len(base.top) > 1 or len(base.bottom) > 1:
        return closed("power", base, exponent)
    return _of_one_term(base, value, budget)


def closed(name: str, *arguments: Ratio) -> Ratio:
    """A function of its arguments that is not looked into; equal arguments make it equal."""
    return ratios.atom(f"[{name}({', '.join(map(str, arguments))})]")


def root(base: Ratio, degree: int, budget: Budget) -> Ratio:
    """The real root of a number; an odd one of a negative number is negative."""
    value = base.rational
    if value is not None and value < 0 and degree % 2:
        return ratios.negative(root(ratios.number(-value), degree, budget))
    return power(base, ratios.number(Fraction(1, degree)), budget)


def _of_zero(exponent: Fraction) -> Ratio:
    if exponent < 0:
        raise Undefined("it divides by zero")
    return ratios.number(0)


def _of_one_term(base: Ratio, exponent: Fraction, budget: Budget) -> Ratio:
    ((monomial, coefficient),) = base.top.items()
    raised = {name: e * exponent for name, e in monomial}
    letters = [name for name, _ in monomial if name[0] != "#" and name not in ("π", "e")]
    if any(raised[n].denominator == 1 or n[0] == "[" or n == "i" for n in letters):
        return closed("power", base, ratios.number(exponent))  # (x^2)^(1/2) is |x|, not x
    turn = ratios.number(1)
    if coefficient < 0:
        if exponent.denominator != 2 or letters:
            return closed("power", base, ratios.number(exponent))
        turn = ratios.integer_power(ratios.atom("i"), exponent.numerator, budget)
    monomials, factor = poly.reduce(raised)
    rest = Ratio({monomials: factor})
    return ratios.multiply(ratios.multiply(turn, rest, budget), _of_number(abs(coefficient), exponent, budget), budget)


def _of_number(value: Fraction, exponent: Fraction, budget: Budget) -> Ratio:
    up, down = factors(value.numerator), factors(value.denominator)
    exponents: dict[str, Fraction] = {}
    for prime, count in [*up.items(), *((p, -n) for p, n in down.items())]:
        name = f"#{prime}" if prime < TRIAL**2 else f"[root({prime})]"
        exponents[name] = exponents.get(name, Fraction(0)) + count * exponent
    whole = {n: e for n, e in exponents.items() if n[0] == "[" and e.denominator == 1}
    monomial, factor = poly.reduce({n: e for n, e in exponents.items() if n not in whole})
    for name, e in whole.items():
        factor *= poly.integer_power(Fraction(int(name[6:-2])), e.numerator)
    budget.spend(20)
    return Ratio({monomial: poly.checked(factor)})


def factors(value: int) -> dict[int, int]:
    """Prime -> how often. A part without small divisors stays whole, or is its square root twice."""
    found: dict[int, int] = {}
    divisor = 2
    while divisor < TRIAL and divisor * divisor <= value:
        while value % divisor == 0:
            found[divisor] = found.get(divisor, 0) + 1
            value //= divisor
        divisor += 1 if divisor == 2 else 2
    if value > 1:
        side = isqrt(value)
        if side * side == value:
            return found | {p: 2 * n for p, n in factors(side).items()}
        found[value] = found.get(value, 0) + 1
    return found
