"""Plain words: numbers that are written out, and one spelling for what answers say in words."""

from __future__ import annotations

import re
from fractions import Fraction

from postlude.maths import units
from postlude.maths.moments import NAMED
from postlude.maths.quantities import PERCENT
from postlude.maths.ratios import number
from postlude.maths.terms import infinite
from postlude.maths.texts import TEXT
from postlude.maths.tokens import FUNCTIONS, is_product
from postlude.maths.values import Expression, Percent, Quantity, Value, Words

_WORDS = re.compile(r"[A-Za-z]['A-Za-z -]*[A-Za-z]")
_DIFFERENCE = re.compile(r"[A-Za-z]{1,2}(?: ?- ?[A-Za-z]{1,2})+")
_ABOUT = re.compile(
    r"^(\s*\$?\s*)(?:\\text\s*\{\s*(?=\w+\.?\s*\})|(\\text\s*\{\s*))?"
    r"(?:about|approximately|approx\.?|around|roughly)\b\s*(?:(?<!\{)\}\s*)?(?=\S)",
    re.IGNORECASE,
)
_ARTICLES = frozenset({"a", "an", "the"})
_NONE = "no solution"
_MANY = "infinitely many solutions"
_NOWHERE = "does not exist"
_ALIASES = {
    "dne": _NOWHERE, "doesn't exist": _NOWHERE, "limit does not exist": _NOWHERE, "doesnt exist": _NOWHERE,
    "limit doesn't exist": _NOWHERE, "do not exist": _NOWHERE, "don't exist": _NOWHERE, "nonexistent": _NOWHERE,
    "non existent": _NOWHERE, "it does not exist": _NOWHERE,
    "no solutions": _NONE, "no real solutions": _NONE, "no real solution": _NONE, "empty set": _NONE,
    "null set": _NONE, "there is no solution": _NONE, "there are no solutions": _NONE, "has no solution": _NONE,
    "no solution exists": _NONE, "no solutions exist": _NONE, "there are no real solutions": _NONE,
    "there is no real solution": _NONE,
    "infinitely many": _MANY, "infinite solutions": _MANY, "infinite number of solutions": _MANY,
    "infinite many solutions": _MANY, "there are infinitely many solutions": _MANY,
    "infinitely many solution": _MANY, "infinitely many real solutions": _MANY,
    "yeah": "yes",
}  # fmt: skip
ONES = {w: n for n, w in enumerate(re.findall(
    r"\w+", "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"))}  # fmt: skip
_TENS = {w: 10 * n for n, w in enumerate(re.findall(
    r"\w+", "twenty thirty forty fifty sixty seventy eighty ninety"), 2)}  # fmt: skip
_GROUPS = {w: n for w, n in units.SCALES.items() if n >= 1000}
_PARTS = {"half": 2, "third": 3, "quarter": 4, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7, "eighth": 8,
          "ninth": 9, "tenth": 10, "twelfth": 12, "hundredth": 100}  # fmt: skip
_INFINITE = {"infinity": 1, "positive infinity": 1, "plus infinity": 1, "negative infinity": -1, "minus infinity": -1}
_NOT_WORDS = FUNCTIONS | {"pi", "inf", "infty", "oo", "theta"}


def words(text: str) -> Value | None:
    """Plain words, or the number that they say; None where it is something else."""
    if _DIFFERENCE.fullmatch(text):
        return None
    said = plain(text)
    lower = said.lower()
    if not _WORDS.fullmatch(said):
        return None
    if lower in _INFINITE:
        return infinite(_INFINITE[lower])
    if lower in NAMED:
        return NAMED[lower]
    spoken = _spoken(lower.split())
    if spoken:
        return spoken
    if lower in _NOT_WORDS or {*lower.split()} & {"or", "and"}:
        return None
    if r"\text" not in text and is_product(said):
        return None
    if all(len(w) == 1 for w in said.split()) or (len(said) == 2 and said.islower() and said not in ("no", "is")):
        return None  # letters that are multiplied
    if r"\text" not in text and any(w in FUNCTIONS for w in said.split()):
        return None
    return Words(canonical(lower))


