"""Numbers as people group and point them, each in one spelling: digits, maybe a point and digits behind it.

One rule says what a mark between digits is. It groups thousands where one to three digits stand before it and three
after each mark, all marks are of one kind, and the chain holds nothing else. A comma is decimal only where it can be
nothing else: in braces (`3{,}14`), after thousands that another mark groups (`1.234,5`, `1 234,5`), before a zero that
no member of a list begins with (`0,001`), or as the only comma, between four digits or more and two (`1000,99`), or in
a price (`5,50 €`). So
`1,5` is a list, `1,234` is 1234, and `1.234` is a little above 1. Inside brackets a comma parts a list, unless other
commas there have a space behind them or the group after it begins with 0.
"""

from __future__ import annotations

import re

from postlude.maths.unit_table import CURRENCIES

_GAP = r"(?:\\[,;:!> ]|\\(?:thin|med|thick|neg)space(?![A-Za-z])|~)"
_BRACED = rf"\s?\{{\s?(?:,|\\[,;: ])\s?\}}\s?(?:{_GAP}\s?)*"
_TIGHT = rf"\s?(?:,\s?(?:\\!\s?)+|(?:\\!\s?)+,\s?)(?:{_GAP}\s?)*"
_THIN = rf"\s?(?:{_GAP}\s?)+"
_SPACED = r",\s?(?:\\[,;: ]|~)\s?"
_FIRM = re.compile(rf"(?<![\d.])\d+(?:(?:{_BRACED}|{_TIGHT})\d+)+")
"""Marks that stand inside a number only: a comma in braces, and one whose space is taken back."""
_GAPPED = re.compile(rf"(?<![\d._^])[1-9]\d{{0,2}}(?:{_THIN}\d{{3}})+(?!\d|{_THIN}\d)")
_FINE = re.compile(rf"(?<![\d_^.])\d+\.\d{{3}}(?:{_THIN}\d{{3}})*{_THIN}\d{{1,3}}(?!\d)")
"""Groups behind the point: 3.141\\,592\\,65."""
_COMMA_GAPPED = re.compile(rf"(?<![\d.,^_])[1-9]\d{{0,2}}(?:{_SPACED}\d{{3}})+(?!\d|{_SPACED}\d)")
_COMMA_GAP = re.compile(_SPACED)
_GROUPED = re.compile(
    r"(?<![\d._^,'])[1-9]\d{0,2}(?:(?: \d{3})+(?!\d)|(?:'\d{3})+(?![\d'])|(?:\\?_\d{3})+(?![\d_])"
    r"|(?:\.\d{3}){2,}(?![\d,]|\.\d))"
)
"""By single spaces, apostrophes, underscores, or two points and more."""
_GROUPED_POINT = re.compile(r"(?<![\d.,'])([1-9]\d{0,2}(?:(?: \d{3})+|(?:'\d{3})+|(?:\.\d{3})+)),(\d+)(?![\d.,'])")
_INDIAN = re.compile(r"(?<![\d.,])[1-9]\d?(?:,\d\d)+,\d{3}(?!\d|,\d)")
_THOUSANDS = re.compile(r"(?<![\d.,])[1-9]\d{0,2}(?:,\d{3})+(?!\d|,\d)")
_ZERO_LED = re.compile(r"(?<![\d.,_^])(\d+),(0\d+)(?![\d.,])")
_CENTS = re.compile(r"(?<![\d.,_^])([1-9]\d{3,}),(\d\d)(?![\d.,])")
_SIGN = f"[{''.join(sorted(CURRENCIES))}]"
_PRICE = re.compile(rf"-?(?:{_SIGN} ?\d+,\d\d|\d+,\d\d ?{_SIGN})")
_LOCALE = re.compile(r"(?<![\d.,])([1-9]\d{0,2}(?:\.\d{3})+|\d+)(?:,(\d+))?(?![\d.,]*\d)")
_MARKS = re.compile(r"\D+")
_CYCLE = re.compile(
    r"(\d*)\.(\d*)\\(?:overline|bar|overbar|dot)\s*(?:\{\s*(\d+)\s*\}|(\d))|(\d*)\.(\d*)\((\d+)\)(?!\s*[\w(\\^.])"
)
_DOTS = r"\s*(?:\\[lc]?dots(?![A-Za-z])|\.\.\.)"
_TRAILING = re.compile(rf"(?<!\d)(\d{{0,60}})\.(\d{{0,60}}?)(?:(\d)\3{{2,200}}|(\d{{2,40}}?)\4{{1,60}}){_DOTS}")
"""A decimal that shows its cycle: one digit three times, or several twice, and then dots."""
_BARE_POINT = re.compile(r"(?<![\d.])(\d+)\.(?=\s*(?:[/+*^)}-]|\\(?:cdot|times|div|over)(?![A-Za-z])|$))")


