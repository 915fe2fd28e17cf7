"""Tokens -> expression tree. A tree is made of plain lists and strings, so that it can be sent to a worker as JSON.

["num", "3/2"]  ["sym", "x"]  ["+", a, b]  ["-", a, b]  ["*", a, b]  ["/", a, b]  ["^", a, b]  ["neg", a]
["root", "3", a]  ["call", "sin", a]  ["call", "gcd", a, b]  ["log", a]  ["log", a, base]  ["binom", n, k]
["perm", n, k]  ["mod", a, b]  ["apply", "f", x]: an unknown function  ["sum", "①", from, to, of]  ["prod", ...]
["int", "①", from, to, of]  ["int", of, x]  ["lim", "①", where, side, of]
"""

from __future__ import annotations

from postlude.maths.commands import COMMANDS, WORDS
from postlude.maths.reader import Node, Reader, literal
from postlude.maths.tokens import Token

_CONSTANTS = frozenset({"π", "e", "i"})


def parse(tokens: list[Token], sign: int = 1) -> Node:
    """The expression that all of the tokens are; `sign` is what \\pm stands for. Raises Unreadable."""
    if len(tokens) == 1 and tokens[0].kind == "number":
        return ["num", str(literal(tokens[0].text))]
    reader = Reader(tokens, sign, COMMANDS, WORDS)
    tree = reader.all()
    return _counted(tree, not _letters(tree)) if reader.has_counts else tree


def _letters(tree: Node) -> bool:
    """Whether it has letters beside C_5^2 and the like: then C_5 is a constant, and C_5^2 its square."""
    if tree[0] == "sym":
        return tree[1] not in _CONSTANTS
    return tree[0] != "count" and any(_letters(part) for part in tree[1:] if isinstance(part, list))


def _counted(tree: Node, counting: bool) -> Node:
    if tree[0] == "count":
        return tree[1:4] if counting else tree[4]
    return [_counted(part, counting) if isinstance(part, list) else part for part in tree]


__all__ = ["Node", "literal", "parse"]