def plain(text: str) -> str:
    """Without marks of text, hyphens and what stands at the ends of sentences."""
    return " ".join(TEXT.sub(r" \1 ", text).replace("-", " ").split()).strip(" .!\"`'")


def estimated(text: str) -> bool:
    """Whether it begins with "about" or the like."""
    return bool(_ABOUT.match(text))


def unestimated(text: str) -> str:
    """About 30 mph, as 30 mph."""
    return _ABOUT.sub(r"\1\2", text)


def canonical(said: str) -> str:
    """Words in small letters, in one spelling."""
    first, _, rest = said.partition(" ")
    said = rest if rest and first in _ARTICLES else said
    return _ALIASES.get(said, said)


def _spoken(said: list[str]) -> Value | None:
    """Twelve, minus two thirds, two and a half, three hours."""
    if said[0] in ("minus", "negative") and len(said) > 1:
        value = _number(said[1:])
        return None if value is None else _expression(-value)
    for place in range(len(said), 0, -1):
        value = _number(said[:place])
        if value is None:
            continue
        rest = " ".join(said[place:])
        if rest in PERCENT:
            return Percent(_expression(value))
        unit = units.known(rest) if rest else None
        if unit and unit.powers:
            return Quantity(_expression(value), unit)
        return None if rest else _expression(value)
    return None


def _expression(value: Fraction) -> Expression:
    return Expression(["num", str(value)], number(value))


def _number(said: list[str]) -> Fraction | None:
    whole = _whole(said)
    if whole is not None:
        return Fraction(whole)
    if "and" in said:
        place = len(said) - 1 - said[::-1].index("and")
        whole, part = _whole(said[:place]), _part(said[place + 1 :])
        return whole + part if whole is not None and part is not None else None
    return _part(said)


def _part(said: list[str]) -> Fraction | None:
    """Half, a half, two thirds."""
    if not said:
        return None
    name = {"halves": "half"}.get(said[-1], said[-1].removesuffix("s"))
    if name not in _PARTS or (len(said) == 1 and name != "half"):
        return None
    top = 1 if said[:-1] in ([], ["a"], ["an"]) else _whole(said[:-1])
    return (
        None if top is None or (top != 1 and name == said[-1]) or top >= _PARTS[name] else Fraction(top, _PARTS[name])
    )


def _whole(said: list[str]) -> int | None:
    """Two hundred and five thousand and sixty-one; None where the words are no such number."""
    total, rest = 0, [w for i, w in enumerate(said) if w != "and" or not _joins(said, i)]
    if rest and rest[-1] == "dozen":
        count = 1 if rest[:-1] in ([], ["a"]) else _below_thousand(rest[:-1])
        return None if count is None else 12 * count
    last = 10**15
    while rest:
        place = next((i for i, w in enumerate(rest) if w in _GROUPS), len(rest))
        group = _GROUPS[rest[place]] if place < len(rest) else 1
        count = 1 if rest[:place] == ["a"] and group > 1 else _below_thousand(rest[:place])
        if count is None or group >= last:
            return None
        total, last, rest = total + count * group, group, rest[place + 1 :]
    return total if said else None


def _joins(said: list[str], i: int) -> bool:
    """The `and` of two hundred and five."""
    return 0 < i < len(said) - 1 and said[i - 1] in ("hundred", *_GROUPS) and said[i + 1] in (ONES | _TENS)


def _below_thousand(said: list[str]) -> int | None:
    total = 0
    if len(said) > 1 and said[1] == "hundred" and (said[0] == "a" or ONES.get(said[0], 0) in range(1, 10)):
        total, said = 100 * ONES.get(said[0], 1), said[2:]
        if not said:
            return total
    if len(said) == 1 and said[0] in ONES:
        return total + ONES[said[0]]
    if said and said[0] in _TENS and (len(said) == 1 or (len(said) == 2 and ONES.get(said[1], 0) in range(1, 10))):
        return total + _TENS[said[0]] + (ONES[said[1]] if len(said) == 2 else 0)
    return None
