"""Units of measurement: exact factors, and whatever words stand in a unit's place."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from postlude.maths.problems import Unsupported
from postlude.maths.tokens import Token


@dataclass(frozen=True)
class Unit:
    """`factor` base units of what `powers` say: {"length": 2} is an area. Without powers it is a plain count."""

    factor: Fraction
    powers: Mapping[str, int] = field(default_factory=dict[str, int])

    def times(self, other: Unit, power: int) -> Unit:
        powers = dict(self.powers)
        for name, n in other.powers.items():
            powers[name] = powers.get(name, 0) + n * power
        return Unit(self.factor * other.factor**power, {k: v for k, v in powers.items() if v})


def _table(kind: str, **names: str) -> dict[str, Unit]:
    """Words (separated by spaces in the keys' values) -> unit; a factor is `a` or `a/b`."""
    return {w: Unit(Fraction(factor), {kind: 1}) for factor, words in _pairs(names) for w in words.split()}


def _pairs(names: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(text.partition(":")[0], text.partition(":")[2]) for text in names.values()]


KNOWN: dict[str, Unit] = {
    **_table("length", a="1:m meter metre", b="1/100:cm centimeter centimetre", c="1/1000:mm millimeter millimetre",
             d="1000:km kilometer kilometre", e="254/10000:in inch inches", f="3048/10000:ft foot feet",
             g="9144/10000:yd yard", h="1609344/1000:mi mile", i="1/10:dm decimeter decimetre"),
    **_table("mass", a="1:g gram", b="1000:kg kilogram kilo", c="1/1000:mg milligram", d="45359237/100000:lb lbs pound",
             e="45359237/1600000:oz ounce", f="1000000:tonne"),
    **_table("time", a="1:s sec second", b="60:min minute", c="3600:h hr hour", d="86400:day", e="604800:week",
             f="1/1000:ms millisecond"),
    **_table("year", a="1:year yr", b="1/12:month"),
    **_table("money", a="1:¤ dollar USD", b="1/100:cent ¢ penny pennies"),
    **_table("euro", a="1:€ euro EUR"),
    **_table("sterling", a="1:£ GBP"),
    **_table("angle", a="1:° degree deg", b="1/60:arcminute"),
    **_table("radian", a="1:rad radian"),
    **_table("volume", a="1:L l liter litre", b="1/1000:mL ml milliliter millilitre"),
    **_table("celsius", a="1:°C"), **_table("fahrenheit", a="1:°F"),
    "mph": Unit(Fraction(1609344, 3600000), {"length": 1, "time": -1}),
    "kph": Unit(Fraction(1000, 3600), {"length": 1, "time": -1}),
    "unit": Unit(Fraction(1)), "th": Unit(Fraction(1)), "st": Unit(Fraction(1)), "nd": Unit(Fraction(1)),
    "rd": Unit(Fraction(1)),
}  # fmt: skip
SCALES = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12, "dozen": 12}
_NO_UNIT = frozenset({
    "or", "and", "not", "no", "nor", "to", "than", "less", "more", "fewer", "if", "but", "except", "minus",
    "plus", "over", "under", "times", "when", "where", "for", "then", "else", "squared", "cubed", "factorial",
    "negative", "below", "above", "half", "halves", "third", "thirds", "fourth", "fourths", "quarter", "quarters",
    "fifth", "fifths", "sixth", "sixths", "seventh", "sevenths", "eighth", "eighths", "ninth", "ninths", "tenth",
    "tenths", "hundredth", "hundredths", "thousandth", "thousandths", "percent", "percentage", "because", "since",
    "so", "maybe", "perhaps", "possibly", "about", "approximately", "ish", "is", "are", "was", "be", "answer",
    "wrong", "correct", "choice", "option", "remainder", "mod", "base", "either", "both", "between", "from", "pi",
    "nan", "infinity", "undefined", "e", "i", "x", "y", "z", "n", "k", "t",
})  # fmt: skip
"""Words after a number that are not its unit, but change what it says."""
_WORD = re.compile(r"[A-Za-z°¢¤€£]+|\d+|[/^²³·.-]")


def read(tokens: list[Token]) -> tuple[int, Unit]:
    """(a factor such as a million, the unit) that tokens after a number say. Raises Unsupported."""
    words = [w for t in tokens for w in _WORD.findall(t.text.replace("'s", ""))]
    scale = 1
    while words and words[0].lower() in SCALES:
        scale *= SCALES[words.pop(0).lower()]
    if words[:1] == ["of"]:
        del words[0]
    if len([w for w in words if w.isalpha()]) > 5:
        raise Unsupported("more words than a unit has")
    return scale, _unit(words)


def _unit(words: list[str]) -> Unit:
    total, sign, power_next = Unit(Fraction(1)), 1, 1
    place = 0
    while place < len(words):
        word = words[place]
        place += 1
        if word in ("/", "per", "a", "an") and (word in ("/", "per") or total.powers):
            sign = -1
        elif word.lower() in ("square", "sq", "cubic", "cu"):
            power_next = 2 if word.lower() in ("square", "sq") else 3
        elif word in (".", "·", "of", "the"):
            continue
        else:
            power, place = _power(words, place)
            total = total.times(_one(word), sign * power * power_next)
            power_next = 1
    return total


def _power(words: list[str], place: int) -> tuple[int, int]:
    """The exponent at a place, and the place after it."""
    if words[place : place + 1] in (["²"], ["³"]):
        return (2 if words[place] == "²" else 3), place + 1
    if words[place : place + 1] != ["^"]:
        return 1, place
    negative = words[place + 1 : place + 2] == ["-"]
    digits = words[place + 1 + negative : place + 2 + negative]
    if not digits or digits[0] not in ("1", "2", "3"):
        raise Unsupported("a unit with an unusual exponent")
    return (-1 if negative else 1) * int(digits[0]), place + 2 + negative


def is_known(word: str) -> bool:
    """Whether it is a unit or a factor of which we have the size, and not only a word in a unit's place."""
    return any(name in KNOWN or name in SCALES for name in _names(word))


def _names(word: str) -> tuple[str, ...]:
    return word, word.lower(), word.lower().removesuffix("s")


def _one(word: str) -> Unit:
    for name in _names(word):
        if name in KNOWN:
            return KNOWN[name]
    if not word.isalpha() or (word if len(word) == 1 else word.lower()) in _NO_UNIT:
        raise Unsupported(f"{word!r} after a number")
    return Unit(Fraction(1), {_singular(word.lower()): 1})


def _singular(word: str) -> str:
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("shes", "ches", "xes", "sses")):
        return word[:-2]
    return word.removesuffix("s") if not word.endswith("ss") else word
