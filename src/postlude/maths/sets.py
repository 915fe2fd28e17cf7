"""Sets that are written with operations, in braces with a condition, or after \\in."""

from __future__ import annotations

from postlude.maths import regions, relations
from postlude.maths.names import label
from postlude.maths.problems import Unsupported
from postlude.maths.terms import Read
from postlude.maths.tokens import Token, split
from postlude.maths.values import (
    Collection,
    Domain,
    Family,
    Labelled,
    Region,
    Relation,
    Value,
    Words,
)  # fmt: skip

OPERATIONS = frozenset({r"\cup", r"\cap", r"\setminus", r"\backslash"})
NUMBERS = frozenset("ℤℕℚℂ")
MEMBER = frozenset({r"\in", r"\notin"})


def operated(tokens: list[Token], inner: Read) -> Value | None:
    """A union, intersection or difference; None where there is none, or where it stands within a relation."""
    parts, marks = split(_minus(tokens), OPERATIONS)
    if not marks:
        return None
    said = [bool(split(p, relations.MARKS | MEMBER)[1]) for p in parts]
    if said[0] and sum(said) == 1:  # x = A \cup B
        return None
    if not all(parts):
        raise Unsupported("a set operation with nothing beside it")
    if len({m.text for m in marks} - {r"\backslash"}) > 1:
        raise Unsupported("set operations of two kinds without brackets")
    return _applied(marks[0].text, [inner(p) for p in parts])


def _minus(tokens: list[Token]) -> list[Token]:
    """With the minus between a set and braces, as in ℝ - {0}, as a difference of sets."""
    return [
        Token("command", r"\setminus") if t.text == "-" and i and _sets(tokens[i - 1], tokens[i + 1 : i + 2]) else t
        for i, t in enumerate(tokens)
    ]


def _sets(before: Token, after: list[Token]) -> bool:
    return before.text in ("ℝ", ")", "]", r"\}") and [t.text for t in after] == [r"\{"]


def _applied(operation: str, values: list[Value]) -> Value:
    sets = [v for v in values if isinstance(v, Collection)]
    if operation == r"\cup" and len(sets) == len(values):
        return Collection(tuple(i for s in sets for i in s.items))
    found = [regions.of_value(v) for v in values]
    if operation == r"\cup":
        return regions.simplest(regions.union(found))
    if operation == r"\cap":
        return regions.simplest(regions.meet(found))
    total = found[0]
    for other in found[1:]:
        total = regions.without(total, other)
    return regions.simplest(total)


def membership(tokens: list[Token], inner: Read) -> Value | None:
    """x \\in A is A; k \\in ℤ is a domain; None where there is no \\in."""
    parts, found = split(tokens, MEMBER)
    if not found:
        return None
    called = label(parts[0]) if len(parts) == 2 else None
    names = relations.tuple_names(parts[0]) if len(parts) == 2 else None
    if called is None and names is None:
        raise Unsupported(r"\in with other things than a letter before it")
    if parts[1][:1] and parts[1][0].text in NUMBERS and called and found[0].text == r"\in":
        return Domain(called, "".join(t.text for t in parts[1]))
    value = inner(parts[1])
    try:
        region = regions.of_value(value) if called else None
    except Unsupported:
        region = None
    if found[0].text == r"\notin":
        if region is None:
            raise Unsupported(r"\notin of an unknown set")
        return regions.simplest(Region(regions.without(regions.line(), region).intervals, called))
    return Region(region.intervals, called) if region and not isinstance(value, Collection) else value


def builder(inside: list[Token], inner: Read) -> Value | None:
    """{x | x > 2}: what is in a set with a condition; None where there is none."""
    for mark in (r"\mid", "|", ":"):
        parts, found = split(inside, frozenset({mark}))
        if not found or not parts[0]:
            continue
        place = len(parts[0])
        name, members = split(parts[0], frozenset({r"\in"}))
        if label(name[0]) is None and relations.tuple_names(name[0]) is None:
            return _with_terms(parts[0], inside[place + 1 :], inner)
        condition = inner(inside[place + 1 :])
        _check_names(name[0], condition)
        if isinstance(condition, Region):
            within = [regions.of_value(inner(name[1]))] if members and name[1][0].text not in NUMBERS else []
            if members and not within:
                raise Unsupported("an interval of whole numbers")
            return _unnamed(regions.simplest(regions.meet([*within, condition])) if within else condition)
        return condition if isinstance(condition, Family | Words) else Collection((condition,))
    return None


def _check_names(members: list[Token], condition: Value) -> None:
    """Raises Unsupported where a condition is on another letter than the members of the set."""
    called = label(members)
    names = (called,) if called else relations.tuple_names(members) or ()
    other = _conditioned(condition)
    if other and not other & {*names}:
        raise Unsupported("a set with a condition on another letter")


def _conditioned(condition: Value) -> set[str]:
    """The names that a condition is on; none where they are not known."""
    if isinstance(condition, Region | Labelled):
        return {condition.name} if condition.name else set()
    if isinstance(condition, Relation):
        return condition.left.value.symbols | condition.right.value.symbols
    if isinstance(condition, Family):
        return {i.name for i in condition.items if isinstance(i, Labelled)}
    return set()


def _with_terms(terms: list[Token], condition: list[Token], inner: Read) -> Value | None:
    """{3k | k \\in ℤ}."""
    comma = Token("mark", ",")
    value = inner([*terms, comma, *condition])
    return value if isinstance(value, Family) else None


def _unnamed(value: Value) -> Value:
    return Region(value.intervals) if isinstance(value, Region) else value


def conjunction(items: tuple[Value, ...], strict: bool) -> Value | None:
    """Several conditions on one letter, all of which hold; None where the items are no such conditions.

    What commas separate holds together where that is possible, `x > 1, x < 3`, and else one by one, `x < 1, x > 3`.
    """
    found = [i for i in items if isinstance(i, Region)]
    if len(found) != len(items) or len(found) < 2 or len({r.name for r in found if r.name}) > 1:
        return None
    if not any(r.name for r in found):
        return None
    both = regions.simplest(regions.meet(found))
    if not isinstance(both, Words):
        return both
    if strict:
        raise Unsupported("conditions that exclude each other")
    return regions.simplest(regions.union(found))


def family(items: tuple[Value, ...]) -> Value | None:
    """Values with what their letters run through, k \\in ℤ, k > 3; None where nothing of that kind is said."""
    domains = {i.name: i.domain for i in items if isinstance(i, Domain)}
    for one in items:
        if isinstance(one, Region) and one.name and _is_line(one):
            domains[one.name] = "ℝ"
    for one in items:
        if isinstance(one, Region) and one.name in domains and not _is_line(one):
            domains[one.name] += f", {Region(one.intervals)}"
    rest = tuple(i for i in items if not isinstance(i, Domain) and not (isinstance(i, Region) and i.name in domains))
    if not domains or not rest or any(isinstance(i, Region | Relation) for i in rest):
        return None
    return Family(rest, domains)


def _is_line(region: Region) -> bool:
    return [(str(i.low), str(i.high)) for i in region.intervals] == [("-1*∞", "∞")]
