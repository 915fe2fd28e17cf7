"""What is a matter of convention rather than of mathematics: one rule each, with a switch where people differ.

`Conventions` holds a choice for each, `TABLE` says what each is about, with examples on which its choices differ. The
first choice is the default. What none of them is about is decided by the mathematics alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Literal, get_args, get_type_hints

from postlude.words import meant


@dataclass(frozen=True)
class Conventions:
    """A choice for each convention. Raises ValueError for what is no choice."""

    units: Literal["optional", "required"] = "optional"
    percent: Literal["either", "share", "points", "required"] = "either"
    labels: Literal["optional", "required"] = "optional"
    order: Literal["any", "written"] = "any"
    repeats: Literal["count", "ignored"] = "count"
    braces: Literal["optional", "required"] = "optional"
    tuples: Literal["bracketed", "bare"] = "bracketed"
    brackets: Literal["distinct", "alike"] = "distinct"
    vectors: Literal["tuples", "distinct"] = "tuples"
    constants: Literal["either case", "as written"] = "either case"
    equations: Literal["value", "distinct"] = "value"
    unsolved: Literal["distinct", "equal"] = "distinct"
    options: Literal["either", "letter", "both"] = "either"
    log: Literal["open", "ten", "e"] = "open"
    decimal: Literal["point", "comma"] = "point"

    def __post_init__(self) -> None:
        for one in fields(self):
            choice, allowed = vars(self)[one.name], choices(one.name)
            if choice not in allowed:
                raise ValueError(
                    f"conventions.{one.name} is {choice!r}; allowed: {', '.join(allowed)}.{meant(str(choice), allowed)}"
                )


@dataclass(frozen=True)
class Example:
    """A gold and an answer that one choice calls equal and the default does not, or the other way round."""

    choice: str
    gold: str
    answer: str


@dataclass(frozen=True)
class Convention:
    """`name`: that of its field in `Conventions`; `about`: what each choice means, in a sentence."""

    name: str
    about: str
    examples: tuple[Example, ...]


def choices(name: str) -> tuple[str, ...]:
    """What may be chosen for a convention, the default first."""
    return get_args(get_type_hints(Conventions)[name])


def conventions_of(chosen: Conventions | Mapping[str, str] | None) -> Conventions:
    """Raises ValueError for names that are no conventions and for what is no choice."""
    if isinstance(chosen, Conventions):
        return chosen
    names = [one.name for one in fields(Conventions)]
    for name in chosen or {}:
        if name not in names:
            raise ValueError(f"{name!r} is no convention; there are {', '.join(names)}.{meant(name, names)}")
    return Conventions(**(chosen or {}))  # pyright: ignore[reportArgumentType]  # checked there


def _rule(name: str, about: str, *examples: tuple[str, str, str]) -> Convention:
    return Convention(name, about, tuple(Example(*e) for e in examples))


TABLE = (
    _rule(
        "units",
        "a unit, a currency sign or what is counted (`5 apples`) that only one side gives is left out, or must be "
        "given",
        ("required", r"5\text{ cm}", "5"), ("required", "12", r"\$12"),
    ),
    _rule(
        "percent",
        r"`50\%` is 0.5, and 50 where the sign was left out (but a number up to 1 is not its own percentage); only the "
        "share 0.5; only the points 50; or nothing but a percentage",
        ("share", r"50\%", "50"), ("points", r"50\%", "0.5"), ("required", "0.5", r"50\%"),
    ),
    _rule(
        "labels",
        "a name, `x =` or `radius:`, that only one side gives is left out, or must be given; so are the names of "
        "`x=1, y=2` against `(1,2)`",
        ("required", "5", "x=5"), ("required", "f(x)=x^2+1", "x^2+1"),
    ),
    _rule(
        "order",
        r"lists without brackets have no order, or that in which they are written (`\pm` writes the plus first; "
        'what is joined by "or" has none)',
        ("written", "1, 2, 3", "3, 2, 1"), ("written", "x=2, x=5", "x=5, x=2"),
    ),
    _rule(
        "repeats",
        "each value of a list without brackets counts as often as it is written, or once",
        ("ignored", "16, 3, 1, 1", "16, 3, 1"), ("ignored", "2, 2", "2, 2, 2"),
    ),
    _rule(
        "braces",
        "a list without brackets is also the set in braces, or the braces must be given",
        ("required", r"\{1, 2\}", "1, 2"), ("required", "5", r"\{5\}"),
    ),
    _rule(
        "tuples",
        "a tuple needs its brackets, or a list without them in the same order is one too",
        ("bare", "(1, 2)", "1, 2"), ("bare", "x, 2y", "(x, 2y)"),
    ),
    _rule(
        "brackets",
        "a pair in round brackets is not that in square ones, an interval without its ends, or both are a point or "
        "vector (one bracket of each kind is always an interval)",
        ("alike", "(1, 2)", "[1, 2]"), ("alike", "[-3, 5]", "(-3, 5)"),
    ),
    _rule(
        "vectors",
        "a matrix of one column or row is also the tuple of its members, or not",
        ("distinct", r"\begin{pmatrix}1\\2\end{pmatrix}", "(1, 2)"),
        ("distinct", "(3, 4)", r"\begin{bmatrix}3&4\end{bmatrix}"),
    ),
    _rule(
        "constants",
        "constants of integration may be capitals or small letters on either side, or only as they are written",
        ("as written", "x^2+C", "x^2+c"), ("as written", "C_1e^x+C_2", "c_1e^x+c_2"),
    ),
    _rule(
        "equations",
        "a sum or product of letters that is set equal to a number answers the number, or not",
        ("distinct", "5", "a+b=5"), ("distinct", "12", "xy=12"),
    ),
    _rule(
        "unsolved",
        "an equation or inequality that is still to be solved is not the solved one, or is equal to it",
        ("equal", "x=5", "2x=10"), ("equal", r"x>\frac{3}{2}", "2x>3"),
    ),
    _rule(
        "options",
        "of a gold that has an option's letter and text, `C. 12`, either is enough; the letter is; or both are needed",
        ("letter", "C. 12", "12"), ("both", "C. 12", "C"),
    ),
    _rule(
        "log",
        r"`\log` has a base that is not said (10 where that makes the value a whole number), base 10, or base e",
        ("ten", r"\log_{10} x", r"\log x"), ("e", r"\ln 7", r"\log 7"), ("e", "2", r"\log 100"),
    ),
    _rule(
        "decimal",
        "a comma is decimal where it can be nothing else; or between digits without a space always, and a point that "
        "three digits follow groups thousands (`0.125` stays what it is)",
        ("comma", "1.5", "1,5"), ("comma", "1234", "1.234"), ("comma", "1,5", "1, 5"),
    ),
)  # fmt: skip
