"""Units of measurement: words behind a number as a factor and dimensions; any other word is a kind of its own."""

from __future__ import annotations

import re
from fractions import Fraction

from postlude.maths.problems import Unsupported
from postlude.maths.tokens import Token
from postlude.maths.unit_table import KNOWN, ONE, SIGNS, Unit

SCALES = {
    "hundred": 100,
    "thousand": 1000,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
    "dozen": 12,
    "ten": 10,
    "score": 20,
    "gross": 144,
}
_NO_UNIT = frozenset({
    "or", "and", "not", "no", "nor", "to", "than", "less", "more", "fewer", "if", "but", "except", "minus",
    "plus", "over", "under", "times", "when", "where", "for", "then", "else", "squared", "cubed", "factorial",
    "negative", "below", "above", "half", "halves", "third", "thirds", "fourth", "fourths", "quarter", "quarters",
    "fifth", "fifths", "sixth", "sixths", "seventh", "sevenths", "eighth", "eighths", "ninth", "ninths", "tenth",
    "tenths", "hundredth", "hundredths", "thousandth", "thousandths", "percent", "percentage", "because", "since",
    "so", "maybe", "perhaps", "possibly", "about", "approximately", "ish", "is", "are", "was", "be", "answer",
    "wrong", "correct", "choice", "option", "remainder", "mod", "base", "either", "both", "between", "from", "pi",
    "nan", "infinity", "undefined", "by", "e", "i", "x", "y", "z", "n", "k", "t",
})  # fmt: skip
"""Words after a number that are not its unit, but change what it says."""
_CHANGES = frozenset({
    "double", "twice", "thrice", "triple", "quadruple", "least", "most", "too", "nope", "nah", "false", "invalid",
    "untrue", "mistake", "error", "lie", "joke", "guess", "bigger", "larger", "smaller", "greater", "lesser",
    "higher", "lower", "older", "younger", "longer", "shorter", "taller", "wider", "small", "large", "big", "great",
    "little", "many", "few", "minimum", "maximum", "inverse", "reciprocal", "modulo", "opposite", "pair", "couple",
    "trio", "trap", "off", "exponent", "power", "root", "impossible", "unlikely", "bogus", "nonsense", "bad", "good",
    "true", "right", "onward", "thereabout", "upward", "downward", "fold", "out", "away", "only", "incorrect",
    "wrong",
})  # fmt: skip
_SIZES = frozenset({"long", "short", "tall", "wide", "high", "deep", "old", "thick"})
"""What may stand behind a known unit only: 12 years old, but not 12 digits long."""
_CHANGED = re.compile(
    r"(?!(?:hundr|s|w|sp|br|sh|sl|st|r|d|bl)eed$)\w{2,}[^e\W]ed|\w{3,}(?:wards?|fold|ly)(?<!family)(?<!fly)(?<!assembly)"
    r"|(?:hundred|thousand|million|billion|trillion)ths?"
)
"""Participles, adverbs and parts, where they are the last word."""
_WORD = re.compile(rf"[A-Za-z{SIGNS}]+|\d+|[/^²³-]")
_POWERS = {"square": 2, "sq": 2, "squared": 2, "cubic": 3, "cu": 3, "cubed": 3, "²": 2, "³": 3}
_TIMES = frozenset({r"\cdot", r"\times", "*", r"\ast", "·"})


_ANY_CASE = frozenset({
    "km", "cm", "mm", "kg", "hr", "min", "sec", "lb", "lbs", "oz", "ft", "in", "yd", "mi", "mph", "kph", "gal", "deg",
    "usd", "eur", "gbp",
})  # fmt: skip
_FOLDED = {name.lower(): unit for name, unit in KNOWN.items() if len(name) > 3 and name.islower()}
_FOLDED |= {name.lower(): unit for name, unit in KNOWN.items() if name.lower() in _ANY_CASE and name != "Gal"}
"""Units whose capitals say nothing; of short symbols they do: Nm is no nm, and M no m."""
_SCALES_OF_DEGREES = frozenset({"celsius", "fahrenheit", "c", "f"})


