"""The text of an answer -> its value: number, tuple, set, interval, matrix, equation, quantity or words."""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

from postlude.maths import lists, phrases, relations, signs
from postlude.maths.moments import date
from postlude.maths.names import label
from postlude.maths.normalise import normalise
from postlude.maths.problems import Unsupported
from postlude.maths.ratios import number
from postlude.maths.relations import expression
from postlude.maths.scalars import scalar
from postlude.maths.tokens import MAX_DIGITS, Token, change, cut, split
from postlude.maths.values import (
    Assignment,
    Collection,
    Expression,
    Interval,
    Labelled,
    Listing,
    Matrix,
    Option,
    Phrase,
    Region,
    Series,
    Value,
    Words,
)  # fmt: skip
from postlude.maths.wording import words

OR = frozenset({"or", "OR", "Or", r"\lor", r"\vee"})
_AND = frozenset({"and", "And", r"\land", r"\wedge", "&"})
_COMMA = _AND | {",", ";"}
_SIMPLE = re.compile(r"\s*([+-]?)(\d+(?:\.\d+)?|\.\d+)\s*(?:/\s*([1-9]\d*)\s*)?\.?\s*")
_TEXT = re.compile(r"\\(?:text|mbox|textrm|textbf|textit|mathrm|textnormal|emph)\s*\{([^{}]*)\}")
_CHOICE = re.compile(r"(?:\\text(?:bf)?\s*\{\s*)?\(?([A-J])(?:[).:]\s*\}|[).:])\s*(\S.*)?")
"""An option's letter, maybe with what the option says."""
_ANOTHER = re.compile(r"(?<![A-Za-z\\])(?:[A-J](?![A-Za-z])|[A-Z]\s*:)|\bor\b")
"""What says that a letter is no option: another one, or another label."""


def read(text: str) -> Value:
    """The value. Raises Unreadable: Unsupported, Undefined or Refused, with the reason."""
    found = _SIMPLE.fullmatch(text)
    return _simple(found) if found and len(text) < MAX_DIGITS else _read(text)


def _simple(found: re.Match[str]) -> Expression:
    """A plain number or fraction, which most answers are."""
    sign, digits, bottom = found.groups()
    if digits.isdigit():
        value = Fraction(int(sign + digits), int(bottom or 1))
    else:
        value = Fraction(sign + digits) / int(bottom or 1)
    return Expression(["num", str(value)], number(value))


@lru_cache(maxsize=4096)
def _read(text: str) -> Value:
    if len(text) > 200_000:
        raise Unsupported("more than 200,000 characters")
    clean = normalise(text)
    if not clean:
        raise Unsupported("it is empty")
    choice = _CHOICE.fullmatch(clean)
    if choice and not _ANOTHER.search(choice.group(2) or ""):
        return _option(choice.group(1), choice.group(2))
    return _inner(clean)


def _inner(clean: str) -> Value:
    value = date(clean) or words(clean)
    if value:
        return value
    tokens = cut(clean)
    try:
        return _tokens(tokens)
    except Unsupported:
        if any(t.text in OR for t in tokens) or not phrases.runs(tokens):
            raise
        clauses = [_clause(part) for part in _complete(split(tokens, _COMMA)[0])]
        return Listing(tuple(clauses)) if len(clauses) > 1 else clauses[0]


def _clause(tokens: list[Token]) -> Value:
    """One thing, or values with words around them."""
    runs = phrases.runs(tokens)
    if not runs:
        return _tokens(tokens)
    try:
        return _tokens(tokens)
    except Unsupported:
        return Phrase(tuple(Words(run) if isinstance(run, str) else _tokens(run) for run in runs))


def _option(letter: str, said: str | None) -> Value:
    """The letter alone, or with what it stands for: a value, or words."""
    if not said:
        return relations.of(["sym", letter])
    try:
        return Option(letter, _inner(said))
    except Unsupported:
        return Option(letter, Words(" ".join(_TEXT.sub(r" \1 ", said).split()).lower()))


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
    return _item(tokens)


def _item(tokens: list[Token]) -> Value:
    """One thing without commas outside of brackets; with \\pm it is several."""
    if signs.places(tokens) and not _is_whole(tokens, "{", "}"):
        return _signed(signs.expand(tokens))
    parts, found = split(tokens, frozenset({r"\in"}))
    if found:
        return _membership(parts)
    parts, found = split(tokens, relations.MARKS)
    if found:
        return relations.read(parts, found, _tokens)
    return _called(tokens) or _whole_bracket(tokens) or scalar(tokens)


def _signed(variants: list[list[Token]]) -> Value:
    """The different values of an item with signs."""
    values = {str(v): v for v in map(_item, variants)}
    if any(isinstance(v, Region) for v in values.values()):
        raise Unsupported("an inequality with two signs")
    items = lists.flat(list(values.values()))
    return Listing(items) if len(items) != 1 else items[0]


