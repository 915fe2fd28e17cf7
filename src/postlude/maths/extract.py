"""Where in a response the answer stands. Rules are tried in order; the first that finds something decides."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from postlude.maths.problems import Unsupported
from postlude.maths.tokens import closing as closing_brace

NEAR = 200
"""Characters at the end of a response in which two different answers make it ambiguous."""


@dataclass(frozen=True)
class Extraction:
    """What a rule found: `text` is the answer, `others` what competes with it.

    Without an answer `text` is None and `rule` says why.
    """

    text: str | None
    rule: str
    others: tuple[str, ...] = ()
    hedged: bool = False


_THOUGHT = re.compile(r"</\s*(?:think|thinking|thought|reasoning)\s*>", re.IGNORECASE)
_THINKING = re.compile(r"<\s*(?:think|thinking|thought|reasoning)\s*>", re.IGNORECASE)
_BOX = re.compile(r"\\(?:boxed|fbox)\s*(?:(\{)|(-?[A-Za-z0-9.]+)(?=[\s$.,]|$))")
_REVISED = re.compile(
    r"\b(?:no|wait|actually|finally|final|instead|mistake|wrong|incorrect|sorry|rather|oops|correct(?:ed|ion|ing)?"
    r"|scratch|should be|re-?check(?:ing|ed)?|redo|revised?)\b",
    re.IGNORECASE,
)
_OR_BEFORE = re.compile(
    r"(?:[\d$})]\s*,?\s*\bor|\bnot(?:\s+be|\s+equal to)?|n't(?:\s+be)?|rather than|instead of|never)\s*[$(\s*\\\[]*$",
    re.IGNORECASE,
)
_OR_AFTER = re.compile(r"[\s$.,)*\]]*\bor\s+(?:maybe\s|perhaps\s|possibly\s|else\s)?\s*[$(]*\s*(?:-?\d|\\(?!text))")
_STATED = re.compile(
    r"(?<!wrong )(?<!incorrect )\b(?:final\s+)?(?:answer|result)\s*(?:\([^()]{0,40}\)\s*)?(?:[*_]{1,3}\s*)?"
    r"(?::|=|\bis\s*:|\bis\b|\bwould\s+be\b|\bmust\s+be\b|\bequals\b)\s*(?:[*_]{1,3}\s*)?",
    re.IGNORECASE,
)
_ENDS = re.compile(
    r"\n|(?<![\d\s.])\.(?=\s|$)|(?<=\d)\.(?=\s|$)|[!?](?=\s|$)(?<=\s.)|<\||</"
    r"|,?\s+(?:because|since|which|where|so that|as we|therefore|thus|hence|after|if|when)\b"
    r"|,\s+(?:so|as|not|and not)\b"
)
_MATH = (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"))
_NUMBER = re.compile(r"(?<![\w.])[-−]?\$?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?(?:/\d+)?%?(?![\w])")
_DENIED = re.compile(r"\b(?:not|isn't|never|cannot|can't|wrong|incorrect|don't)\b[^.\n]{0,60}$", re.IGNORECASE)


def extract(response: str, rules: Sequence[str] = ("box", "hashes", "stated", "math", "whole")) -> Extraction:
    """The answer of a response, read after its last closing thinking tag. `rules`: names of RULES, in order."""
    text = response[_last_end(_THOUGHT, response) :]
    opened = _THINKING.search(text)
    if opened:
        text = text[: opened.start()]
        if not text.strip():
            return Extraction(None, "still thinking")
    for name in rules:
        found = RULES[name](text)
        if found is not None:
            return found
    return Extraction(None, "no answer found" if text.strip() else "empty response")


def _last_end(pattern: re.Pattern[str], text: str) -> int:
    end = 0
    for match in pattern.finditer(text):
        end = match.end()
    return end


def _box(text: str) -> Extraction | None:
    """The last box; boxes near the end compete with it, unless words between them take the earlier ones back."""
    starts = list(_BOX.finditer(text))
    if not starts:
        return None
    spans = [(m.start(), *_inside(text, m)) for m in starts if m.start() >= len(text) - NEAR or m is starts[-1]]
    begin, last, end = spans[-1]
    if last is None:
        return Extraction(None, "box that is not closed")
    if not last.strip(" $\n"):
        return Extraction(None, "empty box")
    others = [other for b, other, e in _standing(text, spans) if other is not None and e <= begin]
    hedged = bool(_OR_BEFORE.search(text[max(0, begin - 40) : begin]) or _OR_AFTER.match(text[end : end + 80]))
    return Extraction(last, "box", tuple(others), hedged)


def _inside(text: str, match: re.Match[str]) -> tuple[str | None, int]:
    """What is in a box and where that ends; None where it is not closed."""
    if match.group(2):
        return match.group(2), match.end()
    try:
        end = closing_brace(text, match.end())
    except Unsupported:
        return None, len(text)
    return text[match.end() : end - 1], end


def _standing(text: str, spans: list[tuple[int, str | None, int]]) -> list[tuple[int, str | None, int]]:
    """The boxes before the last one that nothing took back."""
    kept: list[tuple[int, str | None, int]] = []
    for span, following in pairwise(spans):
        kept.append(span)
        if _REVISED.search(text[span[2] : following[0]]):
            kept.clear()
    return kept


def _hashes(text: str) -> Extraction | None:
    """What follows the last `####`, as GSM8K writes answers."""
    _, found, rest = text.rpartition("####")
    line = rest.strip().partition("\n")[0].strip()
    return Extraction(line or None, "#### line" if line else "empty #### line") if found else None


def _stated(text: str) -> Extraction | None:
    """What follows the last "answer is", "answer:" and the like, up to the end of its sentence."""
    places = list(_STATED.finditer(text))
    if not places:
        return None
    last = places[-1]
    answer = _sentence(text[last.end() : last.end() + 400])
    if not answer or re.match(r"(?:not|never|neither|none of)\b", answer, re.IGNORECASE):
        return Extraction(None, "an answer that is not stated")
    others = []
    for place, following in pairwise(places):
        others.append(_sentence(text[place.end() : min(place.end() + 400, following.start())]))
        if place.start() < len(text) - NEAR or _REVISED.search(text[place.end() : following.end()]):
            others.clear()
    return Extraction(answer, "stated", tuple(o for o in others if o))


def _sentence(text: str) -> str:
    """Up to where the sentence ends, without Markdown and the words that introduce a value."""
    text = text.lstrip()
    block = re.match(r"(?:\$\$|\\\[)(.+?)(?:\$\$|\\\])", text, re.DOTALL)
    if block:
        return block.group(1).strip()
    end = _ENDS.search(text)
    text = (text[: end.start()] if end else text).strip()
    text = re.sub(r"^(?:equal to|simply|just|therefore|thus|exactly|the number|option|choice)\s+", "", text)
    return text.replace("**", "").replace("__", "").strip(" *`")


def _math(text: str) -> Extraction | None:
    """The last piece of display or inline math, where the response ends with it."""
    place = _last_math(text)
    if place is None:
        return None
    start, inside, end = place
    before = text[max(0, start - 100) : start]
    if len(text[end:].strip()) > 40 or _DENIED.search(before):
        return None
    hedged = bool(_OR_BEFORE.search(before) or _OR_AFTER.match(text[end:]))
    return Extraction(inside.strip() or None, "last math" if inside.strip() else "empty math", (), hedged)


def _last_math(text: str) -> tuple[int, str, int] | None:
    """(start, inside, end) of the math that ends last. Searched from the end, so that its time is linear."""
    ends = [(text.rfind(closing) + len(closing), opening, closing) for opening, closing in _MATH if closing in text]
    if not ends:
        return None
    end, opening, closing = max(ends, key=lambda e: (e[0], len(e[2])))
    start = text.rfind(opening, 0, end - len(closing))
    if start < 0:
        return None
    return start, text[start + len(opening) : end - len(closing)], end


def _whole(text: str) -> Extraction | None:
    """All of a response of one short line."""
    line = text.strip()
    return Extraction(line, "whole response") if line and "\n" not in line and len(line) <= 100 else None


def _number(text: str) -> Extraction | None:
    """The last number anywhere: a guess, and only used where asked for."""
    found = [m.group() for m in _NUMBER.finditer(text) if any(c.isdigit() for c in m.group())]
    return Extraction(found[-1], "last number") if found else None


RULES: dict[str, Callable[[str], Extraction | None]] = {
    "box": _box,
    "hashes": _hashes,
    "stated": _stated,
    "math": _math,
    "whole": _whole,
    "number": _number,
}
"""Name -> rule; all but `number` are used by default, in this order."""
DEFAULT = ("box", "hashes", "stated", "math", "whole")
