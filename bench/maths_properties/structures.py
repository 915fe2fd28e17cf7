r"""Lists, sets, tuples, intervals, matrices, quantities and equations, of values that Python holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from math import gcd
from random import Random

from bench.maths_properties.drawn import Drawn
from bench.maths_properties.numbers import complex_number, fraction, integer, surd

SMALL = (integer, fraction, surd)


def _small(rng: Random) -> Drawn:
    """A number without commas in it: those would be read as more members."""
    one = rng.choice(SMALL)(rng)
    if one.kind == "integer":
        value = one.truth if isinstance(one.truth, int) else 0
        return _digit(value % 41 - 20)
    return one


def _digit(value: int) -> Drawn:
    return Drawn("integer", value, lambda rng: str(value), lambda rng: _digit(value + rng.choice((1, -1, 5))))


def _members(rng: Random, least: int, most: int) -> list[Drawn]:
    """Different numbers of one kind, so that their truths can be told apart."""
    size, make = rng.randint(least, most), rng.choice(SMALL)
    members: dict[object, Drawn] = {}
    while len(members) < size:
        one = _digit(rng.randint(-30, 99)) if make is integer else make(rng)
        members.setdefault(one.truth, one)
    return [*members.values()]


def listing(rng: Random) -> Drawn:
    members = _members(rng, 2, 4)
    return _of_listing([*members, members[0]] if rng.random() < 0.25 else members)


def _of_listing(members: Sequence[Drawn]) -> Drawn:
    def write(rng: Random) -> str:
        texts = [m.write(rng) for m in rng.sample(members, len(members))]
        ways = [", ".join(texts), ",".join(texts), "; ".join(texts), r",\ ".join(texts), "$" + "$, $".join(texts) + "$",
                ", ".join(texts[:-1]) + rf" \text{{ and }} {texts[-1]}",
                ", ".join(texts[:-1]) + " and " + texts[-1]]  # fmt: skip
        return rng.choice(ways)

    def near(rng: Random) -> Drawn:
        ways = [_of_listing([*members, _fresh(members, rng)]), _of_listing([*members, rng.choice(members)])]
        if len(members) > 2:
            ways.append(_of_listing(members[1:]))
        return rng.choice([*ways, _of_listing([members[0].other(rng), *members[1:]])])

    return Drawn("list", frozenset(Counter(m.truth for m in members).items()), write, near,
                 frozenset(m.truth for m in members))  # fmt: skip


def _fresh(members: Sequence[Drawn], rng: Random) -> Drawn:
    known = {m.truth for m in members}
    one = members[0]
    while one.truth in known:
        one = one.other(rng)
    return one


def collection(rng: Random) -> Drawn:
    return _of_collection(_members(rng, 2, 4))


def _of_collection(members: Sequence[Drawn]) -> Drawn:
    def write(rng: Random) -> str:
        some = rng.sample(members, len(members))
        texts = [m.write(rng) for m in ([*some, some[0]] if rng.random() < 0.2 else some)]
        return rng.choice(
            [
                rf"\{{{', '.join(texts)}\}}",
                rf"\left\{{{','.join(texts)}\right\}}",
                rf"\lbrace {', '.join(texts)} \rbrace",
            ]
        )

    def near(rng: Random) -> Drawn:
        ways = [_of_collection([*members, _fresh(members, rng)]), _of_collection([members[0].other(rng), *members[1:]])]
        return rng.choice([*ways, _of_collection(members[1:])] if len(members) > 2 else ways)

    return Drawn("set", frozenset(m.truth for m in members), write, near, frozenset(m.truth for m in members))


def point(rng: Random) -> Drawn:
    return _of_point([_small(rng) for _ in range(rng.randint(2, 4))])


def _of_point(members: Sequence[Drawn]) -> Drawn:
    def write(rng: Random) -> str:
        texts = [m.write(rng) for m in members]
        return rng.choice([f"({', '.join(texts)})", f"({','.join(texts)})", rf"\left({', '.join(texts)}\right)",
                           rf"\left( {' , '.join(texts)} \right)", rf"\bigl({', '.join(texts)}\bigr)",
                           "(" + r",\,".join(texts) + ")"])  # fmt: skip

    def near(rng: Random) -> Drawn:
        place = rng.randrange(len(members))
        changed = [m.other(rng) if i == place else m for i, m in enumerate(members)]
        return rng.choice((_of_point(changed), _of_point(members[::-1]), _of_point([*members, _digit(3)])))

    return Drawn("tuple", tuple((m.kind, m.truth) for m in members), write, near)


def points(rng: Random) -> Drawn:
    """A list of pairs of whole numbers."""
    return _of_points([(rng.randint(-9, 9), rng.randint(-9, 9)) for _ in range(rng.randint(2, 3))])


def _of_points(pairs: Sequence[tuple[int, int]]) -> Drawn:
    def write(rng: Random) -> str:
        texts = [
            rng.choice([f"({a},{b})", f"({a}, {b})", rf"\left({a}, {b}\right)"])
            for a, b in rng.sample(pairs, len(pairs))
        ]
        return rng.choice(
            [
                ", ".join(texts),
                ",".join(texts),
                " and ".join(texts),
                rf"{', '.join(texts[:-1])} \text{{ and }} {texts[-1]}",
            ]
        )

    def near(rng: Random) -> Drawn:
        (a, b), *rest = pairs
        return rng.choice(
            (_of_points([(b, a), *rest]), _of_points([(a + 1, b), *rest]), _of_points([*pairs, (a, -b - 1)]))
        )

    return Drawn("list of pairs", frozenset(Counter(pairs).items()), write, near)


def interval(rng: Random) -> Drawn:
    low = rng.randint(-20, 20)
    ends = (Fraction(low, rng.choice((1, 1, 2, 3))), Fraction(low + rng.randint(1, 30)))
    sides = rng.choice(("both", "both", "below", "above"))
    return _of_interval(ends, (rng.random() < 0.5, rng.random() < 0.5), sides)


def _end(value: Fraction, rng: Random) -> str:
    if value.denominator == 1:
        return str(value)
    sign, n, d = "-" * (value < 0), abs(value.numerator), value.denominator
    return rng.choice([rf"{sign}\frac{{{n}}}{{{d}}}", f"{sign}{n}/{d}", rf"{sign}\dfrac{{{n}}}{{{d}}}"])


def _of_interval(ends: tuple[Fraction, Fraction], closed: tuple[bool, bool], sides: str) -> Drawn:
    """`sides`: which ends are finite: both, or the other is below or above everything."""
    closed = (closed[0] and sides != "below", closed[1] and sides != "above")
    low, high = (None if sides == "below" else ends[0]), (None if sides == "above" else ends[1])

    def write(rng: Random) -> str:
        a = r"-\infty" if low is None else _end(low, rng)
        b = rng.choice([r"\infty", r"+\infty"]) if high is None else _end(high, rng)
        left, right = "[" if closed[0] else "(", "]" if closed[1] else ")"
        ways = [f"{left}{a}, {b}{right}", f"{left}{a},{b}{right}", rf"\left{left}{a}, {b}\right{right}"]
        less = [rng.choice([r"\le", r"\leq", r"\leqslant"]) if c else "<" for c in closed]
        more = [rng.choice([r"\ge", r"\geq", r"\geqslant"]) if c else ">" for c in closed]
        if low is None:
            held = rng.choice([f"x {less[1]} {b}", f"{b} {more[1]} x"])
        elif high is None:
            held = rng.choice([f"x {more[0]} {a}", f"{a} {less[0]} x"])
        else:
            held = rng.choice([f"{a} {less[0]} x {less[1]} {b}", f"{b} {more[1]} x {more[0]} {a}"])
        pair = low is not None and high is not None and closed == (False, False)
        said = [held, rf"\{{x \mid {held}\}}", rf"\{{x : {held}\}}", rf"x \in {ways[0]}"]
        return rng.choice(ways if pair else [*ways, *said])

    def near(rng: Random) -> Drawn:
        moved = (ends[0] - 1, ends[1] + 1)
        return rng.choice((
            _of_interval(moved, closed, sides), _of_interval(ends, (not closed[0], closed[1]), sides),
            _of_interval(ends, (closed[0], not closed[1]), sides),
            _of_interval(ends, closed, rng.choice(("both", "below", "above"))),
        ))  # fmt: skip

    return Drawn("interval", (low, high, closed), write, near)


def union(rng: Random) -> Drawn:
    """Two intervals that do not touch."""
    a = rng.randint(-20, 0)
    cuts = (a, a + rng.randint(1, 5), a + rng.randint(7, 9), a + rng.randint(10, 14))
    return _of_union(cuts, tuple(rng.random() < 0.5 for _ in range(4)))


def _of_union(cuts: Sequence[int], closed: Sequence[bool]) -> Drawn:
    less = [r"\le" if c else "<" for c in closed]

    def write(rng: Random) -> str:
        parts = [f"{'[' if closed[i] else '('}{cuts[i]}, {cuts[i + 1]}{']' if closed[i + 1] else ')'}" for i in (0, 2)]
        held = [f"{cuts[i]} {less[i]} x {less[i + 1]} {cuts[i + 1]}" for i in (0, 2)]
        rng.shuffle(parts)
        mark = rng.choice([r"\cup", r" \cup ", "∪"])
        return rng.choice(
            [mark.join(parts), mark.join(parts), r" \text{ or } ".join(held), rf"x \in {mark.join(parts)}"]
        )

    def near(rng: Random) -> Drawn:
        place = rng.randrange(4)
        changed = [(not c) if i == place else c for i, c in enumerate(closed)]
        moved = [c + (1 if place == 3 else -1) * (i == place in (0, 3)) for i, c in enumerate(cuts)]
        return rng.choice((_of_union(cuts, changed), _of_union(moved, closed)))

    return Drawn("union", (tuple(cuts), tuple(closed)), write, near)


def matrix(rng: Random) -> Drawn:
    height, width = rng.randint(1, 3), rng.randint(1, 3)
    return _of_matrix([[rng.randint(-9, 9) for _ in range(width)] for _ in range(max(height, 3 - width))])


def _of_matrix(rows: Sequence[Sequence[int]]) -> Drawn:
    def write(rng: Random) -> str:
        cells = r" \\ ".join(" & ".join(map(str, row)) for row in rows)
        tight = r"\\".join("&".join(map(str, row)) for row in rows)
        array = rf"\begin{{array}}{{{'r' * len(rows[0])}}}{cells}\end{{array}}"
        return rng.choice([rf"\begin{{pmatrix}} {cells} \end{{pmatrix}}", rf"\begin{{bmatrix}}{tight}\end{{bmatrix}}",
                           rf"\left[{array}\right]", rf"\left({array}\right)",
                           rf"\begin{{pmatrix}}{tight}\\\end{{pmatrix}}"])  # fmt: skip

    def near(rng: Random) -> Drawn:
        i, j = rng.randrange(len(rows)), rng.randrange(len(rows[0]))
        changed = [
            [c + rng.choice((1, -1)) * ((i, j) == (a, b)) for b, c in enumerate(row)] for a, row in enumerate(rows)
        ]
        turned = [list(column) for column in zip(*rows, strict=True)]
        square = len(rows) == len(rows[0]) > 1
        return _of_matrix(rng.choice((changed, turned, rows[::-1]) if square else (changed, [*rows, rows[0]])))

    return Drawn("matrix", tuple(map(tuple, rows)), write, near)


UNITS = {
    "cm": (Fraction(1, 100), "length", ("cm", "centimeters", "centimetres")),
    "m": (Fraction(1), "length", ("m", "meters", "metres")),
    "km": (Fraction(1000), "length", ("km", "kilometers")),
    "g": (Fraction(1), "mass", ("g", "grams")),
    "kg": (Fraction(1000), "mass", ("kg", "kilograms")),
    "min": (Fraction(60), "time", ("min", "minutes")),
    "h": (Fraction(3600), "time", ("hours", "hr")),
}


def quantity(rng: Random) -> Drawn:
    return _of_quantity(rng.randint(1, 400), rng.choice([*UNITS]), rng.choice((1, 1, 1, 2)))


def _of_quantity(value: int, unit: str, power: int) -> Drawn:
    factor, dimension, names = UNITS[unit]
    power = power if dimension == "length" else 1

    def write(rng: Random) -> str:
        name = rng.choice(names)
        if power == 2 and name != names[0]:
            return rng.choice([rf"{value}\text{{ square {name}}}", f"{value} square {name}"])
        if power == 2:
            powers = [rf"\text{{ {name}}}^2", rf"\,\mathrm{{{name}}}^{{2}}", rf"\ \mathrm{{{name}^2}}"]
            return str(value) + rng.choice(powers)
        plain = [f" {name}"] if len(name) > 1 else []  # a letter alone may be an unknown
        ways = [*plain, rf"\text{{ {name}}}", rf"\,\mathrm{{{name}}}", rf"~\text{{{name}}}"]
        return str(value) + rng.choice(ways)

    def near(rng: Random) -> Drawn:
        other = rng.choice([u for u in UNITS if u != unit])
        return rng.choice(
            (
                _of_quantity(value + 1, unit, power),
                _of_quantity(value, other, power),
                _of_quantity(value * 10, unit, power),
            )
        )

    return Drawn("quantity", (value * factor**power, dimension, power), write, near)


def line(rng: Random) -> Drawn:
    """ax + by = c."""
    return _of_line(rng.choice((-3, -2, -1, 1, 2, 5)), rng.choice((-4, -1, 1, 3)), rng.randint(-9, 9))


def _of_line(a: int, b: int, c: int) -> Drawn:
    def write(rng: Random) -> str:
        k = rng.choice((1, 1, 2, -1, 3))
        x, y, z = a * k, b * k, c * k
        return rng.choice([f"{x}x{y:+d}y={z}", f"{x}x {y:+d}y {-z:+d} = 0", f"{z} = {y}y{x:+d}x", f"{y}y = {z}{-x:+d}x",
                           rf"y = \frac{{{z}{-x:+d}x}}{{{y}}}"])  # fmt: skip

    near = lambda rng: rng.choice((_of_line(a, -b, c), _of_line(a, b, c + 1), _of_line(a * 7, b, c)))
    return Drawn("line", (Fraction(a, b), Fraction(c, b)), write, near)


def label(rng: Random) -> Drawn:
    """A name and its value: a gold without the name takes either, so both have it."""
    return _of_label(
        rng.choice(("x", "y", "k", "a_n", "f(x)", "x_1")), rng.choice((integer, fraction, complex_number))(rng)
    )


def _of_label(name: str, value: Drawn) -> Drawn:
    def write(rng: Random) -> str:
        spelled = rng.choice([name, name.replace("_n", "_{n}").replace("_1", "_{1}")])
        return rng.choice([f"{spelled}={value.write(rng)}", f"{spelled} = {value.write(rng)}"])

    near = lambda rng: _of_label(name, value.other(rng)) if rng.random() < 0.7 else _of_label("w", value)
    return Drawn("label", (name, value.truth), write, near)


def signs(rng: Random) -> Drawn:
    """a ± b, or both values."""
    return _of_signs(rng.randint(-9, 9), rng.randint(1, 9))


def _of_signs(a: int, size: int) -> Drawn:

    def write(rng: Random) -> str:
        both = [rf"{a or ''}\pm {size}", rf"{a or ''} \pm{size}"]
        apart = [str(a + size), str(a - size)]
        rng.shuffle(apart)
        return rng.choice([*both, ", ".join(apart), " and ".join(apart)])

    near = lambda rng: rng.choice((_of_signs(a, size + 1), _of_signs(a + 1, size)))
    return Drawn("plus-minus", frozenset((a + size, a - size)), write, near)


def ratio(rng: Random) -> Drawn:
    """Of numbers without a common part: `12:30` may be a time, which is no `2:5`."""
    while True:
        a, b = rng.randint(1, 30), rng.randint(1, 30)
        if gcd(a, b) == 1:
            return _of_ratio(a, b)


def _of_ratio(a: int, b: int) -> Drawn:
    def write(rng: Random) -> str:
        k = rng.choice((1, 1, 2, 3)) if b < 10 and 3 * b < 10 else 1  # two digits behind the colon may be minutes
        return rng.choice([f"{a * k}:{b * k}", f"{a * k} : {b * k}", rf"{a}\colon {b}"])

    others = [(x, y) for x, y in ((b, a), (a + 1, b), (a, b + 1), (a + 2, b)) if x * b != y * a]
    near = lambda rng: _of_ratio(*rng.choice(others))
    return Drawn("ratio", (a, b), write, near)


def percent(rng: Random) -> Drawn:
    return _of_percent(rng.randint(1, 99))


def _of_percent(value: int) -> Drawn:
    ways = [rf"{value}\%", f"{value}%", rf"{value} \%", f"{value} percent", rf"{value}\text{{ percent}}", f"{value}.0%"]
    return Drawn(
        "percent", value, lambda rng: rng.choice(ways), lambda rng: _of_percent(value + rng.choice((1, -1, 10)) or 7)
    )


WORDS = ("even", "odd", "Tuesday", "obtuse", "rhombus", "circle", "hyperbola", "never", "positive", "west")


def word(rng: Random) -> Drawn:
    return _of_word(rng.choice(WORDS))


def _of_word(text: str) -> Drawn:
    ways = [
        rf"\text{{{text}}}",
        text,
        text.upper(),
        rf"\textbf{{{text}}}",
        rf"\mathrm{{{text}}}",
        rf"\text{{ {text} }}",
        f"{text}.",
    ]
    return Drawn("word", text, lambda rng: rng.choice(ways), lambda rng: _of_word(rng.choice(WORDS)))


STRUCTURES = (
    listing,
    collection,
    point,
    points,
    interval,
    union,
    matrix,
    quantity,
    line,
    label,
    signs,
    ratio,
    percent,
    word,
)
