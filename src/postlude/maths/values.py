"""What an answer can be. Each kind holds exact values; none holds a float."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from postlude.maths.grammar import Node
from postlude.maths.ratios import Ratio
from postlude.maths.unit_table import Unit

_LETTER = re.compile(r"((?:\\\w+\{)?)([A-Za-z])(\}?)")
"""A name of one letter, maybe with an accent."""


@dataclass(frozen=True, eq=False)
class Expression:
    """A number or a term with letters; the tree is what a worker gets."""

    tree: Node
    value: Ratio

    def __str__(self) -> str:
        return str(self.value)


@dataclass(frozen=True, eq=False)
class Percent:
    """50% as the number 50."""

    number: Expression

    def __str__(self) -> str:
        return f"{self.number}%"


@dataclass(frozen=True, eq=False)
class Quantity:
    """A number with a unit."""

    number: Expression
    unit: Unit

    def __str__(self) -> str:
        powers = " ".join(k if n == 1 else f"{k}^{n}" for k, n in sorted(self.unit.powers.items()))
        factor = "" if self.unit.factor == 1 else f"*{self.unit.factor}"
        return f"{self.number}{factor} {powers}".rstrip()


@dataclass(frozen=True)
class Based:
    """A numeral with its base written beside it."""

    digits: str
    base: int

    def __str__(self) -> str:
        return f"{self.digits}_{self.base}"


@dataclass(frozen=True)
class Words:
    """Plain words, in lower case."""

    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, eq=False)
class Phrase:
    """Values with words around them, in order: `\\$3000 at 11\\%`, `max at x = 2`."""

    parts: tuple[Value, ...]

    def __str__(self) -> str:
        return " ".join(map(str, self.parts))


@dataclass(frozen=True)
class Clock:
    """Numbers with colons between: a time of day or a ratio."""

    parts: tuple[Fraction, ...]
    looks_like_time: bool
    half: str = ""
    """`am` or `pm`, where it is said."""

    def __str__(self) -> str:
        return ":".join(map(str, self.parts)) + (" " + self.half if self.half else "")


@dataclass(frozen=True, eq=False)
class Listing:
    """Several values without brackets, in any order. `hedged`: joined by "or"."""

    items: tuple[Value, ...]
    hedged: bool = False

    def __str__(self) -> str:
        return (" or " if self.hedged else ", ").join(map(str, self.items))


@dataclass(frozen=True, eq=False)
class Collection:
    """A set: no order, no repeats."""

    items: tuple[Value, ...]

    def __str__(self) -> str:
        return "{" + ", ".join(map(str, self.items)) + "}"


@dataclass(frozen=True, eq=False)
class Series:
    """Values in brackets, in order: a point, a vector, or an interval."""

    items: tuple[Value, ...]
    opening: str
    closing: str

    def __str__(self) -> str:
        return self.opening + ", ".join(map(str, self.items)) + self.closing


@dataclass(frozen=True, eq=False)
class Interval:
    """From low to high; an end is in it where it is closed."""

    low: Expression
    high: Expression
    low_closed: bool
    high_closed: bool

    def __str__(self) -> str:
        return f"{'[' if self.low_closed else '('}{self.low}, {self.high}{']' if self.high_closed else ')'}"


@dataclass(frozen=True, eq=False)
class Region:
    """One or more intervals of the real line; `name`: the variable, where one is said."""

    intervals: tuple[Interval, ...]
    name: str | None = None

    def __str__(self) -> str:
        return (f"{self.name} in " if self.name else "") + " ∪ ".join(map(str, self.intervals))


@dataclass(frozen=True, eq=False)
class Matrix:
    """Rows of values; `determinant` where it stands between bars."""

    rows: tuple[tuple[Expression, ...], ...]
    determinant: bool = False

    def __str__(self) -> str:
        return "[" + "; ".join(", ".join(map(str, row)) for row in self.rows) + "]"


@dataclass(frozen=True, eq=False)
class Labelled:
    """`x = 5`: a value with the name of what has it."""

    name: str
    value: Value

    def __str__(self) -> str:
        return f"{self.name} = {self.value}"


@dataclass(frozen=True, eq=False)
class Assignment:
    """`x = 1, y = 2`: values of different names, in the order in which they are written."""

    names: tuple[str, ...]
    values: tuple[Value, ...]
    bracketed: bool = False
    """Whether it is written as (x, y) = (1, 2)."""

    @property
    def ordered(self) -> tuple[Value, ...] | None:
        """The values as a tuple has them: by name where the names are neighbours (x, y; a, b, c; x_1, x_2).

        Of other names the order is known only where they stand in brackets themselves.
        """
        by_name = sorted(zip(self.names, self.values, strict=True), key=lambda pair: _place(pair[0]))
        places = [_place(n) for n, _ in by_name]
        neighbours = all(a[0] == b[0] and b[1] == a[1] + 1 for a, b in pairwise(places))
        return tuple(v for _, v in by_name) if neighbours else self.values if self.bracketed else None

    def __str__(self) -> str:
        return ", ".join(f"{n} = {v}" for n, v in zip(self.names, self.values, strict=True))


def _place(name: str) -> tuple[str, int]:
    """The alphabet or the letter that a name belongs to, and its place there."""
    base, _, number = name.partition("_")
    if number.isdecimal() and number.isascii():
        return base, int(number[:9])
    letter = _LETTER.fullmatch(name)
    return (letter.group(1) + letter.group(3), ord(letter.group(2))) if letter else (name, 0)


@dataclass(frozen=True, eq=False)
class Family:
    """Values for all k of a set: `domains` has the letters and what they run through, such as ℤ."""

    items: tuple[Value, ...]
    domains: Mapping[str, str]

    def __str__(self) -> str:
        return ", ".join([*map(str, self.items), *(f"{k} in {v}" for k, v in self.domains.items())])


@dataclass(frozen=True, eq=False)
class Domain:
    """k \\in ℤ: what a letter runs through."""

    name: str
    domain: str

    def __str__(self) -> str:
        return f"{self.name} in {self.domain}"


@dataclass(frozen=True, eq=False)
class Elided:
    """1, 3, 5, ..., n: values in order, with dots (the words "...") among them."""

    items: tuple[Value, ...]

    def __str__(self) -> str:
        return ", ".join(map(str, self.items))


@dataclass(frozen=True, eq=False)
class Residue:
    """3 (mod 7)."""

    value: Expression
    modulus: Expression

    def __str__(self) -> str:
        return f"{self.value} mod {self.modulus}"


@dataclass(frozen=True, eq=False)
class Case:
    """A value and the condition under which a function has it."""

    value: Value
    condition: Value

    def __str__(self) -> str:
        return f"{self.value} if {self.condition}"


@dataclass(frozen=True, eq=False)
class Option:
    """The letter of a choice, with what it stands for where that is said: (C) 12."""

    letter: str
    said: Value

    def __str__(self) -> str:
        return f"({self.letter}) {self.said}"


@dataclass(frozen=True, eq=False)
class Relation:
    """An equation or inequality; `mark` is one of = < <= (larger sides are turned to stand right)."""

    left: Expression
    right: Expression
    mark: str

    def __str__(self) -> str:
        return f"{self.left} {self.mark} {self.right}"


Value = (
    Expression
    | Percent
    | Quantity
    | Based
    | Words
    | Phrase
    | Clock
    | Listing
    | Collection
    | Series
    | Region
    | Matrix
    | Labelled
    | Assignment
    | Family
    | Domain
    | Elided
    | Residue
    | Case
    | Option
    | Relation
)

Pair = tuple[Node, Node]
Outcome = bool | tuple[Pair, ...]
"""Of a comparison: whether two values are equal, or the pairs of trees that all have to be equal for that."""
