"""Sets of the real line: finite unions of intervals and points, with their algebra.

A set is a sorted row of cuts, each just before or just after a number: what is between the first and the second is in
it, then between the third and the fourth, and so on. [1, 2) is the cuts before 1 and before 2, {3} those before and
after 3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cmp_to_key

from postlude.maths import ratios, sizes
from postlude.maths.problems import Unsupported
from postlude.maths.terms import infinite, is_infinite, of
from postlude.maths.values import Collection, Expression, Interval, Labelled, Listing, Region, Series, Value, Words

MAX_PIECES = 50
NOTHING = Words("no solution")


@dataclass(frozen=True, eq=False)
class _Cut:
    at: Expression
    after: bool


class _Unordered(Unsupported):
    """Two ends of which the smaller one is not known."""


def line(name: str | None = None) -> Region:
    """All real numbers."""
    return Region((Interval(infinite(-1), infinite(1), False, False),), name)


def point(value: Expression) -> Interval:
    return Interval(value, value, True, True)


def of_value(value: Value) -> Region:
    """A set that is written as an interval, a pair, points in braces, or x = 2. Raises Unsupported for what is none."""
    if isinstance(value, Region):
        return value
    if value is NOTHING or (isinstance(value, Words) and value.text == NOTHING.text):
        return Region(())
    if isinstance(value, Series) and len(value.items) == 2 and value.opening in "([" and value.closing in ")]":
        low, high = value.items
        if isinstance(low, Expression) and isinstance(high, Expression):
            return Region((_checked(Interval(low, high, value.opening == "[", value.closing == "]")),))
    if isinstance(value, Collection | Listing):
        return Region(tuple(point(i) for i in _numbers(value.items)))
    if isinstance(value, Labelled):
        inner = of_value(value.value) if not isinstance(value.value, Expression) else None
        return Region(inner.intervals if inner else (point(*_numbers([value.value])),), value.name)
    raise Unsupported("a union of other things than intervals")


def _numbers(items: Sequence[Value]) -> list[Expression]:
    numbers = [i for i in items if isinstance(i, Expression)]
    if len(numbers) != len(items):
        raise Unsupported("a union of other things than intervals")
    return numbers


def _checked(interval: Interval) -> Interval:
    if sizes.order(interval.low, interval.high) == 1:
        raise Unsupported("an interval that ends before it begins")
    return interval


def simplest(region: Region) -> Value:
    """The region in order and without touching pieces; a set of points, or nothing, as what these are."""
    try:
        found = normal(region)
    except _Unordered:
        return region
    if not found.intervals:
        return NOTHING
    if all(sizes.order(i.low, i.high) == 0 for i in found.intervals):
        points = Collection(tuple(i.low for i in found.intervals))
        return Labelled(found.name, points) if found.name else points
    return found


def normal(region: Region) -> Region:
    """The one form of the set. Raises Unsupported where the order of its ends is not known."""
    return region if len(region.intervals) == 1 else _region(_cuts(region), region.name)


def union(regions: Sequence[Region]) -> Region:
    """All of them, as they are written."""
    return Region(tuple(i for r in regions for i in r.intervals), one_name(regions))


def overlapping(region: Region) -> bool:
    """Whether its pieces are fewer when they are joined; not where the order of their ends is not known."""
    try:
        return len(normal(region).intervals) < len(region.intervals)
    except Unsupported:
        return False


def meet(regions: Sequence[Region]) -> Region:
    """What is in all of them."""
    return _combined(regions, lambda a, b: a and b)


def without(a: Region, b: Region) -> Region:
    """What is in the first and not in the second."""
    return _combined([a, b], lambda x, y: x and not y)


def moved(region: Region, turned: bool, by: Expression | None) -> Region:
    """Each x as -x where `turned`, then plus `by`."""

    def place(value: Expression) -> Expression:
        if is_infinite(value):
            return infinite(-1 if (str(value) == ratios.INFINITY) == turned else 1)
        tree = ["neg", value.tree] if turned else value.tree
        return of(tree if by is None else ["+", tree, by.tree])

    pieces = [
        Interval(place(i.high), place(i.low), i.high_closed, i.low_closed)
        if turned
        else Interval(place(i.low), place(i.high), i.low_closed, i.high_closed)
        for i in region.intervals
    ]
    return Region(tuple(pieces), region.name)


def one_name(regions: Sequence[Region]) -> str | None:
    names = {r.name for r in regions if r.name}
    if len(names) > 1:
        raise Unsupported("a set over several letters")
    return next(iter(names), None)


def _combined(regions: Sequence[Region], keep: Callable[[bool, bool], bool]) -> Region:
    total = _cuts(regions[0])
    for region in regions[1:]:
        total = _swept(total, _cuts(region), keep)
    return _region(total, one_name(regions))


def _cuts(region: Region) -> list[_Cut]:
    total: list[_Cut] = []
    if len(region.intervals) > MAX_PIECES:
        raise Unsupported("a union of too many intervals")
    for piece in region.intervals:
        ends = [_Cut(piece.low, not piece.low_closed), _Cut(piece.high, piece.high_closed)]
        total = _swept(total, ends if _compare(*ends) < 0 else [], lambda a, b: a or b)
    return total


def _swept(a: list[_Cut], b: list[_Cut], keep: Callable[[bool, bool], bool]) -> list[_Cut]:
    """The cuts of what is to be kept of two sets, from left to right."""
    in_a = in_b = inside = False
    cuts: list[_Cut] = []
    for group in _groups([(c, True) for c in a] + [(c, False) for c in b]):
        for _, first in group:
            in_a, in_b = in_a ^ first, in_b ^ (not first)
        if keep(in_a, in_b) != inside:
            inside = not inside
            cuts.append(group[0][0])
    return cuts


def _groups(cuts: list[tuple[_Cut, bool]]) -> Iterator[list[tuple[_Cut, bool]]]:
    """Equal cuts together, in order."""
    cuts = sorted(cuts, key=cmp_to_key(lambda x, y: _compare(x[0], y[0])))
    while cuts:
        count = next((i for i, c in enumerate(cuts) if _compare(cuts[0][0], c[0])), len(cuts))
        yield cuts[:count]
        cuts = cuts[count:]


def _compare(a: _Cut, b: _Cut) -> int:
    found = sizes.order(a.at, b.at)
    if found is None:
        raise _Unordered("ends of intervals whose order is not known")
    return found or a.after - b.after


def _region(cuts: list[_Cut], name: str | None) -> Region:
    pairs = zip(cuts[::2], cuts[1::2], strict=True)
    return Region(tuple(Interval(a.at, b.at, not a.after, b.after) for a, b in pairs), name)
