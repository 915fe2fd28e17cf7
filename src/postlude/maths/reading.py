"""The text of an answer -> its value: number, tuple, set, interval, matrix, equation, quantity or words."""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

from postlude.maths import relations
from postlude.maths.normalise import normalise
from postlude.maths.problems import Unsupported
from postlude.maths.ratios import number
from postlude.maths.relations import expression
from postlude.maths.scalars import scalar
from postlude.maths.tokens import FUNCTIONS, MAX_DIGITS, Token, change, cut, split
from postlude.maths.values import (
    Collection,
    Expression,
    Interval,
    Labelled,
    Listing,
    Matrix,
    Region,
    Relation,
    Series,
    Value,
    Words,
)  # fmt: skip

OR = frozenset({"or", "OR", "Or", r"\lor", r"\vee"})
_AND = frozenset({"and", "And", r"\land", r"\wedge", "&"})
_COMMA = _AND | {",", ";"}
_SIMPLE = re.compile(r"\s*([+-]?)(\d+(?:\.\d+)?|\.\d+)\s*(?:/\s*([1-9]\d*)\s*)?\.?\s*")
_WORDS = re.compile(r"[A-Za-z]['A-Za-z -]*[A-Za-z]")
_TEXT = re.compile(r"\\(?:text|mbox|textrm|textbf|textit|mathrm|textnormal|emph)\s*\{([^{}]*)\}")
_CHOICE = re.compile(r"(?:\\text(?:bf)?\s*\{\s*)?\(?([A-J])(?:[).:]\s*\}|[).:])\s*(\S.*)?")
"""An option's letter, maybe with what the option says."""
_ALIASES = {
    "dne": "does not exist", "doesn't exist": "does not exist", "limit does not exist": "does not exist",
    "the limit does not exist": "does not exist", "no solutions": "no solution", "no real solutions": "no solution",
    "no real solution": "no solution", "empty set": "no solution", "the empty set": "no solution",
    "all reals": "all real numbers", "all real number": "all real numbers",
}  # fmt: skip
_NUMBERS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
_NOT_WORDS = FUNCTIONS | {"pi", "infinity", "inf", "infty", "oo", "theta"}


def read(text: str) -> Value:
    """The value. Raises Unreadable: Unsupported, Undefined or Refused, with the reason."""
    found = _SIMPLE.fullmatch(text)
    return _simple(found) if found and len(text) < MAX_DIGITS else _read(text)


def _simple(found: re.Match[str]) -> Expression:
    """A plain number or fraction, which most answers are."""
    sign, digits, bottom = found.groups()
    value = Fraction(sign + digits)
    value = value / int(bottom) if bottom else value
    return Expression(["num", str(value)], number(value))


def _simple_number(value: int) -> Expression:
    return Expression(["num", str(value)], number(value))


@lru_cache(maxsize=4096)
def _read(text: str) -> Value:
    if len(text) > 200_000:
        raise Unsupported("more than 200,000 characters")
    clean = normalise(text)
    if not clean:
        raise Unsupported("it is empty")
    choice = _CHOICE.fullmatch(clean)
    if choice and not re.search(r"(?<![A-Za-z\\])[A-J](?![A-Za-z])|\bor\b", choice.group(2) or ""):
        return relations.of(["sym", choice.group(1)])
    return _words(clean) or _tokens(cut(clean))


def _words(text: str) -> Value | None:
    """Plain words; None where it is something else."""
    said = " ".join(_TEXT.sub(r" \1 ", text).replace("-", " ").split()).strip(" .!")
    if not _WORDS.fullmatch(said) or said.lower() in _NOT_WORDS or {*said.lower().split()} & {"or", "and"}:
        return None
    if said.lower() in _NUMBERS:
        return _simple_number(_NUMBERS.index(said.lower()))
    if all(len(w) == 1 for w in said.split()) or (len(said) == 2 and said.islower() and said not in ("no", "is")):
        return None  # letters that are multiplied
    if r"\text" not in text and any(w in FUNCTIONS for w in said.split()):
        return None
    return Words(_ALIASES.get(said.lower(), said.lower()))


def _tokens(tokens: list[Token]) -> Value:
    if not tokens:
        raise Unsupported("it is empty")
    if any(t.text in OR | _AND for t in tokens):  # ", and" is one separator
        following = [*(t.text for t in tokens[1:]), ""]
        tokens = [t for t, after in zip(tokens, following, strict=True) if t.text != "," or after not in OR | _AND]
    if tokens[0].text == r"\begin":
        return _matrix(tokens)
    for marks, build in ((OR, _alternatives), (frozenset({r"\cup"}), _union), (_COMMA, _listing)):
        parts, found = split(tokens, marks)
        if found:
            return build(_complete(parts))
    parts, found = split(tokens, frozenset({r"\in"}))
    if found:
        return _membership(parts)
    parts, found = split(tokens, relations.MARKS)
    if found:
        return relations.read(parts, found, _tokens)
    return _whole_bracket(tokens) or scalar(tokens)


