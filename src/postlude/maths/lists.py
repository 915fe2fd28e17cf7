"""Lists of values: members of lists in them, names that hold for several, and assignments."""

from __future__ import annotations

from collections.abc import Sequence

from postlude.maths.values import Assignment, Labelled, Listing, Region, Relation, Series, Value


def joined(values: Sequence[Value]) -> tuple[Value, ...]:
    """The values of a list; in `x = 1, 2` the name holds for all that follow, `x = 1, y = 2` is one assignment."""
    return _grouped(_named(flat(values)))


def flat(values: Sequence[Value]) -> tuple[Value, ...]:
    """With the members of lists in the place of the lists."""
    return tuple(i for v in values for i in (v.items if isinstance(v, Listing) else (v,)))


def _named(items: tuple[Value, ...]) -> tuple[Value, ...]:
    first, rest = items[0], items[1:]
    if isinstance(first, Labelled) and not any(isinstance(i, Labelled | Assignment | Relation | Region) for i in rest):
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
