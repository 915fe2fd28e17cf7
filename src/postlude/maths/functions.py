"""Functions of exact values: a value where there is an exact one, else kept closed."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from math import ceil, floor

from postlude.maths import polynomials as poly
from postlude.maths import ratios
from postlude.maths.counting import double_factorial, factorial_of
from postlude.maths.polynomials import Budget
from postlude.maths.problems import Undefined, Unsupported
from postlude.maths.ratios import Ratio
from postlude.maths.roots import closed, factors, power

LOG_BASE = "ln base"
"""The logarithm of whatever base a plain `log` means: log 4 = 2 log 2, but it is neither ln 4 nor log_10 4."""

_SQUARES = {0: (0, 1), 1: (1, 4), 2: (1, 2), 3: (3, 4), 4: (1, 1)}
"""sin^2 of 0, 30, 45, 60 and 90 degrees."""
_STEPS = {0: 0, 30: 1, 45: 2, 60: 3, 90: 4}


def apply(name: str, argument: Ratio, budget: Budget) -> Ratio:
    """The function of that name; names are those of `NAMES`."""
    if ratios.INFINITY in argument.atoms:
        raise Unsupported(f"{name} of infinity")
    return NAMES[name](argument, budget)


def _sine(argument: Ratio, budget: Budget) -> Ratio:
    degrees = _degrees(argument)
    exact = None if degrees is None else _sine_of(degrees, budget)
    return _odd("sin")(argument, budget) if exact is None else exact


def _cosine(argument: Ratio, budget: Budget) -> Ratio:
    degrees = _degrees(argument)
    exact = None if degrees is None else _sine_of(degrees + 90, budget)
    if exact is not None:
        return exact
    return closed("cos", ratios.negative(argument) if _negative(argument) else argument)


def _degrees(argument: Ratio) -> Fraction | None:
    """An angle that is a rational multiple of pi, in degrees."""
    if not argument.top:
        return Fraction(0)
    turn = ratios.multiply(argument, Ratio({(("π", Fraction(-1)),): Fraction(180)}), Budget())
    return turn.rational


def _sine_of(degrees: Fraction, budget: Budget) -> Ratio | None:
    degrees %= 360
    sign = -1 if degrees >= 180 else 1
    degrees %= 180
    step = _STEPS.get(int(min(degrees, 180 - degrees))) if degrees.denominator == 1 else None
    if step is None:
        return None
    square = ratios.number(Fraction(*_SQUARES[step]))
    return ratios.multiply(ratios.number(sign), power(square, ratios.number(Fraction(1, 2)), budget), budget)


def _over(top: str, bottom: str) -> Callable[[Ratio, Budget], Ratio]:
    """The quotient of two functions, `1` being the number."""

    def quotient(argument: Ratio, budget: Budget) -> Ratio:
        above = ratios.number(1) if top == "1" else apply(top, argument, budget)
        return ratios.divide(above, apply(bottom, argument, budget), budget)

    return quotient


def _logarithm(argument: Ratio, budget: Budget) -> Ratio:
    value = argument.rational
    if value is not None and value > 0:
        parts = [*factors(value.numerator).items(), *((p, -n) for p, n in factors(value.denominator).items())]
        if all(p < 10**8 for p, _ in parts):
            total = poly.ZERO
            for prime, count in parts:
                total = poly.add(total, {((f"ln {prime}", Fraction(1)),): Fraction(count)}, budget)
            return Ratio(total)
    if value == 0:
        raise Undefined("it takes the logarithm of 0")
    if len(argument.top) == 1 and len(argument.bottom) == 1:
        ((monomial, coefficient),) = argument.top.items()
        if coefficient == 1 and len(monomial) == 1 and monomial[0][0] == "e":
            return ratios.number(monomial[0][1])
        if coefficient == 1 and len(monomial) == 1 and monomial[0][0][0] == "#":
            prime, exponent = monomial[0]
            return Ratio({((f"ln {prime[1:]}", Fraction(1)),): exponent})
    return closed("ln", argument)


def logarithm(argument: Ratio, base: Ratio | None, budget: Budget) -> Ratio:
    """To a given base, or to the one that `log` means without one (10 where that makes the value a whole number)."""
    if base is not None:
        return ratios.divide(_logarithm(argument, budget), _logarithm(base, budget), budget)
    tens = ratios.divide(_logarithm(argument, budget), _logarithm(ratios.number(10), budget), budget)
    if argument.rational is not None and (whole := _ten(argument.rational)) is not None:
        return ratios.number(whole)
    return ratios.divide(_logarithm(argument, budget), ratios.atom(LOG_BASE), budget) if tens.top else tens


def _ten(value: Fraction) -> int | None:
    """n where the value is 10 ** n."""
    large = max(value.numerator, value.denominator)
    digits = len(str(large)) - 1 if large.bit_length() < poly.MAX_BITS else -1
    if digits < 0 or min(value.numerator, value.denominator) != 1 or 10**digits != large:
        return None
    return digits if value.numerator == large else -digits


def _rounded(name: str, of: Callable[[Fraction], int | Fraction]) -> Callable[[Ratio, Budget], Ratio]:
    def rounded(argument: Ratio, budget: Budget) -> Ratio:
        value = argument.rational
        return closed(name, argument) if value is None else ratios.number(of(value))

    return rounded


def _exponential(argument: Ratio, budget: Budget) -> Ratio:
    return power(ratios.atom("e"), argument, budget)


def _kept(name: str) -> Callable[[Ratio, Budget], Ratio]:
    return lambda argument, budget: closed(name, argument)


def _odd(name: str) -> Callable[[Ratio, Budget], Ratio]:
    """f(-x) = -f(x), kept closed."""

    def kept(argument: Ratio, budget: Budget) -> Ratio:
        if not argument.top:
            return ratios.number(0)
        return (
            ratios.negative(closed(name, ratios.negative(argument))) if _negative(argument) else closed(name, argument)
        )

    return kept


def _negative(argument: Ratio) -> bool:
    """Whether its first coefficient is below 0: of x and -x that is one."""
    return bool(argument.top) and argument.top[min(argument.top)] < 0


def _absolute(argument: Ratio, budget: Budget) -> Ratio:
    """|-x| is |x|, ||x|| too, and |3 + 4i| is 5."""
    value = argument.rational
    if value is not None:
        return ratios.number(abs(value))
    if argument.bottom == poly.ONE and argument.top.keys() <= {(), _I}:
        a, b = argument.top.get((), Fraction(0)), argument.top.get(_I, Fraction(0))
        return power(ratios.number(a * a + b * b), ratios.number(Fraction(1, 2)), budget)
    if len(argument.top) == 1 and argument.bottom == poly.ONE:
        ((monomial, coefficient),) = argument.top.items()
        if len(monomial) == 1 and monomial[0][0].startswith("[abs(") and monomial[0][1] == 1:
            return ratios.multiply(ratios.number(abs(coefficient)), ratios.atom(monomial[0][0]), budget)
    return closed("abs", ratios.negative(argument) if _negative(argument) else argument)


def _conjugate(argument: Ratio, budget: Budget) -> Ratio:
    """Of numbers; of letters, which may be complex, it is kept closed."""
    if argument.symbols or argument.opaque or any(e != 1 for m in argument.top for a, e in m if a == "i"):
        return closed("conj", argument)
    if any(a == "i" for m in argument.bottom for a, _ in m):
        return closed("conj", argument)
    return Ratio({m: -c if any(a == "i" for a, _ in m) else c for m, c in argument.top.items()}, argument.bottom)


def _direction(argument: Ratio, budget: Budget) -> Ratio:
    """cos x + i sin x."""
    turned = ratios.multiply(ratios.atom("i"), _sine(argument, budget), budget)
    return ratios.add(_cosine(argument, budget), turned, budget)


def _sign(argument: Ratio, budget: Budget) -> Ratio:
    value = argument.rational
    return closed("sgn", argument) if value is None else ratios.number((value > 0) - (value < 0))


_I = (("i", Fraction(1)),)
NAMES: dict[str, Callable[[Ratio, Budget], Ratio]] = {
    "sin": _sine,
    "cos": _cosine,
    "tan": _over("sin", "cos"),
    "cot": _over("cos", "sin"),
    "sec": _over("1", "cos"),
    "csc": _over("1", "sin"),
    "ln": _logarithm,
    "exp": _exponential,
    "cis": _direction,
    "factorial": factorial_of,
    "double factorial": double_factorial,
    "abs": _absolute,
    "conj": _conjugate,
    "sgn": _sign,
    "floor": _rounded("floor", floor),
    "ceil": _rounded("ceil", ceil),
    **{name: _odd(name) for name in ("arcsin", "arctan", "arccsc", "sinh", "tanh", "arsinh", "artanh", "csch", "coth")},
    **{name: _kept(name) for name in ("arccos", "arccot", "arcsec", "cosh", "arcosh", "sech")},
}
