"""Numbers with units: `5\\text{ m}`, `2\\text{ h }5\\text{ min}`, `63^\\circ 45'`, `4\\text{ ft by }6\\text{ ft}`.

Measures in a row are one quantity where each is less than one of the unit before it, else they cannot be read. Lengths
with `by` or a cross between them are a list, since none is the product. A comma or "and" makes a list as elsewhere; in
the comparison such a list is also the sum that it would be in a row (`total`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from postlude.maths import units
from postlude.maths.commands import is_term
from postlude.maths.grammar import Node
from postlude.maths.problems import Unsupported
from postlude.maths.terms import expression, of
from postlude.maths.tokens import FUNCTIONS, Token, change
from postlude.maths.unit_table import CODES, CURRENCIES, KNOWN, ONE
from postlude.maths.values import Expression, Listing, Percent, Quantity, Value

PERCENT = frozenset({"%", "percent", "per cent", "percents", "pct", "pct.", "percentage", "percentage points"})
_LETTERS = frozenset("iexyznktabc")
"""Letters that are letters also in \\text{} or \\mathrm{} behind a number; others are units there."""
_BY = frozenset({r"\times", "*", "x", "by", "X"})
_ARC = re.compile(r"([+-]?)(\d+)°(?:(\d+(?:\.\d+)?)')?(?:(\d+(?:\.\d+)?)(?:''|\"))?")
_PRIME = re.compile(r"\^\{?((?:\\prime|')+)\}?")


@dataclass(frozen=True)
class _Measure:
    number: list[Token]
    unit: list[Token]


def quantity(tokens: list[Token]) -> Value | None:
    """A number with a unit before or behind it; None where there is none. Raises Unreadable."""
    tokens = _without_brackets(tokens)
    arc = _arc(tokens)
    if arc:
        return arc
    currency = next((i for i in (0, 1) if _is_currency(tokens, i)), None)
    if currency is not None:
        return _money(tokens, currency)
    measures = _measures(tokens)
    if not measures:
        return _angle(tokens)
    if len(measures) > 1:
        return _several(measures)
    return _one(measures[0].number, measures[0].unit)


def total(items: Sequence[Value]) -> Quantity | None:
    """The sum of measures such as 5 ft and 3 in; None where each is not a part of one of the unit before it."""
    measures = [i for i in items if isinstance(i, Quantity)]
    numbers = [m.number.value.rational for m in measures]
    if len(measures) != len(items) or len(items) < 2 or any(n is None for n in numbers):
        return None
    sizes = [abs(n) * m.unit.factor for n, m in zip(numbers, measures, strict=True) if n is not None]
    whole = all(n is not None and n.denominator == 1 for n in numbers[:-1])
    positive = all(n is not None and n >= 0 for n in numbers[1:])
    alike = all(m.unit.powers == measures[0].unit.powers for m in measures)
    below = all(size < m.unit.factor for size, m in zip(sizes[1:], measures, strict=False))
    if not (whole and positive and alike and below):
        return None
    value = sum(sizes, Fraction(0)) / measures[0].unit.factor
    return Quantity(of(["num", str(-value if (numbers[0] or 0) < 0 else value)]), measures[0].unit)


def _without_brackets(tokens: list[Token]) -> list[Token]:
    """5 (cm) as 5 cm."""
    if tokens[-1].text != ")":
        return tokens
    opening = max((i for i, t in enumerate(tokens) if t.text == "("), default=0)
    if not opening or tokens[opening + 1].kind not in ("text", "word") or ")" in {t.text for t in tokens[:-1]}:
        return tokens
    return tokens[:opening] + tokens[opening + 1 : -1]


# -------------------------------------------------------------------------------------------------- several measures


def _measures(tokens: list[Token]) -> list[_Measure]:
    """Numbers, each with the unit after it; nothing where there is no unit."""
    found: list[_Measure] = []
    start, unit, depth = 0, 0, 0
    for i, token in enumerate(tokens):
        depth += change(token)
        if depth:
            continue
        if not unit and i > start and _is_unit(tokens, i):
            unit = i
        elif unit and _begins_number(tokens, i):
            found.append(_Measure(tokens[start:unit], tokens[unit:i]))
            start, unit = i, 0
    return (
        [*found, _Measure(tokens[start:unit], tokens[unit:])]
        if unit
        else found and [*found, _Measure(tokens[start:], [])]
    )


def _begins_number(tokens: list[Token], i: int) -> bool:
    before = tokens[i - 1].text
    return (tokens[i].kind == "number" or tokens[i].text == r"\frac") and before not in ("^", "-", "_", "}")


def _several(measures: list[_Measure]) -> Value:
    ends = [_joint(m.unit) for m in measures]
    if not measures[-1].unit:
        raise Unsupported("a number after a unit")
    crossed = [by for _, by in ends[:-1]]
    values = [_one(m.number, unit) for m, (unit, _) in zip(measures, ends, strict=True)]
    if isinstance(values[0], Quantity) and values[0].unit == KNOWN["°"]:
        values = [values[0], *map(_of_degree, values[1:])]
    if all(crossed):
        return Listing(tuple(values))
    found = total(values) if not any(crossed) else None
    if found is None:
        raise Unsupported("measures in a row that are not one")
    return found


def _of_degree(value: Value) -> Value:
    """Minutes and seconds that are parts of a degree."""
    for time, arc in (("min", "arcmin"), ("s", "arcsec")):
        if isinstance(value, Quantity) and value.unit == KNOWN[time]:
            return Quantity(value.number, KNOWN[arc])
    return value


def _joint(unit: list[Token]) -> tuple[list[Token], bool]:
    """The unit without `by` or a cross at its end, and whether there was one."""
    last = unit[-1] if unit else Token("mark", "")
    if last.text in _BY and len(unit) > 1:
        return unit[:-1], True
    if last.kind == "text" and last.text.endswith((" by", " x")):
        return [*unit[:-1], Token("text", last.text.rpartition(" ")[0], last.spaced)], True
    return unit, False


# ------------------------------------------------------------------------------------------------------- one measure


def _one(number: list[Token], unit: list[Token]) -> Value:
    if len(unit) == 2 and unit[0].text == "°" and unit[1].text in ("C", "F"):
        return Quantity(expression(number), KNOWN["°" + unit[1].text])
    if " ".join(t.text for t in unit).lower() in PERCENT:
        return Percent(expression(number))
    scale, read = units.read(unit)
    head = _head(number, scale)
    return Quantity(head, read) if read.powers or read.factor != 1 else head


def _is_unit(tokens: list[Token], i: int) -> bool:
    token = tokens[i]
    if token.text == "°" and tokens[i + 1 : i + 2] and tokens[i + 1].text in ("C", "F"):
        return True
    if token.kind == "word" or (token.kind == "text" and token.text not in _LETTERS):
        return tokens[i - 1].text not in ("^", "_", "/") and not is_term(tokens, i, units.is_known(token.text))
    if token.text == "/" and tokens[i + 1 : i + 2]:
        return tokens[i + 1].kind in ("text", "word") and units.known(tokens[i + 1].text) is not None
    return token.text == r"\Omega" or (token.kind == "mark" and token.text in CURRENCIES)


def _is_currency(tokens: list[Token], i: int) -> bool:
    """A sign or code before the number; behind a sign such as - only in the second place."""
    if len(tokens) < i + 2 or (i and tokens[0].text not in ("+", "-")):
        return False
    token = tokens[i]
    known = token.text in CURRENCIES if token.kind == "mark" else token.text.removesuffix(".") in CODES
    return known and tokens[i + 1].kind != "text"


def _money(tokens: list[Token], place: int) -> Value:
    unit = units.known(tokens[place].text.rstrip(".")) or ONE
    rest = tokens[:place] + tokens[place + 1 :]
    if rest[place].text in CURRENCIES or (rest[place].text == "." and len(rest) > place + 1):  # US¤5, Rs. 5
        unit = KNOWN.get(rest[place].text, unit)
        rest = rest[:place] + rest[place + 1 :]
    words = next((i for i, t in enumerate(rest) if i and (t.kind in ("word", "text") or _is_unit(rest, i))), len(rest))
    scale, more = units.read(rest[words:]) if rest[words:] else (1, ONE)
    if more.powers and more.powers != unit.powers and not all(n < 0 for n in more.powers.values()):
        raise Unsupported("two units")
    unit = unit if more.powers == unit.powers else unit.times(more, 1)
    return Quantity(_head(rest[:words], scale), unit)


def _arc(tokens: list[Token]) -> Quantity | None:
    """Degrees with minutes, seconds or both."""
    if tokens[-1].text not in ("'", '"', "}", r"\prime"):
        return None
    found = _ARC.fullmatch(_PRIME.sub(lambda m: m.group(1).replace(r"\prime", "'"), "".join(t.text for t in tokens)))
    if not found:
        return None
    sign, degrees, minutes, seconds = found.groups(default="")
    parts = [Fraction(minutes or 0), Fraction(seconds or 0)]
    if any(p >= 60 for p in parts):
        raise Unsupported("more than 60 minutes or seconds of a degree")
    angle = int(degrees) + parts[0] / 60 + parts[1] / 3600
    return Quantity(of(["num", str(-angle if sign == "-" else angle)]), KNOWN["°"])


def _angle(tokens: list[Token]) -> Quantity | None:
    """A number in degrees, with nothing else in it that is one."""
    if tokens[-1].text != "°" or any(t.text == "°" or t.text[1:] in FUNCTIONS - {"sqrt"} for t in tokens[:-1]):
        return None
    return Quantity(expression(tokens[:-1]), KNOWN["°"])


def _head(tokens: list[Token], scale: int) -> Expression:
    found = expression(tokens)
    tree: Node = ["*", found.tree, ["num", str(scale)]]
    return found if scale == 1 else of(tree)