def _called(tokens: list[Token]) -> Value | None:
    """`radius: 5`, or the point A(1, 2); None where no name begins it."""
    parts, found = split(tokens, frozenset({":"}))
    if len(found) == 1 and parts[1]:
        called = label(parts[0])
        if called and (parts[1][0].spaced or parts[0][-1].kind in ("word", "text")):
            return Labelled(called, _item(parts[1]))
    return None if _is_count(tokens) else _point(tokens)


def _point(tokens: list[Token]) -> Labelled | None:
    """A(1, 2)."""
    place = next((i for i, t in enumerate(tokens) if t.text == "("), 0)
    called = label(tokens[:place]) if place else None
    if not called or not called[0].isupper() or not _is_whole(tokens[place:], "(", ")"):
        return None
    value = _whole_bracket(tokens[place:])
    return Labelled(called, value) if isinstance(value, Series) else None


def _is_count(tokens: list[Token]) -> bool:
    """C(5, 2) and P(5, 2), which are numbers unless they stand among points."""
    texts = [t.text for t in tokens]
    if texts[0] not in ("C", "P") or len(texts) != 6:
        return False
    if texts[2] in ("n", "m", "N"):
        return True
    return texts[2].isdigit() and texts[4].isdigit() and int(texts[2][:9]) >= int(texts[4][:9])


def _complete(parts: list[list[Token]]) -> list[list[Token]]:
    """The parts of a list."""
    if not all(parts):
        raise Unsupported("a list with gaps")
    return parts


def _alternatives(parts: list[list[Token]]) -> Value:
    items = lists.joined([_tokens(p) for p in parts])
    regions = [i for i in items if isinstance(i, Region)]
    if len(regions) == len(items) and len(items) > 1:
        return _joined(regions)
    return Listing(items, hedged=True) if len(items) != 1 else items[0]


def _listing(parts: list[list[Token]]) -> Value:
    points = [_point(p) for p in parts]
    at = [len(signs.places(p)) for p in parts]
    if sum(at) == 1 or any(t.text == r"\mp" for p in parts for t in p):
        solutions = _solutions(parts)
        if solutions is not None:
            return solutions
    items = lists.joined([p for p in points if p] if all(points) else [_tokens(p) for p in parts])
    return Listing(items) if len(items) != 1 else items[0]


def _solutions(parts: list[list[Token]]) -> Listing | None:
    """x = 2, y = \\pm 3 is two solutions; None where the parts are not values of different names."""
    called = [label(split(p, frozenset({"="}))[0][0]) for p in parts]
    if len(parts) < 2 or None in called or len(set(called)) != len(called):
        return None
    comma = Token("mark", ",")
    whole = [t for p in parts for t in (*p, comma)][:-1]
    items = lists.joined([_tokens(variant) for variant in signs.expand(whole)])
    return Listing(items)


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
    name = label(parts[0])
    if len(parts) != 2 or name is None:
        raise Unsupported(r"\in with other things than a letter before it")
    value = _tokens(parts[1])
    try:
        return Region(as_region(value).intervals, name)
    except Unsupported:
        return value


def _is_whole(tokens: list[Token], opening: str, closing: str) -> bool:
    """Whether a bracket of that kind is around all of the tokens."""
    if len(tokens) < 2 or (tokens[0].text, tokens[-1].text) != (opening, closing):
        return False
    depth = 0
    for token in tokens[:-1]:
        depth += change(token)
        if not depth:
            return False
    return True


def _whole_bracket(tokens: list[Token]) -> Value | None:
    """What a bracket around everything means; None where there is none."""
    opening, closing, inside = tokens[0].text, tokens[-1].text, tokens[1:-1]
    if change(tokens[0]) != 1 or opening in (r"\lfloor", r"\lceil") or not _is_whole(tokens, opening, closing):
        return None
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
    whole = lists.joined(items)
    if isinstance(whole[0], Assignment) and len(whole) == 1:  # [x = 1, y = 2]
        return whole[0]
    if len(items) != 2 and (opening in "([") and (opening == "(") != (closing == ")"):
        raise Unsupported("a tuple in brackets of two kinds")
    if any(isinstance(i, Listing) for i in items):
        raise Unsupported("a list inside a tuple")
    return Series(items, "(", ")") if angled else Series(items, opening, closing)


def _set(inside: list[Token]) -> Value:
    if not inside:
        return Words("no solution")
    for mark in (r"\mid", "|", ":"):
        parts, found = split(inside, frozenset({mark}))
        if len(found) == 1 and label(parts[0][:1]) is not None:
            value = _tokens(parts[1])
            return value if isinstance(value, Region) else Collection((value,))
    parts, _ = split(inside, frozenset({",", ";"}))
    if not all(parts):
        raise Unsupported("a set with gaps")
    items = lists.joined([_tokens(p) for p in parts])
    return items[0] if len(items) == 1 and isinstance(items[0], Assignment) else Collection(items)


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