def read(tokens: list[Token]) -> tuple[int, Unit]:
    """(a factor such as a million, the unit) that tokens after a number say. Raises Unsupported."""
    words = [w for t in tokens for w in _words(t)]
    scale = 1
    while words and {words[0].lower(), _singular(words[0].lower())} & SCALES.keys():
        word = words.pop(0).lower()
        scale *= SCALES.get(word) or SCALES[_singular(word)]
    if words[:1] == ["of"]:
        del words[0]
    if len([w for w in words if w.isalpha()]) > 5:
        raise Unsupported("more words than a unit has")
    unit = _unit(words)
    return scale, Unit(unit.factor, unit.powers, True) if _change(words) else unit


def _change(words: list[str]) -> bool:
    """Whether words say something else than what is counted. Of "12 shaded squares" only the last word can."""
    names = [word.lower() for word in words if word.isalpha()]
    if not names or known(words[-1]):
        return False
    sized = names[-1] in _SIZES and not any(known(word) for word in words[:-1])
    return sized or bool(_CHANGED.fullmatch(names[-1])) or any(_singular(name) in _CHANGES for name in names)


def known(word: str) -> Unit | None:
    """The unit of a symbol or name, also in plural; None where it is none of the table."""
    singular = _singular(word.lower())
    return KNOWN.get(word) or _FOLDED.get(word.lower()) or _FOLDED.get(singular) or KNOWN.get(_singular(word))


def is_known(word: str) -> bool:
    """Whether it is a unit or a factor of which we have the size, and not only a word in a unit's place."""
    return known(word) is not None or word.lower() in SCALES


def _words(token: Token) -> list[str]:
    if token.text in ("+", "=", "<", ">"):
        raise Unsupported(f"{token.text!r} after a number")
    if token.kind == "command":
        if token.text in _TIMES:
            return []
        if token.text != r"\Omega":
            raise Unsupported(f"{token.text} after a number")
        return ["Ω"]
    return _WORD.findall(token.text.replace("'s", ""))


def _unit(words: list[str]) -> Unit:
    total, last, sign, ahead = ONE, None, 1, 1
    place = 0
    while place < len(words):
        word = words[place]
        place += 1
        if word in ("/", "per") or (word in ("a", "an") and (total.powers or known(*words[place : place + 1] or [""]))):
            sign = -1
        elif word.lower() in ("square", "sq", "cubic", "cu") and place < len(words):
            ahead = _POWERS[word.lower()]
        elif word.lower() in ("squared", "cubed") and last:
            total = total.times(last, sign * (_POWERS[word.lower()] - 1))
        elif word in ("of", "the") or (word == "-" and last):
            continue
        elif word.lower() in ("degree", "degrees", "°") and words[place : place + 1] and _named_degree(words[place]):
            last = KNOWN["°" + words[place][0].upper()]
            total, place = total.times(last, sign), place + 1
        else:
            power, place = _power(words, place)
            last = _SIDE if word.lower() in ("unit", "units") and power * ahead != 1 else _one(word)
            total = total.times(last, sign * power * ahead)
            ahead = 1
    return total


_SIDE = Unit(Fraction(1), {"unit": 1})
"""Of square and cubic units: a length without a name. A number of units is a number."""


def _named_degree(word: str) -> bool:
    return word.lower() in _SCALES_OF_DEGREES


def _power(words: list[str], place: int) -> tuple[int, int]:
    """The exponent at a place, and the place after it."""
    following = words[place : place + 1]
    if following in (["²"], ["³"]):
        return _POWERS[following[0]], place + 1
    if following != ["^"]:
        return 1, place
    negative = words[place + 1 : place + 2] == ["-"]
    digits = words[place + 1 + negative : place + 2 + negative]
    if not digits or digits[0] not in ("1", "2", "3", "4"):
        raise Unsupported("a unit with an unusual exponent")
    return (-1 if negative else 1) * int(digits[0]), place + 2 + negative


def _one(word: str) -> Unit:
    unit = known(word)
    if unit:
        return unit
    if not word.isalpha() or (word if len(word) == 1 else word.lower()) in _NO_UNIT:
        raise Unsupported(f"{word!r} after a number")
    return Unit(Fraction(1), {word if len(word) < 3 else _singular(word.lower()): 1})


def _singular(word: str) -> str:
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("shes", "ches", "xes", "sses")):
        return word[:-2]
    return word.removesuffix("s") if not word.endswith("ss") and len(word) > 2 else word
