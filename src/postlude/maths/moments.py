"""Times of day and dates."""

from __future__ import annotations

import re
from fractions import Fraction

from postlude.maths.problems import Unsupported
from postlude.maths.texts import TEXTS
from postlude.maths.tokens import Token
from postlude.maths.values import Clock, Words

_CLOCK = re.compile(r"\d{1,4}(?::\d{1,4}){1,2}(?:\.\d+)?")
_FULL = re.compile(r"(?i)(1[0-2]|0?[1-9])o'?clock([ap]\.?m\.?)?")
_HALF = re.compile(r"(?i)\s*([ap])\s*\.?\s*m\s*\.?$")
_HOUR = re.compile(r"(1[0-2]|0?[1-9])(?:[.:]([0-5]\d))?")
_SHOWN = re.compile(rf"{TEXTS}\s*\{{|[{{}}~,]|\\[,;: ]")
_PROPORTION = re.compile(r"\d{1,9}(?:\.\d{1,9})?(?:to\d{1,9}(?:\.\d{1,9})?)+")
NAMED = {
    "noon": Clock((Fraction(12), Fraction(0)), True, "pm"),
    "midnight": Clock((Fraction(12), Fraction(0)), True, "am"),
}
_MONTHS = ("january", "february", "march", "april", "may", "june", "july", "august", "september", "october",
           "november", "december")  # fmt: skip
_MONTH = r"(?P<month>[a-z]{3,9})\.?"
_DAY = r"(?P<day>0?[1-9]|[12]\d|3[01])(?: ?(?:st|nd|rd|th))?"
_YEAR = r"(?: (?P<year>[12]\d{3}))?"
_DATES = tuple(
    re.compile(pattern)
    for pattern in (rf"{_MONTH} (?:the )?{_DAY}{_YEAR}", rf"(?:the )?{_DAY} (?:of )?{_MONTH}{_YEAR}",
                    r"(?P<year>[12]\d{3})-(?P<number>0[1-9]|1[0-2])-(?P<day>0[1-9]|[12]\d|3[01])")
)  # fmt: skip


def clock(tokens: list[Token]) -> Clock | None:
    """4:30, 4:30 p.m., 4 p.m., noon; None where it is something else."""
    text = "".join(t.text for t in tokens)
    if text.lower() in ("12noon", "12midnight"):
        return NAMED[text[2:].lower()]
    full = _FULL.fullmatch(text.replace(" ", ""))
    if full:
        return Clock((Fraction(full.group(1)), Fraction(0)), True, (full.group(2) or "").lower().replace(".", ""))
    if _PROPORTION.fullmatch(text):
        return Clock(tuple(Fraction(p) for p in text.split("to")), False)
    body = _HALF.sub("", text)
    half = re.sub(r"[\s.]", "", text[len(body) :]).lower()
    hour = _HOUR.fullmatch(body) if half else None
    if hour:
        return Clock((Fraction(hour.group(1)), Fraction(hour.group(2) or 0)), True, half)
    if not _CLOCK.fullmatch(body):
        return None
    parts = body.split(":")
    if half == "am" and int(parts[0]) > 12:
        raise Unsupported("a time after noon that says a.m.")
    time = bool(half) or (len(parts[0]) < 3 and all(len(p.partition(".")[0]) == 2 for p in parts[1:]))
    return Clock(tuple(Fraction(p) for p in parts), time, half)


def same_clock(a: Clock, b: Clock) -> bool:
    """Times of the same moment, or ratios in proportion; a time that does not say its half may be in either."""
    if a.half or b.half:
        return _afternoon(a) == _afternoon(b) if _says_half(a) and _says_half(b) else a.parts == b.parts
    if len(a.parts) != len(b.parts):
        return False
    if a.parts == b.parts:
        return True
    if a.looks_like_time or b.looks_like_time or not a.parts[0] or not b.parts[0]:
        return False
    return [p / a.parts[0] for p in a.parts] == [p / b.parts[0] for p in b.parts]


def _says_half(time: Clock) -> bool:
    return bool(time.half) or not 1 <= time.parts[0] <= 12


def _afternoon(time: Clock) -> tuple[Fraction, ...]:
    """As a clock of 24 hours shows it."""
    hours, *rest = time.parts
    if time.half and hours <= 12:
        hours = hours % 12 + (12 if time.half == "pm" else 0)
    return hours, *rest


def date(text: str) -> Words | None:
    """June 20, 20th of June, Jun. 20, 2004-06-20, in one spelling: `20 june 2004`; None where it is no date."""
    if len(text) > 60 or not re.search(r"\d", text):
        return None
    said = " ".join(_SHOWN.sub(" ", text).lower().split())
    found = next((m for m in (p.fullmatch(said) for p in _DATES) if m), None)
    if found is None:
        return None
    parts = found.groupdict()
    month = _MONTHS[int(parts["number"]) - 1] if "number" in parts else _month(parts["month"])
    return Words(f"{int(parts['day'])} {month} {parts['year'] or ''}".strip()) if month else None


def _month(word: str) -> str | None:
    names = [m for m in _MONTHS if word in (m, m[:3]) or (m == "september" and word == "sept")]
    return names[0] if names else None
