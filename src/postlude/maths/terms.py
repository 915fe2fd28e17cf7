"""Tokens or a tree as an expression with its exact value."""

from __future__ import annotations

from collections.abc import Callable

from postlude.maths import ratios
from postlude.maths.evaluate import evaluate
from postlude.maths.grammar import Node, parse
from postlude.maths.tokens import Token
from postlude.maths.values import Expression, Value

Read = Callable[[list[Token]], Value]
"""`reading` itself, as its parts are given it for what stands inside of what they read."""


def expression(tokens: list[Token], sign: int = 1) -> Expression:
    tree = parse(tokens, sign)
    return Expression(tree, evaluate(tree))


def of(tree: Node) -> Expression:
    return Expression(tree, evaluate(tree))


def infinite(sign: int) -> Expression:
    return of(["sym", ratios.INFINITY] if sign > 0 else ["neg", ["sym", ratios.INFINITY]])


def is_infinite(value: Expression) -> bool:
    return ratios.INFINITY in value.value.atoms


def has_letters(tree: Node) -> bool:
    """Whether letters stand in a term, also those that its value does not depend on."""
    if tree[0] == "sym":
        return tree[1] not in ("π", "e", "i", ratios.INFINITY)
    return any(isinstance(t, list) and has_letters(t) for t in tree[1:])
