"""Plus-minus: one item that stands for two, four or more.

Each `\\pm` of an item has a sign of its own, so that (\\pm1, \\pm2) are four points; where a `\\mp` is in the item, all
its signs go together, upper with upper and lower with lower.
"""

from __future__ import annotations

from itertools import product

from postlude.maths.problems import Unsupported
from postlude.maths.tokens import Token

SIGNS = (r"\pm", r"\mp")
MAX_FREE = 4


def places(tokens: list[Token]) -> list[int]:
    """Where signs stand that are not inside the braces of a set, whose members are items of their own."""
    found: list[int] = []
    depth = 0
    for i, token in enumerate(tokens):
        depth += (token.text == r"\{") - (token.text == r"\}")
        if token.text in SIGNS and not depth:
            found.append(i)
    return found


def expand(tokens: list[Token]) -> list[list[Token]]:
    """The items that one with signs stands for; itself where it has none."""
    at = places(tokens)
    if not at:
        return [tokens]
    tied = any(tokens[i].text == r"\mp" for i in at)
    free = 1 if tied else len(at)
    if free > MAX_FREE:
        raise Unsupported(f"more than {MAX_FREE} signs \\pm in one item")
    return [_with(tokens, at, signs * (len(at) if tied else 1)) for signs in product((1, -1), repeat=free)]


def _with(tokens: list[Token], at: list[int], signs: tuple[int, ...]) -> list[Token]:
    chosen = list(tokens)
    for i, sign in zip(at, signs, strict=True):
        plus = (sign > 0) == (tokens[i].text == r"\pm")
        chosen[i] = Token("mark", "+" if plus else "-", tokens[i].spaced)
    return chosen