def joined(text: str) -> str:
    """Without the LaTeX marks that group digits; for text in which the commands for spaces are still there."""
    if "{" in text or "\\!" in text:
        text = _FIRM.sub(lambda m: _firm(m.group()), text)
    if "\\" in text or "~" in text:
        text = _FINE.sub(lambda m: re.sub(r"[^\d.]+", "", m.group()), _GAPPED.sub(_digits, text))
        if "," in text and (rest := _COMMA_GAPPED.sub(lambda m: _comma_gapped(text, m), text)) != text:
            text = text if _COMMA_GAP.search(rest) else rest  # a mark that parts a list elsewhere does so here
    return text


def pointed(text: str) -> str:
    """The same for marks that are characters; and cycles as the fractions they are."""
    if "." in text:
        text = _CYCLE.sub(lambda m: _cycle(m, text), text)
        text = _TRAILING.sub(lambda m: _fraction(m, m.group(1), m.group(2), m.group(3) or m.group(4)), text)
    if "," in text:
        text = _commas(text)
    return _BARE_POINT.sub(r"\1", _GROUPED.sub(_digits, text))


def from_commas(text: str) -> str:
    """1.234,5 as 1234.5 and 1,5 as 1.5, where the comma is decimal by convention; 1,2,3 and 0.125 stay."""
    return _LOCALE.sub(lambda m: m.group(1).replace(".", "") + ("." + m.group(2) if m.group(2) else ""), text)


def _digits(match: re.Match[str]) -> str:
    return _MARKS.sub("", match.group())


def _firm(chain: str) -> str:
    groups = _MARKS.split(chain)
    if _are_thousands(groups):
        return "".join(groups)
    if len(groups) == 2 and "{" in chain:
        return ".".join(groups)
    return ",".join(groups)


def _are_thousands(groups: list[str]) -> bool:
    return len(groups[0]) <= 3 and groups[0][0] != "0" and all(len(g) == 3 for g in groups[1:])


def _comma_gapped(text: str, match: re.Match[str]) -> str:
    groups = _MARKS.split(match.group())
    listed = "\\ " in match.group() and len(groups) > 2 and not _zero_led(groups)
    return match.group() if listed or _enclosed(text, match.start()) else "".join(groups)


def _commas(text: str) -> str:
    single = text.count(",") == 1
    if single:
        text = text.replace(",", ".") if _PRICE.fullmatch(text) else text
        text = _GROUPED_POINT.sub(lambda m: _with_point(text, m), text)
    text = _INDIAN.sub(lambda m: _digits(m) if _zero_led(m.group().split(",")) else m.group(), text)
    text = _THOUSANDS.sub(lambda m: _thousands(text, m), text)
    text = _ZERO_LED.sub(lambda m: _with_point(text, m), text)
    if single:
        text = _CENTS.sub(lambda m: _with_point(text, m), text)
    return text


def _thousands(text: str, match: re.Match[str]) -> str:
    groups = match.group().split(",")
    sure = _zero_led(groups) or re.search(r",\s", text)
    return "".join(groups) if sure or not _enclosed(text, match.start()) else match.group()


def _zero_led(groups: list[str]) -> bool:
    """Whether a group begins with a zero, as no member of a list does."""
    return any(g[0] == "0" for g in groups[1:])


def _with_point(text: str, match: re.Match[str]) -> str:
    whole, decimals = match.groups()
    return match.group() if _enclosed(text, match.start()) else f"{_MARKS.sub('', whole)}.{decimals}"


def _enclosed(text: str, place: int) -> bool:
    """Whether a bracket of a tuple, set or interval is open there; braces of a command's argument are none."""
    listing: list[bool] = []
    for match in re.finditer(r"\\[{}]|[(\[{}\])]", text[:place]):
        if match.group() in ("(", "[", "\\{"):
            listing.append(True)
        elif match.group() == "{":
            listing.append(not re.search(r"(?:\\[A-Za-z]+\*?|\}|\]|[_^])\s*$", text[: match.start()]))
        elif listing:
            listing.pop()
    return any(listing)


def _cycle(match: re.Match[str], text: str) -> str:
    """A bracket behind other decimals is a factor, as in 2.5(3), unless it ends the number that is the whole answer."""
    if match.group(7) is None:
        return _fraction(match, match.group(1), match.group(2), match.group(3) or match.group(4))
    if match.group(6) and match.group().strip() != text.strip().lstrip("+-"):
        return match.group()
    return _fraction(match, *match.group(5, 6, 7))


def _fraction(match: re.Match[str], whole: str, fixed: str, cycle: str) -> str:
    """0.1666..., as (\\frac{15}{90})."""
    if len(match.group()) > 200:
        return match.group()
    nines, shift = 10 ** len(cycle) - 1, 10 ** len(fixed)
    return rf"(\frac{{{int((whole or '0') + fixed) * nines + int(cycle)}}}{{{nines * shift}}})"
