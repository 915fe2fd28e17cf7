"""Numerals with their base beside them: 221_3, FF_{16}, 204 base 5, 1010_{two}, (101)_2."""

from __future__ import annotations

import re

from postlude.maths.problems import Unsupported
from postlude.maths.terms import expression
from postlude.maths.tokens import Token, cut
from postlude.maths.values import Based, Value
from postlude.maths.wording import ONES

_NAMES = ONES | {
    "binary": 2, "ternary": 3, "octal": 8, "decimal": 10, "hexadecimal": 16, "bin": 2, "oct": 8, "dec": 10, "hex": 16,
}  # fmt: skip
_DIGITS = r"\d[\dA-Za-f]*(?:\.[\dA-Za-f]+)?|[A-Fa-f]+[\dA-Fa-f]*(?=\)?(?:_|\(?base|in))"
_NUMERAL = re.compile(
    rf"(-?)\(?(-?)({_DIGITS})\)?"
    r"(?:_\{?\(?(?:base)?(\d{1,2}|[a-z]+)\)?\}?|\(?(?:in)?base-?(\d{1,2}|[a-z]+)\)?|\(?(?:in)(binary|octal|hexadecimal)\)?)"
)


def based(tokens: list[Token]) -> Value | None:
    """Digits and their base; base 10 is a plain number. None where no base is said."""
    text = "".join(t.text for t in tokens)
    if "_" not in text and "base" not in text and not text.endswith(("binary", "octal", "decimal")):
        return None
    found = _NUMERAL.fullmatch(text.replace(" ", ""))
    if not found:
        return None
    outer, inner, digits, *names = found.groups()
    name = next(n for n in names if n)
    base = int(name) if name.isdigit() else _NAMES.get(name, 0)
    if not digits[0].isdigit() and base <= 10:
        return None  # a letter with a subscript
    if not 2 <= base <= 36 or any(int(d, 36) >= base for d in digits.replace(".", "")):
        raise Unsupported("digits that are not of their base")
    sign = "-" if outer != inner else ""
    return expression(cut(sign + digits)) if base == 10 else Based(sign + _canonical(digits), base)


def _canonical(digits: str) -> str:
    """Without zeros that say nothing."""
    whole, _, part = digits.upper().partition(".")
    part = part.rstrip("0")
    return (whole.lstrip("0") or "0") + (f".{part}" if part else "")
