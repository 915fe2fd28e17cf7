"""The text of an answer -> its value: number, tuple, set, interval, matrix, equation, quantity or words."""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

from postlude.maths import blocks, lists, meanings, phrases, regions, relations, sets, signs, spellings
from postlude.maths.compare import Comparison
from postlude.maths.moments import date
from postlude.maths.names import label
from postlude.maths.normalise import bounded, normalise
from postlude.maths.problems import Refused, Unsupported
from postlude.maths.ratios import number
from postlude.maths.scalars import scalar
from postlude.maths.terms import Read, expression, of
from postlude.maths.texts import TEXT, TEXTS
from postlude.maths.tokens import MAX_DIGITS, Token, change, cut, is_whole, split
from postlude.maths.values import (
    Assignment,
    Collection,
    Elided,
    Expression,
    Family,
    Labelled,
    Listing,
    Option,
    Phrase,
    Region,
    Residue,
    Series,
    Value,
    Words,
)  # fmt: skip

OR = frozenset({"or", "OR", "Or", r"\lor", r"\vee"})
_AND = frozenset({"and", "And", r"\land", r"\wedge", "&"})
_COMMA = _AND | {",", ";", "\\\\"}
_COLON = frozenset({":"})
_BEGIN_SET = ("(", "[", r"\{", "ℝ", r"\emptyset")
_MOD = (r"\pmod", r"\mod", r"\bmod", "mod")
_SIMPLE = re.compile(r"\s*([+-]?)(\d+(?:\.\d+)?|\.\d+)\s*(?:/\s*([1-9]\d*)\s*)?\.?\s*")
_CHOICE = re.compile(rf"(?:{TEXTS}\s*\{{\s*)?\(?([A-J])(?:[).:]\s*\}}|[).:])\s*(\S.*)?")
"""An option's letter, maybe with what the option says."""
_ANOTHER = re.compile(
    r"(?<![A-Za-z\\])(?:[A-J](?![A-Za-z])|[A-Z]\s*:)|\bor\b|^(?:is|was|are|wrong|incorrect|untrue|rejected|excluded|not)\b"
)
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
    clean = normalise(spellings.one_line(bounded(text)))
    if not clean:
        raise Unsupported("it is empty")
    choice = _CHOICE.fullmatch(clean)
    try:
        if choice and not _ANOTHER.search(choice.group(2) or ""):
            return _option(choice.group(1), choice.group(2))
        return _inner(clean)
    except RecursionError as error:
        raise Refused("operations that are nested too deeply") from error


def _inner(clean: str) -> Value:
    value = date(clean) or meanings.words(clean)
    if value:
        return value
    tokens = blocks.collapsed(cut(spellings.spelled(clean)))
    try:
        return _tokens(tokens)
    except Unsupported:
        if any(t.text in OR for t in tokens) or not phrases.runs(tokens):
            raise
        clauses = [_clause(part) for part in _complete(split(tokens, _COMMA)[0])]
        if not any(isinstance(c, Phrase) for c in clauses):
            raise
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
        return of(["sym", letter])
    try:
        return Option(letter, _inner(said))
    except Unsupported:
        return Option(letter, Words(" ".join(TEXT.sub(r" \1 ", said).split()).lower()))


def _tokens(tokens: list[Token]) -> Value:
    if not tokens:
        raise Unsupported("it is empty")
    if any(t.text in OR | _AND for t in tokens):  # ", and" is one separator
        following = [*(t.text for t in tokens[1:]), ""]
        tokens = [t for t, after in zip(tokens, following, strict=True) if t.text != "," or after not in OR | _AND]
    parts, marks = split(tokens, _COLON)
    if len(marks) == 1 and all(parts) and (value := _spelled_twice(*parts)) is not None:
        return value
    parts, marks = split(tokens, OR)
    if marks:
        return _alternatives(_complete(parts))
    parts, marks = split(tokens, _COMMA)
    if marks:
        return _listing(_complete(parts), strict=any(m.text in _AND for m in marks))
    return _item(tokens)


def _item(tokens: list[Token]) -> Value:
    """One thing without commas outside of brackets; with \\pm it is several."""
    if signs.places(tokens) and not is_whole(tokens, "{", "}"):
        return _signed(signs.expand(tokens), any(t.text == r"\ne" for t in tokens))
    for read_as in (sets.operated, sets.membership, _related):
        value = read_as(tokens, _tokens)
        if value is not None:
            return value
    value = _residue(tokens) or blocks.read(tokens, _tokens) or _called(tokens) or _whole_bracket(tokens)
    value = value or _said(tokens) or scalar(tokens)
    return meanings.meaning(value.text) if isinstance(value, Words) else value


def _said(tokens: list[Token]) -> Value | None:
    """Words that are not in one piece of text."""
    plain = len(tokens) > 1 and all(t.kind in ("word", "text") or t.text in (".", "!") for t in tokens)
    return meanings.words(" ".join(t.text for t in tokens)) if plain else None


def _related(tokens: list[Token], inner: Read) -> Value | None:
    parts, marks = split(tokens, relations.MARKS)
    if not marks:
        return None
    residue = _residue(tokens)
    return residue if residue is not None else relations.read(parts, marks, inner)


def _signed(variants: list[list[Token]], excluded: bool) -> Value:
    """The different values of an item with signs."""
    values = {str(v): v for v in map(_item, variants)}
    found = [v for v in values.values() if isinstance(v, Region)]
    if found and excluded:  # x \ne \pm 2 is neither
        return regions.simplest(regions.meet(found))
    if found:
        raise Unsupported("an inequality with two signs")
    items = lists.flat(list(values.values()))
    return Listing(items) if len(items) != 1 else items[0]


