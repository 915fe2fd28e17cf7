r"""Numbers and terms with a truth that Python holds, and ways to write them."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import gcd
from random import Random

from bench.maths_properties.drawn import Drawn, Way

PRIMES = (2, 3, 5, 7, 11, 13)
LETTERS = "abkmnpqxyz"


def whole(value: int, rng: Random) -> str:
    """One of the ways to write a whole number."""
    grouped = f"{value:,}"
    ways = [str(value), str(value), f"{value}.0", f" {value} ", rf"\frac{{{value * 7}}}{{7}}", rf"{{{value}}}"]
    if abs(value) >= 1000:
        ways += [grouped, *(grouped.replace(",", m) for m in ("{,}", r",\!", r"\,", r"\!"))]
    if value and value % 1000 == 0:
        ways += [rf"{value // 1000}\times 10^3", rf"{value // 1000}\cdot10^{{3}}"]
    return rng.choice(ways)


def integer(rng: Random) -> Drawn:
    value = rng.randint(-99, 999) if rng.random() < 0.7 else rng.randint(-(10**9), 10**9)
    return _of_integer(value)


def _of_integer(value: int) -> Drawn:
    near = lambda rng: _of_integer(value + rng.choice((1, -1, 10, -100)) if rng.random() < 0.7 or not value else -value)
    return Drawn("integer", value, lambda rng: whole(value, rng), near)


def _simple_fraction(value: Fraction, rng: Random) -> str:
    n, d = value.numerator, value.denominator
    sign, size, k = "-" * (n < 0), abs(n), rng.randint(2, 9)
    ways = [
        rf"\frac{{{n}}}{{{d}}}", f"{n}/{d}", rf"\dfrac{{{n * k}}}{{{d * k}}}", rf"{sign}\tfrac{{{size}}}{{{d}}}",
        rf"{sign}\frac{{{size}}}{{{d}}}", rf"{n}\div {d}", rf"\left( \frac{{{n}}}{{{d}}} \right)",
        rf"{{{n} \over {d}}}", rf"\frac{{{-n}}}{{{-d}}}", rf"{sign}\cfrac{{{size}}}{{{d}}}",
    ]  # fmt: skip
    if size > d > 1 and size < 1000:
        ways += [rf"{sign}{size // d}\frac{{{size % d}}}{{{d}}}", f"{sign}{size // d} {size % d}/{d}"]
    if size < 10 and d < 10:
        ways.append(rf"{sign}\frac{size}{d}")
    return rng.choice(ways)


def fraction(rng: Random) -> Drawn:
    value = Fraction(rng.randint(-60, 60) or 7, rng.randint(2, 40))
    return _of_fraction(value if value.denominator > 1 else value + Fraction(1, 2))


def _of_fraction(value: Fraction) -> Drawn:
    n, d = value.numerator, value.denominator
    near = lambda rng: _of_fraction(rng.choice((Fraction(n + 1, d), Fraction(n, d + 1), -value, 1 / value)))
    return Drawn("fraction", value, lambda rng: _simple_fraction(value, rng), near)


def decimal(rng: Random) -> Drawn:
    return _of_decimal(rng.randint(-9999, 9999) or 3, rng.randint(1, 5))


def _of_decimal(digits: int, places: int) -> Drawn:
    value = Fraction(digits, 10**places)

    def write(rng: Random) -> str:
        sign, text = "-" * (digits < 0), str(abs(digits)).rjust(places + 1, "0")
        point = f"{text[:-places]}.{text[-places:]}"
        ways = [sign + point, sign + point + "0", rf"\frac{{{digits}}}{{{10**places}}}", f"${sign}{point}$",
                rf"{digits}\times 10^{{-{places}}}", rf"{digits} \cdot 10^{{{-places}}}",
                f"{digits}e-{places}"]  # fmt: skip
        return rng.choice([*ways, sign + point[1:]] if point.startswith("0.") else ways)

    near = lambda rng: _of_decimal(digits + rng.choice((1, -1)) or 2, places) if rng.random() < 0.6 \
        else _of_decimal(digits, places + 1)  # fmt: skip
    return Drawn("decimal", value, write, near)


def surd(rng: Random) -> Drawn:
    return _of_surd(rng.randint(-9, 9), rng.choice((-4, -3, -2, -1, 1, 2, 3, 5)), rng.choice((*PRIMES, 6, 10)))


def _of_surd(a: int, b: int, c: int) -> Drawn:
    def write(rng: Random) -> str:
        times = rng.choice([rf"\sqrt{{{c}}}", rf"\sqrt {{{c}}}"])
        size = abs(b)
        root = times if size == 1 and rng.random() < 0.8 else f"{size}{times}"
        if rng.random() < 0.2:
            root = rf"\sqrt{{{b * b * c}}}"
        if not a:
            return ("-" if b < 0 else "") + root
        first = ("-" if b < 0 else "") + root + ("+" if a > 0 else "-") + str(abs(a))
        k = rng.randint(2, 6)
        ways = [f"{a}{'+' if b > 0 else '-'}{root}", first, f"{a} {'+' if b > 0 else '-'} {root}",
                rf"\frac{{{a * k}{b * k:+d}\sqrt{{{c}}}}}{{{k}}}", f"({first})"]  # fmt: skip
        return rng.choice(ways)

    def near(rng: Random) -> Drawn:
        other = next(p for p in PRIMES if p != c)
        return rng.choice((_of_surd(a + 1, b, c), _of_surd(a, -b, c), _of_surd(a, b, other), _of_surd(a, 7, c)))

    return Drawn("surd", (a, b, c), write, near)


def complex_number(rng: Random) -> Drawn:
    return _of_complex(rng.randint(-9, 9), rng.choice((-5, -3, -1, 1, 2, 4)))


def _of_complex(a: int, b: int) -> Drawn:
    def write(rng: Random) -> str:
        times = f"{abs(b)}i" if abs(b) > 1 else "i"
        sign, minus = "+" if b > 0 else "-", "-" * (b < 0)
        upright = times.replace("i", r"\mathrm{i}")
        ways = [f"{a}{sign}{times}", f"{a} {sign} {times}", f"{minus}{times}{a:+d}", f"{a}{sign}{upright}",
                rf"\left({a}{sign}{times}\right)", rf"\frac{{{3 * a}{3 * b:+d}i}}{{3}}"]  # fmt: skip
        return rng.choice(ways if a else [minus + times, f"0{sign}{times}"])

    near = lambda rng: rng.choice((_of_complex(a + 1, b), _of_complex(a, -b), _of_complex(a, b * 6)))
    return Drawn("complex", (a, b), write, near)


def polynomial(rng: Random) -> Drawn:
    """Two or three coefficients of powers of a letter, the highest first."""
    coefficients = [rng.choice((-3, -2, 2, 4, 5)), *(rng.randint(-9, 9) for _ in range(rng.randint(1, 2)))]
    return _of_polynomial(coefficients, rng.choice(LETTERS))


def _of_polynomial(coefficients: Sequence[int], letter: str) -> Drawn:
    def write(rng: Random) -> str:
        power = rng.choice([lambda n: f"^{n}", lambda n: f"^{{{n}}}"])
        terms = [_term(c, letter, len(coefficients) - 1 - i, power) for i, c in enumerate(coefficients) if c]
        mixed = rng.sample(terms, len(terms))
        joined, turned = _sum(terms), _sum(mixed)
        nested = str(coefficients[0])
        for c in coefficients[1:]:
            nested = f"{letter}({nested}){c:+d}"
        shared = gcd(*coefficients)
        ways = [joined, turned, joined, _sum(terms, " "), f"({joined})", nested, rf"\frac{{2({joined})}}{{2}}"]
        if shared > 1:
            inner = [
                _term(c // shared, letter, len(coefficients) - 1 - i, power) for i, c in enumerate(coefficients) if c
            ]
            ways.append(f"{shared}({_sum(inner)})")
        return rng.choice(ways)

    def near(rng: Random) -> Drawn:
        place = rng.randrange(len(coefficients))
        changed = list(coefficients)
        changed[place] += rng.choice((1, -1)) if changed[place] not in (1, -1) or place else 2
        other = (
            letter if any(coefficients[:-1]) and rng.random() < 0.8 else rng.choice([x for x in LETTERS if x != letter])
        )
        return _of_polynomial(changed if other == letter else coefficients, other)

    return Drawn("polynomial", (tuple(coefficients), letter), write, near)


def _term(c: int, letter: str, power: int, write: Way) -> str:
    body = "" if not power else letter if power == 1 else letter + write(power)  # type: ignore[arg-type]
    size = str(abs(c)) if abs(c) != 1 or not power else ""
    return ("-" if c < 0 else "+") + size + body


def _sum(terms: Sequence[str], space: str = "") -> str:
    text = space.join(t[0] + space + t[1:] for t in terms)
    return text.removeprefix("+").strip() if text.startswith("+") else text


def product(rng: Random) -> Drawn:
    """(x + a)(x + b), also multiplied out."""
    return _of_product(rng.randint(-9, 9) or 1, rng.randint(-9, 9) or 2, rng.choice(LETTERS))


def _of_product(a: int, b: int, x: str) -> Drawn:
    def write(rng: Random) -> str:
        one, two = f"({x}{a:+d})", f"({x}{b:+d})"
        out = _sum([f"+{x}^2", *([_term(a + b, x, 1, str)] if a + b else []), f"{a * b:+d}"])
        return rng.choice(
            [
                one + two,
                two + one,
                rf"{one} \cdot {two}",
                out,
                out,
                rf"{one}\times{two}",
                rf"\left{one[:-1]}\right){two}",
            ]
        )

    near = lambda rng: rng.choice((_of_product(a, b + 1 or 1, x), _of_product(-a, b, x)))
    return Drawn("product", (*sorted((a, b)), x), write, near)


NUMBERS = (integer, fraction, decimal, surd, complex_number)
TERMS = (polynomial, product)
