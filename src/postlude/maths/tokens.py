"""A normalised answer cut into tokens."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from postlude.maths.problems import Refused, Unsupported
from postlude.maths.texts import TEXTS
from postlude.maths.unit_table import KNOWN

Kind = Literal["number", "letter", "command", "word", "text", "mark", "block"]

MAX_LENGTH = 2000
MAX_NESTING = 40
MAX_DIGITS = 1000
FUNCTIONS = {
    "sin", "cos", "tan", "cot", "sec", "csc", "sinh", "cosh", "tanh", "arcsin", "arccos", "arctan", "arccot", "arcsec",
    "arccsc", "ln", "log", "lg", "exp", "sqrt", "cbrt", "sech", "csch", "coth", "arsinh", "arcosh", "artanh", "arcsinh",
    "arccosh", "arctanh", "asin", "acos", "atan", "cosec", "arctg", "arcctg", "cis", "gcd", "lcm",
}  # fmt: skip
"""Names that are functions also without a backslash."""
_OTHER = {"pi": "pi", "infty": "infty", "infinity": "infty", "inf": "infty", "oo": "infty", "theta": "theta"}
_SHORT = {"or", "if", "is", "no", "to", "in", "of", "at", "by", "cm", "mm", "km", "kg", "mg", "ft"}
"""Words of two letters; other pairs of letters are a product."""
_TOKEN = re.compile(
    r"(?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|\.\d+)"
    rf"|(?P<text>(?:{TEXTS}|\\operatorname)\s*\*?\s*\{{)"
    r"|(?P<command>\\[A-Za-z]+)|(?P<escape>\\.)|(?P<space>\s+|(?:np|numpy|math|sympy)\.(?=[a-z]))"
    r"|(?P<letters>[A-Za-z]+(?:'[A-Za-z]+)?)|(?P<mark>.)",
    re.DOTALL,
)
_PREFIXED = re.compile(r"(?<![\w.])0(?:[xX][\dA-Fa-f]|[bB][01]|[oO][0-7])")
_WORDS = re.compile(r"[A-Za-z](?:[A-Za-z\s'./²³^-]*[A-Za-z.²³])?")
_JOINED = re.compile(r"\s(?:or|and)\s|^(?:or|and)\s|\s(?:or|and)$")
_PRODUCT = re.compile(r"[u-z]{3,5}|(?=[A-Za-z]{3,5}$)[a-z]+[A-Z]+[a-z]*")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
OPEN = frozenset({"(", "[", "{", r"\{", r"\langle", r"\lfloor", r"\lceil"})
CLOSE = frozenset({")", "]", "}", r"\}", r"\rangle", r"\rfloor", r"\rceil"})


@dataclass(frozen=True, slots=True)
class Token:
    """A number is digits; a letter one letter; a word several; text what stood in \\text{}; a mark anything else."""

    kind: Kind
    text: str
    spaced: bool = False
    """Whether a space is before it."""
    inside: tuple[Token, ...] = ()
    """Of a block (an environment such as a matrix, whose name is the text): its tokens."""


def cut(text: str) -> list[Token]:
    """Raises Refused beyond the limits of length, nesting and digits, Unsupported where a bracket has no partner."""
    check_length(text)
    if "0" in text and _PREFIXED.search(text):
        raise Unsupported("a number as programs write it in another base")
    found = _cut(text)
    _check_nesting(found)
    return found


def check_length(text: str) -> None:
    """Raises Refused for what is too long to be an answer: first of all, since much takes the square of a length."""
    if len(text) > MAX_LENGTH:
        raise Refused(f"more than {MAX_LENGTH:,} characters, the most that an answer may have")


def _cut(text: str, depth: int = 0) -> list[Token]:
    found: list[Token] = []
    place, spaced = 0, False
    while place < len(text):
        match = _TOKEN.match(text, place)
        assert match  # the last alternative takes any character
        kind, end = match.lastgroup or "", match.end()
        if kind == "text":
            end = closing(text, end)
            content = text[match.end() : end - 1].strip()
            unit = content in KNOWN and not text[end:].strip(" .,;/") and place > 0
            found += [Token("text", content, True)] if unit else _text(content, spaced, depth)
        elif kind != "space":
            bare = kind == "letters" and spaced and _is_bare_unit(match.group(), text[end:], found[-1:])
            found += [Token("text", match.group(), True)] if bare else _token(kind, match.group(), spaced)
        spaced, place = kind == "space", end
    return found


def _is_bare_unit(letters: str, rest: str, before: list[Token]) -> bool:
    """Whether one or two letters are a unit: behind a number, and before another one or, if two, at the end."""
    if len(letters) > 2 or letters not in KNOWN or not before or before[0].kind != "number":
        return False
    rest = rest.lstrip()
    return rest[:1].isdigit() or (len(letters) == 2 and (not rest or rest[0] in "/,;" or rest.startswith("per ")))


def _token(kind: str, text: str, spaced: bool) -> list[Token]:
    if kind == "number":
        if len(text) > MAX_DIGITS:
            raise Refused(f"a number of more than {MAX_DIGITS:,} digits")
        return [Token("number", text, spaced)]
    if kind == "letters":
        return _letters(text, spaced)
    if kind == "command" and text not in OPEN | CLOSE:
        return [Token("command", text, spaced)]
    return [Token("mark", text, spaced)]


def is_product(letters: str) -> bool:
    """Whether three letters or more are no word but multiplied: names of unknowns, or capitals after a small letter."""
    return bool(_PRODUCT.fullmatch(letters)) and letters not in KNOWN and letters not in ("nCr", "nPr")


def _letters(text: str, spaced: bool) -> list[Token]:
    """A run of letters: a function's name, a word of three or more letters, or letters that are multiplied."""
    if text in FUNCTIONS or text in _OTHER:
        return [Token("command", "\\" + _OTHER.get(text, text), spaced)]
    if len(text) == 1:
        return [Token("letter", text, spaced)]
    if (len(text) > 2 and not is_product(text)) or text.lower() in _SHORT:
        return [Token("word", text, spaced)]
    return [Token("letter", c, spaced and i == 0) for i, c in enumerate(text)]


