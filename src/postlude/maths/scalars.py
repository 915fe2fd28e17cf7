"""A single thing without commas, brackets or relations: a number, a quantity, a percentage, a time, a word."""

from __future__ import annotations

import re
from fractions import Fraction

from postlude.maths import units
from postlude.maths.commands import is_term
from postlude.maths.grammar import Node
from postlude.maths.problems import Unsupported
from postlude.maths.terms import expression, of
from postlude.maths.tokens import FUNCTIONS, Token, change, cut
from postlude.maths.values import Based, Clock, Expression, Percent, Quantity, Value, Words

_CLOCK = re.compile(r"\d{1,4}(?::\d{1,4}){1,2}(?:\.\d+)?")
_LETTERS = frozenset("iexyznktabc")
"""Letters that are letters also in \\text{} or \\mathrm{} behind a number; others are units there."""
_BASES = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10,
          "twelve": 12, "sixteen": 16}  # fmt: skip


def scalar(tokens: list[Token]) -> Value:
    if len(tokens) == 1 and (tokens[0].text == "ℝ" or tokens[0].text == r"\emptyset"):
        return Words("all real numbers" if tokens[0].text == "ℝ" else "no solution")
    if len(tokens) == 1 and tokens[0].kind in ("text", "word") and len(tokens[0].text) > 1:
        return Words(tokens[0].text.lower())
    special = _clock(tokens) or _based(tokens)
    if special:
        return special
    if tokens[-1].text == "%" or tokens[-1].text.lower() in ("percent", "per cent"):
        return Percent(expression(tokens[:-1]))
    return _quantity(tokens) or expression(tokens)


def _clock(tokens: list[Token]) -> Clock | None:
    text = "".join(t.text for t in tokens)
    body = re.sub(r"(?i)\s*([ap])\.?m\.?$", "", text)
    half = text[len(body) :].lower().replace(".", "")
    if not _CLOCK.fullmatch(body):
        return None
    parts = body.split(":")
    time = bool(half) or (len(parts[0]) < 3 and all(len(p.partition(".")[0]) == 2 for p in parts[1:]))
    return Clock(tuple(Fraction(p) for p in parts), time, half)


def _based(tokens: list[Token]) -> Value | None:
    """Digits with a subscript; base 10 is a plain number."""
    text = "".join(t.text for t in tokens)
    found = re.fullmatch(r"\(?([0-9][0-9A-Z]*|[A-F]+[0-9A-F]*(?=\)?_\{?16))\)?_\{?(\d{1,2}|[a-z]+)\}?", text)
    if not found:
        return None
    digits = found.group(1)
    base = int(found.group(2)) if found.group(2).isdigit() else _BASES.get(found.group(2), 0)
    if not 2 <= base <= 36 or any(int(d, 36) >= base for d in digits):
        raise Unsupported("digits that are not of their base")
    return Based(digits.lstrip("0") or "0", base) if base != 10 else expression(cut(digits))


def _quantity(tokens: list[Token]) -> Value | None:
    """A number with a unit before or behind it; None where there is none."""
    currency = [i for i in (0, 1) if i < len(tokens) and tokens[i].text in units.KNOWN and tokens[i].kind == "mark"]
    if currency and tokens[currency[0]].text != "°":
        return _money(tokens, currency[0])
    start = _unit_start(tokens)
    if start is None:
        return _angle(tokens)
    rest = tokens[start:]
    if len(rest) == 2 and rest[0].text == "°" and rest[1].text in "CF":
        return Quantity(expression(tokens[:start]), units.KNOWN["°" + rest[1].text])
    if len(rest) == 1 and rest[0].text.lower() in ("percent", "per cent", "percents"):
        return Percent(expression(tokens[:start]))
    scale, unit = units.read(rest)
    head = _head(tokens[:start], scale)
    return Quantity(head, unit) if unit.powers or unit.factor != 1 else head


def _unit_start(tokens: list[Token]) -> int | None:
    """Where the unit begins: the first word outside of brackets."""
    depth = 0
    for i, token in enumerate(tokens):
        if i and not depth and _is_unit(tokens, i):
            return i
        depth += change(token)
    return None


def _is_unit(tokens: list[Token], i: int) -> bool:
    token = tokens[i]
    if token.text == "°" and i + 2 == len(tokens) and tokens[i + 1].text in ("C", "F"):
        return True
    if token.kind == "word" or (token.kind == "text" and token.text not in _LETTERS):
        return tokens[i - 1].text not in ("^", "_", "/") and not is_term(tokens, i, units.is_known(token.text))
    return token.kind == "mark" and token.text in ("€", "£", "¤", "¢") and i == len(tokens) - 1


def _money(tokens: list[Token], place: int) -> Value:
    if place == 1 and tokens[0].text not in "+-":
        raise Unsupported(f"{tokens[1].text!r} is not expected there")
    unit = units.KNOWN[tokens[place].text]
    rest = tokens[:place] + tokens[place + 1 :]
    words = next((i for i, t in enumerate(rest) if i and t.kind in ("word", "text")), len(rest))
    scale, more = units.read(rest[words:]) if rest[words:] else (1, units.Unit(Fraction(1)))
    if more.powers and more.powers != unit.powers and not all(n < 0 for n in more.powers.values()):
        raise Unsupported("two units")
    unit = unit if more.powers == unit.powers else unit.times(more, 1)
    return Quantity(_head(rest[:words], scale), unit)


def _angle(tokens: list[Token]) -> Quantity | None:
    """A number in degrees, with nothing else in it that is one."""
    if tokens[-1].text != "°" or any(t.text == "°" or t.text[1:] in FUNCTIONS - {"sqrt"} for t in tokens[:-1]):
        return None
    return Quantity(expression(tokens[:-1]), units.KNOWN["°"])


def _head(tokens: list[Token], scale: int) -> Expression:
    found = expression(tokens)
    tree: Node = ["*", found.tree, ["num", str(scale)]]
    return found if scale == 1 else of(tree)
