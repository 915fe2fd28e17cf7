"""What an answer is called: the name left of `=` or `:`, or before a point, in one spelling.

A name is a letter (`x`, `\\theta`, `a_{n}`, `\\bar{x}`, `y'`), letters of points (`AB`, `A_1B_1`), either with
arguments (`f(x)`, `P(X=4)`), words, or what is said of names: `|AB|`, `\\angle ABC`, `\\frac{NO}{BO}`, `\\cos\\theta`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from postlude.maths.cursor import Cursor
from postlude.maths.grammar import parse
from postlude.maths.problems import Unreadable, Unsupported
from postlude.maths.symbols import ACCENTS, LETTERLIKE, accented, letterlike, named
from postlude.maths.tokens import FUNCTIONS, Token, change

_FIGURES = {r"\angle": "angle", r"\triangle": "triangle", r"\measuredangle": "angle"}
_CALLED = re.compile(r"(.+)\(([A-Za-z](?:,[A-Za-z])*)\)")


@dataclass(frozen=True)
class Name:
    """`weak`: it may also be an expression, such as cos x, and is a name only before a number."""

    text: str
    weak: bool = False


def label(tokens: list[Token]) -> str | None:
    """The text of a name that is no expression; None where there is none."""
    found = name(tokens)
    return found.text if found and not found.weak else None


def name(tokens: list[Token]) -> Name | None:
    """The name that all of the tokens are; None where they are something else."""
    if not tokens:
        return None
    if all(t.kind in ("word", "text") and (len(t.text) > 1 or len(tokens) > 1) for t in tokens):
        if tokens[0].text in LETTERLIKE:  # lambda: 7 is a program, not a label
            return None
        return Name(" ".join(t.text for t in tokens).lower())
    return _figure(tokens) or _derivative(tokens) or _quotient(tokens) or _applied(tokens) or _plain(tokens)


def parameters(called: str) -> tuple[str, tuple[str, ...]]:
    """f(x, y) -> f, (x, y); a name without letters in brackets has none."""
    found = _CALLED.fullmatch(called)
    return (found.group(1), tuple(found.group(2).split(","))) if found else (called, ())


def _figure(tokens: list[Token]) -> Name | None:
    """|AB|, \\angle ABC, m\\angle A."""
    texts = [t.text for t in tokens]
    if texts[0] == "|" and texts[-1] == "|" and len(texts) > 2:
        inner = _plain(tokens[1:-1])
        return Name(f"|{inner.text}|") if inner else None
    if texts[0] == "m" and len(texts) > 1 and texts[1] in _FIGURES:
        return _figure(tokens[1:])
    if texts[0] in _FIGURES and len(texts) > 1:
        try:
            tree = parse(tokens)
        except Unreadable:
            tree = []
        if tree[:1] == ["sym"]:
            return Name(tree[1])
        inner = _plain(tokens[1:])
        return Name(f"{_FIGURES[texts[0]]} {inner.text}") if inner else None
    return None


def _derivative(tokens: list[Token]) -> Name | None:
    """\\frac{dy}{dx}, f'(x)."""
    texts = [t.text for t in tokens]
    if texts[0] not in ("d", r"\partial", r"\frac", r"\dot", r"\ddot") and not {"'", r"\prime"} & {*texts}:
        return None
    try:
        tree = parse(tokens)
    except Unreadable:
        return None
    return Name(tree[1]) if tree[0] == "sym" and "/" in tree[1] else None


def _quotient(tokens: list[Token]) -> Name | None:
    """\\frac{AB}{CD}, AB:CD, AB/CD: of names in capitals, since y/x is a term with letters."""
    if tokens[0].text == r"\frac":
        top, after = _group(tokens, 1)
        bottom, end = _group(tokens, after)
        parts = [top, bottom] if end == len(tokens) else []
    else:
        place = next((i for i, t in enumerate(tokens) if t.text in ":/"), 0)
        parts = [tokens[:place], tokens[place + 1 :]] if place else []
    names = [_plain(p) for p in parts if p]
    if len(names) != 2 or not all(n and n.text[0].isupper() for n in names):
        return None
    return Name("/".join(n.text for n in names if n), weak=True)


