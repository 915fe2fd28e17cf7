"""Lists of values: members of lists in them, names that hold for several, and assignments."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

from postlude.maths.problems import Unsupported
from postlude.maths.terms import of
from postlude.maths.tokens import Token, split
from postlude.maths.values import (
    Assignment,
    Domain,
    Expression,
    Family,
    Labelled,
    Listing,
    Region,
    Relation,
    Series,
    Value,
    Words,
)

DOTS = Words("...")
MAX_FILLED = 1000
_NAMED = Labelled | Assignment | Relation | Region | Domain | Family
_DOTS = frozenset({r"\ldots", r"\dots", r"\cdots", r"\dotsc", r"\dotsb", r"\dotso"})


def joined(values: Sequence[Value]) -> tuple[Value, ...]:
    """The values of a list; in `x = 1, 2` the name holds for all that follow, `x = 1, y = 2` is one assignment."""
    return _grouped(_named(flat(values)))


def flat(values: Sequence[Value]) -> tuple[Value, ...]:
    """With the members of lists in the place of the lists."""
    return tuple(i for v in values for i in (v.items if isinstance(v, Listing) else (v,)))


def _named(items: tuple[Value, ...]) -> tuple[Value, ...]:
    first, rest = items[0], items[1:]
    if isinstance(first, Labelled) and not any(isinstance(i, _NAMED) for i in rest):
        return (first, *(Labelled(first.name, i) for i in rest))
    if isinstance(first, Assignment) and rest and all(isinstance(i, Series) for i in rest):
        points = [i for i in rest if isinstance(i, Series) and len(i.items) == len(first.names)]
        return (
            (first, *(Assignment(first.names, p.items, first.bracketed) for p in points))
            if len(points) == len(rest)
            else items
        )
    return items


def _grouped(items: tuple[Value, ...]) -> tuple[Value, ...]:
    """Assignments, where the names are those of one or more solutions, each with all of them."""
    named = [i for i in items if isinstance(i, Labelled)]
    together = [i for i in items if isinstance(i, Assignment)]
    if len(named) + len(together) < len(items) or not named:
        return items
    pairs = [(n, v) for i in items for n, v in _pairs(i)]
    names = {n for n, _ in pairs}
    chunks = [pairs[i : i + len(names)] for i in range(0, len(pairs), len(names))]
    if len(names) < 2 or any({n for n, _ in c} != names or len(c) != len(names) for c in chunks):
        return items
    return tuple(Assignment(tuple(n for n, _ in c), tuple(v for _, v in c)) for c in chunks)


def _pairs(item: Value) -> list[tuple[str, Value]]:
    if isinstance(item, Labelled):
        return [(item.name, item.value)]
    return list(zip(item.names, item.values, strict=True)) if isinstance(item, Assignment) else []


# ----------------------------------------------------------------------------------------------------------- dots


def is_dots(tokens: list[Token]) -> bool:
    texts = [t.text for t in tokens]
    return texts == [".", ".", "."] or (len(texts) == 1 and texts[0] in _DOTS)


def dotted(parts: list[list[Token]]) -> list[list[Token]]:
    """With dots that follow or lead a value without a comma as parts of their own."""
    found: list[list[Token]] = []
    for part in parts:
        end = 3 if [t.text for t in part[-3:]] == [".", ".", "."] else int(part[-1].text in _DOTS)
        if end and len(part) > end:
            found += [part[:-end], part[-end:]]
        else:
            found.append(part)
    return found


def filled(items: tuple[Value, ...]) -> tuple[Value, ...]:
    """1, 3, 5, ..., 9 with all its members, where its beginning and its end leave one choice.

    Raises Unsupported where the dots say nothing, being beside less than two values.
    """
    if DOTS not in items:
        return items
    place = items.index(DOTS)
    if len(items) - items.count(DOTS) < 2:
        raise Unsupported("dots that say nothing")
    numbers = [_rational(i) for i in items if i is not DOTS]
    known = [n for n in numbers if n is not None]
    if len(known) != len(numbers) or items.count(DOTS) != 1 or not 2 <= place == len(items) - 2:
        return items
    start, step, end = known[0], known[1] - known[0], known[-1]
    steps = [b - a for a, b in pairwise(known[:-1])]
    count = (end - start) / step if step else Fraction(0)
    if set(steps) != {step} or count.denominator != 1 or not place <= count <= MAX_FILLED or _doubles(known):
        return items
    return tuple(of(["num", str(start + k * step)]) for k in range(int(count) + 1))


def _doubles(known: list[Fraction]) -> bool:
    """Whether two values and the last also fit a geometric progression, as in 1, 2, ..., 64."""
    if len(known) > 3 or not known[0] or abs(known[1] / known[0]) <= 1:
        return False
    value, ratio = known[1], known[1] / known[0]
    while abs(value) < abs(known[-1]):
        value *= ratio
    return value == known[-1]


def _rational(value: Value) -> Fraction | None:
    return value.value.rational if isinstance(value, Expression) else None


# ------------------------------------------------------------------------------------------------ what several share


def shared(parts: list[list[Token]]) -> list[list[Token]]:
    """With what the first says of all before it, x \\ne 1, 2, and the last behind it, x \\equiv 1, 3 \\pmod 8."""
    first, found = split(parts[0], frozenset({r"\ne"}))
    if found and len(first) == 2 and not any(split(p, _SAYS)[1] for p in parts[1:]):
        parts = [parts[0], *([*first[0], found[0], *p] for p in parts[1:])]
    place = next((i for i, t in enumerate(parts[-1]) if t.text == r"\pmod"), None)
    if place is not None and not any(t.text == r"\pmod" for p in parts[:-1] for t in p):
        parts = [*([*p, *parts[-1][place:]] for p in parts[:-1]), parts[-1]]
    return parts


_SAYS = frozenset({"=", "<", ">", r"\le", r"\ge", r"\ne", r"\in", ":"})
