"""Values for each whole number k: what such a family is in words, and when two are the same."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import lcm

from postlude.maths import polynomials as poly
from postlude.maths import ratios
from postlude.maths.polynomials import Budget
from postlude.maths.ratios import Ratio
from postlude.maths.synonyms import renamed as with_letters
from postlude.maths.terms import of
from postlude.maths.texts import TEXT
from postlude.maths.values import Collection, Expression, Family, Labelled, Listing, Outcome, Series, Value

MAX_MEMBERS = 64
"""Residues that two families may have."""
_SETS = {"integer": "ℤ", "real number": "ℝ", "real": "ℝ", "natural number": "ℕ", "positive integer": "ℤ^+"}
_KIND = r"(?P<{0}>integer|real number|real|natural number|positive integer)s?"
_SOME = r"(?:all|any|every|each|some|arbitrary|an?)"
_COUNTERS = frozenset("knm")
"""Letters that stand for whole numbers by convention."""
_PI = ratios.atom("π")
_PHRASES = (
    re.compile(
        rf"[\s,;(]*(?:(?:where|for|with|and)\s+)?(?:{_SOME}\s+)?{_KIND.format('first')}(?:\s+values?\s+of)?"
        r"\s+(?P<one>[A-Za-z])[\s).]*$"
    ),
    re.compile(
        rf"[\s,;(]*(?:(?:where|for|with|and)\s+)?(?<![A-Za-z\\])(?P<other>[A-Za-z])\s+(?:is\s+|are\s+)?(?:{_SOME}\s+)?"
        rf"{_KIND.format('second')}[\s).]*$"
    ),
)
_MEMBER = re.compile(
    rf"[\s,;(]*(?:(?:where|for|with)\s+)?(?:{_SOME}\s+|\\forall\s*)?(?P<letter>(?<![A-Za-z\\])[A-Za-z])"
    r"\s*\\in\s*(?P<set>[ℤℕℝℚ](?:\s*\^?\s*\{?[+*]\}?)?)[\s).]*$"
)

_UNION = re.compile(
    r"\s*\\bigcup\s*_\s*\{\s*(?P<letter>[A-Za-z])\s*(?:=\s*-\s*\\infty\s*\}\s*\^\s*\{?\s*\\infty\s*\}?|\\in\s*ℤ\s*\})"
    r"(?P<sets>.*)",
    re.DOTALL,
)
"""A union over all whole numbers, of sets of the same form."""


def spelled(text: str) -> str:
    """The text with a condition at its end, `for any integer k`, as `, k \\in ℤ`; itself where there is none."""
    if r"\bigcup" in text and (found := _UNION.fullmatch(text)):
        return f"{found['sets']}, {found['letter']} \\in ℤ"
    if "integer" not in text and "real" not in text and "natural" not in text and r"\in" not in text:
        return text
    flat = TEXT.sub(r" \1 ", text)
    found = _MEMBER.search(flat)
    if found and flat[: found.start()].strip():
        return f"{flat[: found.start()]}, {found['letter']} \\in {found['set']}{')' * _unclosed(flat, found)}"
    for phrase, kind, letter in zip(_PHRASES, ("first", "second"), ("one", "other"), strict=True):
        if (found := phrase.search(flat)) and flat[: found.start()].strip():
            return f"{flat[: found.start()]}, {found[letter]} \\in {_SETS[found[kind]]}"
    return text


def _unclosed(text: str, found: re.Match[str]) -> int:
    """How many brackets that were opened before the condition end in it."""
    before, inside = text[: found.start()], found.group()
    return max(0, inside.count(")") - inside.count("(")) if before.count("(") > before.count(")") else 0


@dataclass(frozen=True)
class Progression:
    """offset + step * k."""

    offset: Ratio
    step: Ratio


def progressions(items: Sequence[Value], letter: str) -> list[Progression] | None:
    """The items as arithmetic progressions in the letter; None where they are something else."""
    found = [_progression(i, letter) for i in items]
    return [p for p in found if p] if all(found) else None


def _progression(item: Value, letter: str) -> Progression | None:
    if not isinstance(item, Expression) or item.value.bottom != poly.ONE or item.value.opaque:
        return None
    offset: dict[poly.Monomial, Fraction] = {}
    step: dict[poly.Monomial, Fraction] = {}
    for monomial, coefficient in item.value.top.items():
        powers = dict(monomial)
        power = powers.pop(letter, Fraction(0))
        if power not in (0, 1):
            return None
        (step if power else offset)[tuple(sorted(powers.items()))] = coefficient
    return Progression(Ratio(offset), Ratio(step)) if step else None


def same_progressions(a: Sequence[Progression], b: Sequence[Progression]) -> bool | None:
    """Whether all of one are all of the other over the whole numbers; None where their steps have no common measure."""
    unit = a[0].step
    shares = [ratios.proportion(p.step, unit, Budget()) for p in (*a, *b)]
    steps = [abs(s) for s in shares if s is not None]
    if len(steps) != len(shares):
        return None
    denominator = lcm(*(s.denominator for s in steps))
    period = Fraction(lcm(*(int(s * denominator) for s in steps)), denominator)
    if sum(period / s for s in steps) > MAX_MEMBERS:
        return None
    here, there = (_residues(p, unit, period) for p in (a, b))
    return all(any(_congruent(x, y, unit, period) for y in there) for x in here) and all(
        any(_congruent(x, y, unit, period) for y in here) for x in there
    )


def _residues(items: Sequence[Progression], unit: Ratio, period: Fraction) -> list[Ratio]:
    """Where each progression is within one common period."""
    budget = Budget()
    found: list[Ratio] = []
    for one in items:
        share = ratios.proportion(one.step, unit, budget) or Fraction(1)
        for k in range(int(period / abs(share))):
            found.append(ratios.add(one.offset, ratios.multiply(ratios.number(k), one.step, budget), budget))
    return found


def _congruent(a: Ratio, b: Ratio, unit: Ratio, period: Fraction) -> bool:
    difference = ratios.subtract(a, b, Budget())
    if not difference.top:
        return True
    share = ratios.proportion(difference, unit, Budget())
    return share is not None and (share / period).denominator == 1


def letters(value: Value) -> set[str]:
    """The letters in a value of numbers, tuples and names."""
    if isinstance(value, Expression):
        return value.value.symbols
    if isinstance(value, Labelled):
        return letters(value.value)
    return {s for i in value.items for s in letters(i)} if isinstance(value, Series) else set()


def renamed(value: Value, names: dict[str, str]) -> Value:
    """With other letters."""
    if isinstance(value, Expression):
        return of(with_letters(value.tree, names)) if value.value.symbols & names.keys() else value
    if isinstance(value, Labelled):
        return Labelled(value.name, renamed(value.value, names))
    if isinstance(value, Series):
        return Series(tuple(renamed(i, names) for i in value.items), value.opening, value.closing)
    return value


Same = Callable[[Sequence[Value], Sequence[Value]], Outcome]


def same(a: Family, b: Family, unordered: Same) -> Outcome:
    """Whether two families have the same members, whatever their letters are called."""
    if len(a.domains) != len(b.domains) or sorted(a.domains.values()) != sorted(b.domains.values()):
        return False
    if len(a.domains) > 1:
        return a.domains == b.domains and unordered(a.items, b.items)
    (letter, domain), (other, _) = *a.domains.items(), *b.domains.items()
    if letter != other and any(letter in letters(i) for i in b.items):
        return False  # the letter of one is a constant in the other
    there = [renamed(i, {other: letter}) for i in b.items]
    here, names = _unnamed(a.items)
    there, others = _unnamed(there)
    if names and others and names != others:
        return False
    if domain == "ℤ":
        x, y = progressions(here, letter), progressions(there, letter)
        found = same_progressions(x, y) if x and y else None
        if found is not None:
            return found
    return unordered(here, there)


def _unnamed(items: Sequence[Value]) -> tuple[list[Value], set[str]]:
    """The values without the names that they have, and these."""
    names = {i.name for i in items if isinstance(i, Labelled)}
    return [i.value if isinstance(i, Labelled) else i for i in items], names


def with_domain(value: Value, family: Family) -> Family | None:
    """Values without a word on their letter, as a family over what the letter of another runs through.

    Only where they are such a family whatever the other says: the very values of the other in its letter, or multiples
    of pi with a letter that counts by convention, pi/4 + k pi. A letter alone, or 2n + 1, may be anything.
    """
    items = value.items if isinstance(value, Listing | Collection) else (value,)
    found = {s for i in items for s in letters(i)}
    if len(family.domains) != 1 or len(found) != 1:
        return None
    (letter, domain), (other,) = next(iter(family.domains.items())), found
    bare, _ = _unnamed(items)
    there, _ = _unnamed(family.items)
    if not _circles(items, other):
        alike = letter == other and sorted(map(str, bare)) == sorted(map(str, there))
        return Family(tuple(items), {letter: domain}) if alike else None
    return Family(tuple(items), {other: domain}) if domain == "ℤ" else None


def _circles(items: Sequence[Value], letter: str) -> bool:
    """Whether they come back with multiples of pi, and the letter counts."""
    bare, _ = _unnamed(items)
    steps = progressions(bare, letter) if letter in _COUNTERS and all(map(_may_have, items)) else None
    return bool(steps) and all(ratios.proportion(one.step, _PI, Budget()) is not None for one in steps)


def _may_have(item: Value) -> bool:
    """Whether it is unnamed, or its name is that of an unknown: a letter, not S_n or f(x)."""
    return not isinstance(item, Labelled) or re.fullmatch(r"[A-Za-z]|\\[a-z]+", item.name) is not None
