"""Factorials, ways of counting, divisors and remainders: exact where the numbers are, in their simplest form else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from math import comb, factorial, gcd, lcm, perm

from postlude.maths import polynomials as poly
from postlude.maths import ratios
from postlude.maths.polynomials import Budget
from postlude.maths.problems import Undefined
from postlude.maths.ratios import Ratio
from postlude.maths.roots import closed

MAX_FACTORIAL = 999
_STEP = 100
"""2004! is 2004 * 2003 * 2002 * 2001 * 2000!, and 2000! stays closed: quotients of near factorials are exact."""
_SHIFT = 20
"""(n + 3)! is (n + 3)(n + 2)(n + 1) n! up to this many factors."""


def factorial_of(argument: Ratio, budget: Budget) -> Ratio:
    value = argument.rational
    if value is None:
        return _of_letters(argument, budget)
    if value < 0 or value.denominator != 1:
        raise Undefined("it is a factorial of no whole number")
    n = value.numerator
    if n <= MAX_FACTORIAL:
        budget.spend(n)
        return ratios.number(factorial(n))
    below = (n - 1) // _STEP * _STEP
    if _bits(n, n - below) > poly.MAX_BITS:
        return closed("factorial", argument)
    return ratios.multiply(ratios.number(perm(n, n - below)), closed("factorial", ratios.number(below)), budget)


def _of_letters(argument: Ratio, budget: Budget) -> Ratio:
    """(n + c)! as a product with n!, so that n! / (n - 2)! is n(n - 1)."""
    shift = argument.top.get((), Fraction(0)) if argument.bottom == poly.ONE else Fraction(0)
    if not shift or shift.denominator != 1 or abs(shift) > _SHIFT:
        return closed("factorial", argument)
    base = ratios.subtract(argument, ratios.number(shift), budget)
    factors = ratios.number(1)
    for step in range(1, abs(shift.numerator) + 1):
        term = ratios.add(base, ratios.number(step if shift > 0 else 1 - step), budget)
        factors = ratios.multiply(factors, term, budget)
    rest = closed("factorial", base)
    return ratios.multiply(rest, factors, budget) if shift > 0 else ratios.divide(rest, factors, budget)


def double_factorial(argument: Ratio, budget: Budget) -> Ratio:
    """n!! = n(n - 2)(n - 4)..., by convention never (n!)!."""
    value = argument.rational
    if value is None or value > MAX_FACTORIAL:
        return closed("double factorial", argument)
    if value < -1 or value.denominator != 1:
        raise Undefined("it is a double factorial of no whole number")
    budget.spend(max(value.numerator, 0))
    product = 1
    for factor in range(value.numerator, 0, -2):
        product *= factor
    return ratios.number(product)


def binomial(n: Ratio, k: Ratio, budget: Budget) -> Ratio:
    """n over k; of letters above as the polynomial it is, where k, or n - k, is a small number."""
    if (above := _whole(n)) is not None and (below := _whole(k)) is not None and above >= 0 and below >= 0:
        if _bits(above, min(below, above - below)) > poly.MAX_BITS:
            return closed("binomial", n, ratios.number(min(below, above - below)))
        budget.spend(min(below, abs(above - below)))
        return ratios.number(comb(above, below))
    for small in (k, ratios.subtract(n, k, budget)):
        count = _whole(small)
        if count is not None and 0 <= count <= _SHIFT and _whole(n) is None:
            product = permutations(n, ratios.number(count), budget)
            return ratios.multiply(product, ratios.number(Fraction(1, factorial(count))), budget)
    return closed("binomial", n, k)


def permutations(n: Ratio, k: Ratio, budget: Budget) -> Ratio:
    """n(n - 1)...(n - k + 1)."""
    count, above = _whole(k), _whole(n)
    if count is None or count < 0 or (above is not None and above < 0):
        return closed("permutations", n, k)
    if above is not None:
        if _bits(above, min(count, above)) > poly.MAX_BITS:
            return closed("permutations", n, k)
        budget.spend(min(count, above))
        return ratios.number(perm(above, count))
    if count > _SHIFT:
        return closed("permutations", n, k)
    product = ratios.number(1)
    for step in range(count):
        product = ratios.multiply(product, ratios.subtract(n, ratios.number(step), budget), budget)
    return product


def _bits(n: int, count: int) -> int:
    """At most the bits of a product of so many numbers up to n."""
    return n.bit_length() * max(count, 0)


def _whole(value: Ratio) -> int | None:
    number = value.rational
    return number.numerator if number is not None and number.denominator == 1 else None


def remainder(value: Ratio, modulus: Ratio) -> Ratio:
    a, m = value.rational, modulus.rational
    if a is None or m is None:
        return closed("mod", value, modulus)
    if m <= 0:
        raise Undefined("it is a remainder by no positive number")
    return ratios.number(a % m)


def remainder_of_power(base: Ratio, exponent: Ratio, modulus: Ratio) -> Ratio | None:
    """The remainder of a power that may be too large to be written; None where it is not one of whole numbers."""
    b, e, m = _whole(base), _whole(exponent), _whole(modulus)
    if b is None or e is None or m is None or e < 0 or m < 1 or e.bit_length() > 64 or m.bit_length() > 256:
        return None
    return ratios.number(pow(b, e, m))


def several(name: str, values: Sequence[Ratio]) -> Ratio:
    """gcd, lcm, max or min of values in any order."""
    rational = [v.rational for v in values]
    numbers = [r for r in rational if r is not None]
    whole = [r.numerator for r in numbers if r.denominator == 1]
    if name in ("max", "min") and len(numbers) == len(values):
        return ratios.number(max(numbers) if name == "max" else min(numbers))
    if name in ("gcd", "lcm") and len(whole) == len(values):
        return ratios.number(_DIVISORS[name](*whole))
    unique = {str(v): v for v in values}
    return closed(name, *(unique[text] for text in sorted(unique)))


_DIVISORS: dict[str, Callable[..., int]] = {"gcd": gcd, "lcm": lcm}