def _complete(parts: list[list[Token]]) -> list[list[Token]]:
    """The parts of a list."""
    if not all(parts):
        raise Unsupported("a list with gaps")
    return parts


def _alternatives(parts: list[list[Token]]) -> Value:
    items = _items(parts)
    regions = [i for i in items if isinstance(i, Region)]
    if len(regions) == len(items) and len(items) > 1:
        return _joined(regions)
    return Listing(items, hedged=True) if len(items) != 1 else items[0]


def _listing(parts: list[list[Token]]) -> Value:
    items = _items(parts)
    return Listing(items) if len(items) != 1 else items[0]


def _items(parts: list[list[Token]]) -> tuple[Value, ...]:
    """The values of a list; in `x = 1, 2` the name holds for all that follow."""
    items: list[Value] = []
    for value in (_tokens(p) for p in parts):
        inner = list(value.items) if isinstance(value, Listing) else [value]
        items += inner
    first = items[0]
    if isinstance(first, Labelled) and not any(isinstance(i, Labelled | Relation | Region) for i in items[1:]):
        items[1:] = [Labelled(first.name, i) for i in items[1:]]
    return tuple(items)


def _union(parts: list[list[Token]]) -> Value:
    return _joined([as_region(_tokens(p)) for p in parts])


def _joined(regions: list[Region]) -> Region:
    names = {r.name for r in regions if r.name}
    if len(names) > 1:
        raise Unsupported("a union over several letters")
    return Region(tuple(i for r in regions for i in r.intervals), next(iter(names), None))


def as_region(value: Value) -> Region:
    """An interval written as a pair. Raises Unsupported for what is none."""
    if isinstance(value, Region):
        return value
    if isinstance(value, Series) and len(value.items) == 2 and value.opening in "([" and value.closing in ")]":
        low, high = value.items
        if isinstance(low, Expression) and isinstance(high, Expression):
            return Region((Interval(low, high, value.opening == "[", value.closing == "]"),))
    raise Unsupported("a union of other things than intervals")


def _membership(parts: list[list[Token]]) -> Value:
    name = relations.label(parts[0])
    if len(parts) != 2 or name is None:
        raise Unsupported(r"\in with other things than a letter before it")
    value = _tokens(parts[1])
    try:
        return Region(as_region(value).intervals, name)
    except Unsupported:
        return value


def _whole_bracket(tokens: list[Token]) -> Value | None:
    """What a bracket around everything means; None where there is none."""
    if len(tokens) < 2 or change(tokens[0]) != 1 or tokens[0].text in (r"\lfloor", r"\lceil"):
        return None
    depth = 0
    for token in tokens[:-1]:
        depth += change(token)
        if not depth:
            return None
    opening, closing, inside = tokens[0].text, tokens[-1].text, tokens[1:-1]
    if opening == r"\{" and closing == r"\}":
        return _set(inside)
    parts, found = split(inside, frozenset({",", ";"}))
    if not found:
        pair = (opening, closing)
        return _tokens(inside) if pair in (("(", ")"), ("{", "}"), ("[", "]")) and inside else None
    if opening == "{":
        return _tokens(inside)
    if not all(parts):
        raise Unsupported("a tuple with gaps")
    angled = (opening, closing) == (r"\langle", r"\rangle")
    items = tuple(_tokens(p) for p in parts)
    return Series(items, "(", ")") if angled else Series(items, opening, closing)


def _set(inside: list[Token]) -> Value:
    if not inside:
        return Words("no solution")
    for mark in (r"\mid", "|", ":"):
        parts, found = split(inside, frozenset({mark}))
        if len(found) == 1 and relations.label(parts[0][:1]) is not None:
            value = _tokens(parts[1])
            return value if isinstance(value, Region) else Collection((value,))
    parts, _ = split(inside, frozenset({",", ";"}))
    if not all(parts):
        raise Unsupported("a set with gaps")
    items: list[Value] = []
    for value in (_tokens(p) for p in parts):
        items += value.items if isinstance(value, Listing) else [value]
    return Collection(tuple(items))


def _matrix(tokens: list[Token]) -> Matrix:
    text = [t.text for t in tokens]
    kind = text[2] if len(text) > 2 else ""
    if kind not in ("matrix", "pmatrix", "bmatrix", "vmatrix", "Bmatrix", "array", "smallmatrix"):
        raise Unsupported(f"\\begin{{{kind}}}")
    end = max((i for i, t in enumerate(text) if t == r"\end"), default=0)
    start = text.index("}") + 1
    if kind == "array" and text[start : start + 1] == ["{"]:
        start += text[start:].index("}") + 1
    if text[end + 1 :] != ["{", kind, "}"] or r"\begin" in text[start:end]:
        raise Unsupported("something around a matrix")
    lines, _ = split(tokens[start:end], frozenset({"\\\\", r"\cr"}))
    rows = [tuple(expression(c) for c in split(line, frozenset("&"))[0]) for line in lines if line]
    if not rows or len({len(r) for r in rows}) != 1:
        raise Unsupported("a matrix with rows of different lengths")
    return Matrix(tuple(rows), kind == "vmatrix")