def _text(content: str, spaced: bool, depth: int) -> list[Token]:
    """Words stay text; anything else is read as if it stood outside."""
    if content in FUNCTIONS or content in ("tg", "ctg"):
        return [Token("command", "\\" + content, spaced)]
    if _WORDS.fullmatch(content) and not _JOINED.search(content):
        return [Token("text", content, True)]
    if depth > MAX_NESTING:
        raise Refused(f"more than {MAX_NESTING} brackets in each other")
    return _cut(content, depth + 1)


def closing(text: str, place: int) -> int:
    """Just after the brace that closes one before `place`. Raises Unsupported where there is none."""
    depth = 1
    for match in _BRACE.finditer(text, place):
        depth += {"{": 1, "}": -1}.get(match.group(), 0)
        if not depth:
            return match.end()
    raise Unsupported("a brace that is not closed")


def _check_nesting(tokens: list[Token]) -> None:
    depth = deepest = 0
    for token in tokens:
        depth += change(token)
        deepest = max(deepest, depth)
        if depth < 0:
            raise Unsupported("a bracket that was not opened")
    if depth:
        raise Unsupported("a bracket that is not closed")
    if deepest > MAX_NESTING:
        raise Refused(f"more than {MAX_NESTING} brackets in each other")


def change(token: Token) -> int:
    """1 for a bracket that opens, -1 for one that closes, else 0."""
    if token.kind != "mark":
        return 0
    return (token.text in OPEN) - (token.text in CLOSE)


def split(tokens: list[Token], marks: frozenset[str]) -> tuple[list[list[Token]], list[Token]]:
    """The parts between marks outside all brackets, and those marks."""
    parts: list[list[Token]] = [[]]
    found: list[Token] = []
    depth = 0
    for token in tokens:
        depth += change(token)
        if depth == 0 and token.text in marks:
            found.append(token)
            parts.append([])
        else:
            parts[-1].append(token)
    return parts, found


def is_whole(tokens: list[Token], opening: str, closing: str) -> bool:
    """Whether a bracket of that kind is around all of the tokens."""
    if len(tokens) < 2 or (tokens[0].text, tokens[-1].text) != (opening, closing):
        return False
    depth = 0
    for token in tokens[:-1]:
        depth += change(token)
        if not depth:
            return False
    return True
