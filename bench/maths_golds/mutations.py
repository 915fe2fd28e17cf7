r"""Small changes of an answer that change its value. Where a change might keep it, it is not made.

A mutation maps the text of a right answer to other texts. Why a text is left out stands in `keeps`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from bench.maths_golds.texts import THOUSANDS, is_whole, members, outside, replaced

Mutate = Callable[[str], Iterable[str]]


@dataclass(frozen=True)
class Mutation:
    name: str
    make: Mutate
    inside: bool = False
    """Whether it may change any part of the text: then what `keeps` says is not tried."""

    def of(self, text: str) -> list[str]:
        """The changed texts, without the text itself."""
        if self.inside and keeps(text):
            return []
        return [t for t in dict.fromkeys(self.make(text)) if t != text]


_NAME = re.compile(r"(?:.*[,;$])?\s*\\?[A-Za-z]+'*(?:_(?:\w|\{\w+\}))?(?:\([a-z]\))?\s*", re.DOTALL)
"""What an equation says something of, after the values of others."""


def keeps(text: str) -> str | None:
    """Why a change inside a text may leave its value as it is; None where it does not."""
    if re.search(r"\^\s*(?:\{\s*0\s*\}|0(?!\d))", text):
        return "a power of 0"
    if any(not _NAME.fullmatch(part) for part in re.split(r"=|\\approx", text)[:-1]):
        return "steps of a calculation: another may be as true"
    if re.search(r"[+-]\s*[CcK](?:_\w+)?\s*\$?$", text):
        return "a constant of integration"
    if re.search(r"integer|real number", text):
        return "a letter that stands for many numbers: another sign is another order of them"
    if re.search(r"0\s*\\(?:cdot|times)|\\lfloor|\\lceil|!\s*/|\\(?:sin|cos|tan)\D*\\pi", text):
        return "a product with 0, a rounded value, a period"
    if "|" in text and re.search(r"(?<![A-Za-z\\])i(?![A-Za-z])", text):
        return "the size of a complex number is that of its conjugate"
    return None


def _digits(text: str) -> Iterable[str]:
    """Each of the first digits one higher; not zeros that begin a number."""
    for match in [*outside(text, r"\d")][:4]:
        after = text[match.end() :]
        if (
            match[0] == "0"
            and (re.match(r"\d", after) or not after.startswith("."))
            and not _inside_number(text, match)
        ):
            yield replaced(text, match, "4")
        else:
            yield replaced(text, match, str((int(match[0]) + 1) % 10 or 1))


def _inside_number(text: str, match: re.Match[str]) -> bool:
    return re.search(r"[\d.,]$", text[: match.start()]) is not None


def _digit_more(text: str) -> Iterable[str]:
    for match in [m for m in outside(text, r"\d*\.?\d+") if m[0] != "0"][:2]:
        yield replaced(text, match, match[0] + ("7" if "." in match[0] else "0"))


def _sign(text: str) -> Iterable[str]:
    """A minus sign before the whole answer, or taken from before it."""
    if re.search(r"\\pm|±|\\mp", text) or re.fullmatch(r"[-+]?[0.]+(?:\D.*)?", text):
        return
    if re.match(r"-\s*[\d\\a-z]", text):
        yield text[1:].lstrip()
    elif re.match(r"[\d.]|\\[dt]?frac|\\sqrt|[a-z](?![a-z])[^=<>]*$", text) and not re.search(
        "text|[A-Z]{2}|[=<>:|]", text
    ):
        yield "-" + text


def _inner_sign(text: str) -> Iterable[str]:
    r"""Plus for minus between two terms, or minus for plus."""
    if "±" in text or r"\pm" in text:
        return
    for match in [*outside(text, r"(?<=[\w)}])\s*[+-]\s*(?=[\w(\\])")][:2]:
        if r"\infty" not in text[match.end() : match.end() + 6]:
            yield replaced(text, match, " - " if "+" in match[0] else " + ")


def _bracket(text: str) -> Iterable[str]:
    """The kind of one bracket of an interval or tuple; one at an infinite end says nothing."""
    match = re.fullmatch(r"((?:\\left)?)([(\[])(.*)((?:\\right)?)([)\]])", text)
    if not match or not is_whole(match[3]) or len(members(match[3])) != 2:
        return
    low, high = members(match[3])
    if "infty" not in low and "∞" not in low:
        yield match[1] + ("[" if match[2] == "(" else "(") + match[3] + match[4] + match[5]
    if "infty" not in high and "∞" not in high:
        yield match[1] + match[2] + match[3] + match[4] + ("]" if match[5] == ")" else ")")


def _list(text: str) -> list[str]:
    """The members of a list that nothing stands around; empty where a comma may be of thousands."""
    if re.search(
        THOUSANDS + r"|\\(?:[lcd]?dots|text|quad)|\.\.\.|\b(?:any|all|or)\b|\$|(?<!\\)\\ |=", text
    ) or not is_whole(text):
        return []
    parts = members(text)
    return parts if len(parts) > 1 and all(parts) else []


def _dropped(text: str) -> Iterable[str]:
    parts = _list(text)
    if parts:
        yield ", ".join(parts[1:])
        yield ", ".join(parts[:-1])


def _added(text: str) -> Iterable[str]:
    parts = _list(text)
    if parts:
        yield ", ".join([*parts, "(91, 92)" if parts[0].startswith("(") else "913"])
    elif re.fullmatch(r"-?\d{1,3}", text):
        yield f"{text}, 91"
        yield f"91, {text}"


def _repeated(text: str) -> Iterable[str]:
    """A member once more, where that counts: not in a list of points."""
    parts = _list(text)
    if parts and not all(re.match(r"\(|\\left\(", part) for part in parts):
        yield ", ".join([*parts, parts[0]])


def _swapped(text: str) -> Iterable[str]:
    """A tuple of whole numbers turned round, where that is another one."""
    match = re.fullmatch(r"(\(|\\left\()(.*?)(\)|\\right\))", text)
    parts = members(match[2]) if match else []
    if match and len(parts) > 1 and all(re.fullmatch(r"-?\d+", p) for p in parts) and parts != parts[::-1]:
        yield match[1] + ",".join(reversed(parts)) + match[3]


def _exponent(text: str) -> Iterable[str]:
    """A power one higher; of 0 and 1 there is none."""
    for match in [*outside(text, r"(?<![01{}])\^\s*(?:\{(\d+)\}|(\d))")][:2]:
        if not re.search(r"(?<!\d)-?[01]$", text[: match.start()]):
            yield replaced(text, match, f"^{{{int(match[1] or match[2]) + 1}}}")


def _label(text: str) -> Iterable[str]:
    """Another name before the value."""
    match = re.match(r"\s*([a-zA-Z])(\([a-z]\))?\s*=\s*(?!.*[=,])", text)
    if match and "text" not in text:
        other = next(n for n in "qwk" if n not in text)
        yield other + text[match.end(1) :]


def _letter(text: str) -> Iterable[str]:
    """Another letter for the first that stands alone."""
    if re.search(r"[=<>|:]|\\in|text|C$|[A-Za-z]{2}", re.sub(r"\\[a-z]+", "", text)):
        return
    for match in [*outside(text, r"(?<![A-Za-z\\])[a-zA-DF-Z](?![A-Za-z])")][:1]:
        yield replaced(text, match, next(n for n in "qwkvuz" if n not in text))


_UNITS = [("cm", "km"), ("inches", "feet"), ("feet", "inches"), ("meters", "centimeters"), ("hours", "minutes"),
          ("minutes", "hours"), ("degrees", "radians"), ("km", "m"), ("kg", "mg"), ("cents", "dollars"), ("ft", "in"),
          ("square", "cubic"), ("days", "weeks"), ("mph", "feet per hour"), ("dollars", "cents")]  # fmt: skip


def _unit(text: str) -> Iterable[str]:
    for one, other in _UNITS:
        match = re.search(rf"(?<![A-Za-z\\]){one}(?![A-Za-z])", text)
        if match and re.search(r"\d", text):
            yield replaced(text, match, other)
            return


def _relation(text: str) -> Iterable[str]:
    r"""Less for greater, and strict for not strict."""
    turn = {"<": (">", r"\le "), ">": ("<", r"\ge "), r"\leq": (r"\geq ", "<"), r"\geq": (r"\leq ", ">"),
            r"\le": (r"\ge ", "<"), r"\ge": (r"\le ", ">")}  # fmt: skip
    for match in [*re.finditer(r"\\[lg]eq?(?![A-Za-z])|[<>]", text)][:1]:
        for other in turn[match[0]]:
            yield replaced(text, match, other)


def _upside_down(text: str) -> Iterable[str]:
    match = re.fullmatch(r"(-?)\\[dt]?frac\{(\d+)\}\{(\d+)\}", text)
    if match and match[2] != match[3] and match[2] != "0":
        yield rf"{match[1]}\frac{{{match[3]}}}{{{match[2]}}}"


def _point(text: str) -> Iterable[str]:
    """The point of a decimal one place on; a number that is 0 has none."""
    match = re.fullmatch(r"(-?)(\d+)\.(\d)(\d*)(\D*)", text)
    if match and match[2] + match[3] + match[4] != "0" * len(match[2] + match[3] + match[4]):
        yield f"{match[1]}{match[2]}{match[3]}.{match[4] or '0'}{match[5]}"


def _rounded(text: str) -> Iterable[str]:
    """A decimal that leaves a digit out, a fraction as a short decimal."""
    match = re.fullmatch(r"-?\d+\.\d*[1-9]", text)
    if match:
        yield text[:-1].rstrip(".")
    if text in (r"\frac{1}{3}", r"\frac13", r"\frac{2}{3}"):
        yield "0.33" if "1" in text else "0.67"


def _word(text: str) -> Iterable[str]:
    """Another word for the only one, or another letter of an option."""
    match = re.fullmatch(r"((?:\\(?:text|textbf|mbox|mathrm)\s*\{)?\s*\(?)([A-Za-z]{4,}|[A-E])(\)?\s*\}?)", text)
    if match:
        other = "purple" if len(match[2]) > 1 else "B" if match[2] == "A" else "A"
        if match[2].lower() != other:
            yield match[1] + other + match[3]


def _negated(text: str) -> Iterable[str]:
    if re.fullmatch(r"-?\d+|-?\\frac\{\d+\}\{\d+\}", text):
        yield rf"\text{{not }}{text}"


def _hedged(text: str) -> Iterable[str]:
    if re.fullmatch(r"-?\d+|-?\\frac\{\d+\}\{\d+\}|\(?-?\d+,\s*-?\d+\)?", text):
        yield rf"{text} \text{{ or }} 913"


MUTATIONS: tuple[Mutation, ...] = (
    Mutation("digit", _digits, inside=True),
    Mutation("one digit more", _digit_more, inside=True),
    Mutation("sign", _sign),
    Mutation("sign inside", _inner_sign, inside=True),
    Mutation("bracket", _bracket),
    Mutation("member dropped", _dropped),
    Mutation("member added", _added),
    Mutation("member repeated", _repeated),
    Mutation("order of a tuple", _swapped),
    Mutation("exponent", _exponent, inside=True),
    Mutation("label", _label),
    Mutation("letter", _letter),
    Mutation("unit", _unit),
    Mutation("relation", _relation),
    Mutation("upside down", _upside_down),
    Mutation("point moved", _point),
    Mutation("rounded", _rounded),
    Mutation("another word", _word),
    Mutation("not", _negated),
    Mutation("or another", _hedged),
)
