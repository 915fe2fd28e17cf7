"""Answers that are a calculation of the prompt, copied: equal to the right answer, and nothing was worked out."""

from __future__ import annotations

import re

from postlude.maths.grammar import Node
from postlude.maths.normalise import normalise
from postlude.maths.problems import FAULTS, Unreadable
from postlude.maths.reading import read
from postlude.maths.values import Expression

MAX_LENGTH = 400
"""Characters of an answer that is looked for in its prompt."""
_PLAIN = re.compile(r"[-+]?(?:[\d.,]+%?|\\frac\{?\d+\}?\{?\d+\}?|\d+/\d+|\d*\\sqrt\{?\d+\}?|[\d.,]+\\?[A-Za-z]+)")
"""A number, which a prompt may name and be the answer nevertheless."""
_NEUTRAL: dict[str, Node] = {"+": ["num", "0"], "*": ["num", "1"]}
MAX_PROMPT = 20_000
_PARTS = re.compile(r"\$([^$]{3,400})\$|\\\((.{3,400}?)\\\)|((?:[\d(][\d.()\s]*[-+*/^×·÷]\s*)+[\d.()]*\d\)*)")
"""Terms of a prompt: between marks of mathematics, or numbers with operations between them."""
_WORKS = re.compile(r"[-+*/^=<>]|\\(?:frac|sqrt|cdot|times|div|le|ge|binom|log|ln|sin|cos|tan|pm)(?![A-Za-z])")


def is_echo(answer: str, gold: str, prompt: str) -> bool:
    """Whether an answer stands in the prompt, still to be worked out, and the gold does not."""
    return _is_copied(answer, gold, prompt) or _is_turned(answer, gold, prompt)


def _is_turned(answer: str, gold: str, prompt: str) -> bool:
    """Whether it is a term of the prompt in another order or with + 0 or times 1, and the gold has fewer operations."""
    said, right = _term(answer), _term(gold)
    if said is None or right is None or _operations(_order(said)) <= _operations(_order(right)):
        return False
    asked = {str(_order(t)) for part in _PARTS.findall(prompt[:MAX_PROMPT]) if (t := _term("".join(part)))}
    return str(_order(said)) in asked and str(_order(right)) not in asked


def _term(text: str) -> Node | None:
    try:
        value = read(text.strip(" .,?=")) if len(text) <= MAX_LENGTH else None
    except (Unreadable, *FAULTS):
        return None
    return value.tree if isinstance(value, Expression) else None


def _order(tree: Node) -> Node:
    """Sums and products flat, in one order, without 0 and 1."""
    parts = [_order(p) if isinstance(p, list) else p for p in tree[1:]]
    if tree[0] not in ("+", "*"):
        return [tree[0], *parts]
    flat = [q for p in parts for q in (p[1:] if p[0] == tree[0] else [p]) if q != _NEUTRAL[tree[0]]]
    return flat[0] if len(flat) == 1 else [tree[0], *sorted(flat, key=str)]


def _operations(tree: Node) -> int:
    inner = sum(_operations(p) for p in tree[1:] if isinstance(p, list))
    return inner + (0 if tree[0] in ("num", "sym") else max(len(tree) - 2, 1))


def _is_copied(answer: str, gold: str, prompt: str) -> bool:
    """Whether it stands there as it is."""
    copy, right = _bare(answer), _bare(gold)
    if sorted(copy) == sorted(right) or len(copy) > MAX_LENGTH or _PLAIN.fullmatch(copy) or not _WORKS.search(copy):
        return False
    asked = _spelled(prompt)
    rest = _place_of(copy).sub("\n", asked)
    return rest != asked and _place_of(right).search(rest) is None


def _bare(text: str) -> str:
    """In one spelling, without spaces, marks of mathematics and a point at the end."""
    return re.sub(r"\\[()\[\]]|[\s$]", "", _spelled(text)).rstrip(".:?")


def _spelled(text: str) -> str:
    return re.sub(r"\{(\w)\}", r"\1", normalise(text))


def _place_of(part: str) -> re.Pattern[str]:
    """Where a text stands as a whole, not inside a longer number or name, however it is spaced."""
    return re.compile(r"(?<![\w\\^_.])" + r"[\s$]*".join(map(re.escape, part)) + r"(?![\w^]|\.\d)")
