"""A single thing without commas, brackets or relations: a number, a quantity, a percentage, a time, a word."""

from __future__ import annotations

from postlude.maths.bases import based
from postlude.maths.moments import clock
from postlude.maths.quantities import quantity
from postlude.maths.terms import expression
from postlude.maths.tokens import Token
from postlude.maths.values import Percent, Value, Words
from postlude.maths.wording import canonical


def scalar(tokens: list[Token]) -> Value:
    if len(tokens) == 1 and (tokens[0].text == "ℝ" or tokens[0].text == r"\emptyset"):
        return Words("all real numbers" if tokens[0].text == "ℝ" else "no solution")
    special = clock(tokens) or based(tokens)
    if special:
        return special
    if len(tokens) == 1 and tokens[0].kind in ("text", "word") and len(tokens[0].text) > 1:
        return Words(canonical(tokens[0].text.lower()))
    if len(tokens) > 1 and tokens[-1].text == "%":
        return Percent(expression(tokens[:-1]))
    return quantity(tokens) or expression(tokens)