def _applied(tokens: list[Token]) -> Name | None:
    """\\cos\\theta, \\tan(A)."""
    if tokens[0].text[:1] != "\\" or tokens[0].text[1:] not in FUNCTIONS - {"sqrt"}:
        return None
    inner = tokens[2:-1] if [t.text for t in (*tokens[1:2], tokens[-1])] == ["(", ")"] else tokens[1:]
    found = _figure(inner) or _plain(inner) if inner else None
    return Name(f"{tokens[0].text[1:]} {found.text}", weak=True) if found else None


def _plain(tokens: list[Token]) -> Name | None:
    """One letter, or several in capitals, with subscripts and primes, and maybe arguments in brackets."""
    text, place, count = "", 0, 0
    while place < len(tokens) and (found := _letter(tokens, place)):
        if count and not (found[0][0].isupper() and text[0].isupper()):
            return None
        text, place, count = text + found[0], found[1], count + 1
    if not count:
        return None
    if place < len(tokens):
        arguments = _arguments(tokens[place:], text)
        return Name(text + arguments) if arguments and count == 1 else None
    return Name(text)


def _letter(tokens: list[Token], place: int) -> tuple[str, int] | None:
    """A letter with what is written at it, and the place after that."""
    token, cursor = tokens[place], Cursor(tokens)
    cursor.place = place + 1
    if token.text[1:] in ACCENTS:
        inner = _plain(cursor.group()) if cursor.next else None
        if inner is None:
            return None
        text = accented(ACCENTS[token.text[1:]], [inner.text])
    elif token.text == "{" and cursor.peek(1).text == "}" and cursor.peek().kind == "letter":  # left of \mathbf{u}
        text = cursor.take().text
        cursor.place += 1
    elif _begins(token, place):
        text = token.text
    elif _greek(token):
        text = letterlike(token.text[1:])
    else:
        return None
    try:
        text = named(cursor, text)
    except Unsupported:
        return None
    if [t.text for t in tokens[cursor.place : cursor.place + 5]] == ["^", "{", "-", "1", "}"]:
        text, cursor.place = text + "^{-1}", cursor.place + 5
    return None if cursor.peek().text in ("^", "_") else (text, cursor.place)


def _begins(token: Token, place: int) -> bool:
    """A letter, letters of points (which may be cut as a word), or words with a subscript."""
    if token.kind == "word":
        return token.text.isupper()
    return token.kind in ("letter", "text") and token.text[:1].isalpha() and (len(token.text) == 1 or not place)


def _group(tokens: list[Token], place: int) -> tuple[list[Token], int]:
    """The tokens of a group in braces, or the one token there, and the place after it."""
    if place >= len(tokens) or tokens[place].text != "{":
        return tokens[place : place + 1], place + 1
    depth = 0
    for end in range(place, len(tokens)):
        depth += change(tokens[end])
        if not depth:
            return tokens[place + 1 : end], end + 1
    return [], len(tokens)


def _arguments(tokens: list[Token], head: str) -> str | None:
    """(x), (x, y), (2); of the letters that functions have also (X = 4)."""
    texts = [t.text for t in tokens]
    if texts[0] != "(" or texts[-1] != ")" or len(texts) < 3 or "(" in texts[1:-1]:
        return None
    simple = all(t.kind in ("letter", "number") or t.text == "," or _greek(t) for t in tokens[1:-1])
    if len([t for t in texts[1:-1] if t != ","]) != texts.count(",") + 1:
        simple = False
    return "".join(texts) if simple or head[0] in "fghFGHPEV" else None


def _greek(token: Token) -> bool:
    return token.kind == "command" and token.text[1:] in LETTERLIKE
