"""The members of lists and sets, as far as two of them are compared by what is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from postlude.maths.values import Collection, Expression, Labelled, Listing, Value


def single(value: Listing | Collection) -> bool:
    return len(value.items) == 1 and isinstance(value.items[0], Expression)


def is_row(value: Listing | Collection) -> bool:
    """Whether what is written has an order."""
    return isinstance(value, Listing) and not value.hedged


def names(value: Listing | Collection) -> set[str]:
    return {i.name for i in value.items if isinstance(i, Labelled)}


def key(value: Value) -> tuple[type, str]:
    """Equal keys mean equal values; equal values mostly have equal keys."""
    return type(value), str(value)


def unmatched(a: Sequence[Value], b: Sequence[Value]) -> list[Value]:
    """The values of one that have no partner with an equal key in the other, as often as they lack one."""
    there = Counter(map(key, b))
    left: list[Value] = []
    for value in a:
        if there[key(value)]:
            there[key(value)] -= 1
        else:
            left.append(value)
    return left
