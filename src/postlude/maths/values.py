"""What an answer can be. Each kind holds exact values; none holds a float."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from postlude.maths.grammar import Node
from postlude.maths.ratios import Ratio
from postlude.maths.units import Unit


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
    | Clock
    | Listing
    | Collection
    | Series
    | Region
    | Matrix
    | Labelled
    | Relation
)