def _residue(tokens: list[Token]) -> Value | None:
    """3 \\pmod 7, x \\equiv 3 (mod 7); None where no modulus ends it."""
    place = next((i for i, t in enumerate(tokens) if i and t.text in _MOD), 0)
    bracketed = place > 1 and tokens[place - 1].text == "(" and tokens[-1].text == ")"
    if not place or not (bracketed or tokens[place].text == r"\pmod"):
        return None
    modulus = expression(tokens[place + 1 : -1] if bracketed else tokens[place + 1 :])
    parts, marks = split(tokens[: place - bracketed], frozenset({"=", r"\equiv"}))
    residue = Residue(expression(parts[-1]), modulus)
    called = label(parts[0]) if len(parts) == 2 else None
    if marks and called is None:
        raise Unsupported("a congruence that is not solved")
    return Labelled(called, residue) if called else residue


def _called(tokens: list[Token]) -> Value | None:
    """`radius: 5`, or the point A(1, 2); None where it is nothing of that kind."""
    parts, found = split(tokens, _COLON)
    if len(found) == 1 and all(parts):
        called = label(parts[0])
        if called and (parts[1][0].spaced or parts[0][-1].kind in ("word", "text")):
            return Labelled(called, _item(parts[1]))
    return None if _is_count(tokens) else _point(tokens)


def _spelled_twice(first: list[Token], second: list[Token]) -> Value | None:
    """`x < 2 : (-\\infty, 2)`, a set in two spellings; None where it is something else."""
    if second[0].text not in _BEGIN_SET:
        return None
    called = meanings.meaning(" ".join(t.text for t in first)) if label(first) else None
    if isinstance(called, Words) and called != regions.NOTHING:
        return None
    value = called or _tokens(first)
    try:
        regions.of_value(value)
    except Unsupported:
        return None
    return _twice(value, _tokens(second))


def _twice(first: Value, second: Value) -> Value:
    """A value in two spellings, which must be the same."""
    if Comparison().same(first, second) is not True:
        raise Unsupported("two spellings that differ")
    return first


def _point(tokens: list[Token]) -> Labelled | None:
    """A(1, 2)."""
    place = next((i for i, t in enumerate(tokens) if t.text == "("), 0)
    called = label(tokens[:place]) if place else None
    if not called or not called[0].isupper() or not is_whole(tokens[place:], "(", ")"):
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
    values = [_tokens(p) for p in parts]
    if sum(isinstance(v, Listing) and isinstance(v.items[0], Series) for v in values) > 1:
        raise Unsupported('"or" between two lists of points')
    items = lists.joined(values)
    if isinstance(items[-1], Family):  # the condition behind the last holds for all
        return Family((*items[:-1], *items[-1].items), items[-1].domains)
    if len(items) > 1 and any(isinstance(i, Region) for i in items):
        return regions.simplest(regions.union([regions.of_value(i) for i in items]))
    return Listing(items, hedged=True) if len(items) != 1 else items[0]


def _listing(parts: list[list[Token]], strict: bool) -> Value:
    """`strict`: joined by "and"."""
    points = [_point(p) for p in parts]
    at = [len(signs.places(p)) for p in parts]
    if sum(at) == 1 or any(t.text == r"\mp" for p in parts for t in p):
        solutions = _solutions(parts)
        if solutions is not None:
            return solutions
    parts = lists.shared(lists.dotted(parts))
    values = (
        [p for p in points if p] if all(points) else [lists.DOTS if lists.is_dots(p) else _tokens(p) for p in parts]
    )
    braced = any(p[0].text == r"\{" for p in parts)
    return _list(lists.joined(values), strict, braced)


def _list(items: tuple[Value, ...], strict: bool, braced: bool) -> Value:
    """`braced`: one of them is a set in braces, which says all of it: it is no condition beside others."""
    if len(items) == 1:
        return items[0]
    whole = sets.family(items) or (None if braced else sets.conjunction(items, strict))
    if whole is not None:
        return whole
    items = lists.filled(items)
    return Elided(items) if lists.DOTS in items else Listing(items)


def _solutions(parts: list[list[Token]]) -> Listing | None:
    """x = 2, y = \\pm 3 is two solutions; None where the parts are not values of different names."""
    called = [label(split(p, frozenset({"="}))[0][0]) for p in parts]
    if len(parts) < 2 or None in called or len(set(called)) != len(called):
        return None
    comma = Token("mark", ",")
    whole = [t for p in parts for t in (*p, comma)][:-1]
    items = lists.joined([_tokens(variant) for variant in signs.expand(whole)])
    return Listing(items)


def _whole_bracket(tokens: list[Token]) -> Value | None:
    """What a bracket around everything means; None where there is none."""
    opening, closing, inside = tokens[0].text, tokens[-1].text, tokens[1:-1]
    if change(tokens[0]) != 1 or opening in (r"\lfloor", r"\lceil") or not is_whole(tokens, opening, closing):
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
        return regions.NOTHING
    built = sets.builder(inside, _tokens)
    if built is not None:
        return built
    parts, marks = split(inside, _COMMA)
    value = _listing(_complete(parts), strict=False) if marks else _tokens(inside)
    if isinstance(value, Listing):
        return Collection(value.items)
    return value if isinstance(value, Assignment | Elided | Family | Region) else Collection((value,))
