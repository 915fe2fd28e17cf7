"""Where in a response the answer stands. Rules are tried in order; the first that finds something decides."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from postlude import thinking
from postlude.maths.marked import box, hashes, tagged
from postlude.maths.places import Extraction, Place, settle
from postlude.maths.statements import bare, closing, lines, stated

_MATH = (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"))
_NUMBER = re.compile(r"(?<![\w.])[-−]?\$?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?(?:/\d+)?%?(?![\w])")
_DENIED = re.compile(
    r"\b(?:not|isn't|never|cannot|can't|wrong|incorrect|don't|could|might|may|maybe|perhaps|possibly|whether|suppose|assume"
    r"|if(?<!only if))\b[^.\n]{0,60}$",
    re.IGNORECASE,
)
_END_MARK = re.compile(r"(?:<\|(?!(?:begin|end)_of_)[a-z_]{1,20}\|>|</s>|<eos>|<end_of_turn>)$")
SEARCHED = 20_000
"""Characters at the end of a response in which its answer is looked for: what stands before them is no answer."""
_STRUCK = re.compile(
    r"<!--.*?(?:-->|\Z)|<(del|s|strike)>[^<>]{0,400}</\1>"
    r"|(?<![^\s({*_>])~~(?=[^\s~])[^~\n]{1,200}(?<=\S)~~(?![^\s.,;:!?)}*_<])"
    r"|\\(?:[xb]?cancel|sout)\s*\{[^{}]*\\boxed\s*\{[^{}]*\}[^{}]*\}",
    re.DOTALL,
)
"""What is not shown, or shown as struck out."""
_CONCLUDES = re.compile(r"(?:so|thus|therefore|hence|in\s+total|altogether)\b", re.IGNORECASE)
DEFAULT = ("tags", "box", "hashes", "stated", "sentence", "math", "whole")
LATER = ("box", "hashes", "stated")
"""What is said by these after the answer must not be another one."""


def extract(response: str, rules: Sequence[str] = DEFAULT) -> Extraction:
    """The answer of a response, read after its thinking. `rules`: names of RULES, in order."""
    text = thinking.spoken(response)
    if text is None:
        return Extraction(None, "still thinking")
    text = text[-SEARCHED:]
    if "~~" in text or "<" in text or "cancel" in text or "sout" in text:
        text = _STRUCK.sub(" ", text)
    text = _END_MARK.sub("", text.rstrip()) if text.rstrip()[-1:] == ">" else text
    for name in rules:
        found = RULES[name](text)
        if found is not None:
            return found
    return Extraction(None, "no answer found" if text.strip() else "empty response")


def _tags(text: str) -> Extraction | None:
    """What stands in the last answer tags: the box in them, what they state, or all of it."""
    places = tagged(text) if ">" in text or "]" in text else []
    if not places:
        return None
    last = places[-1]
    if last.text is None:
        return Extraction(None, last.problem)
    inner = _within(last.text)
    if inner.text is None:
        return replace(inner, rule=f"answer tag, {inner.rule}")
    answers = [replace(p, text=_within(p.text).text if p.text else None) for p in places[:-1]]
    around = settle(text, [*answers, replace(last, text=inner.text)], "answer tag")
    return replace(around, others=around.others + inner.others, lists=around.lists + inner.lists,
                   denied=around.denied or inner.denied, later=_later(text, last.end, LATER))  # fmt: skip


def _within(text: str) -> Extraction:
    for rule in (box, hashes, stated):
        found = rule(text)
        if found is not None:
            return found
    answer = lines(text)
    return settle(text, [Place(0, len(text), answer)], "all of it") if answer else Extraction(None, "empty answer tag")


def _later(text: str, end: int, names: Sequence[str]) -> tuple[str, ...]:
    """What is stated after an answer."""
    rest = text[end:]
    if not rest.strip(" \n$.*)}"):
        return ()
    found = (RULES[name](rest) for name in names)
    return tuple(f.text for f in found if f is not None and f.text is not None)


def _concluded(rest: str) -> tuple[str, ...]:
    """What a last sentence says that draws a conclusion: "So the total is 13."."""
    last = re.split(r"[.!?\n]\s+", rest.strip())[-1].strip()
    found = closing(last) if len(last) < 200 and _CONCLUDES.match(last) else None
    return (found.text,) if found and found.text else ()


def _box(text: str) -> Extraction | None:
    found = box(text) if "box" in text else None
    if found is None or found.text is None:
        return found
    end = text.rfind(found.text) + len(found.text)
    later = _later(text, end, LATER[1:]) + _concluded(text[end:])
    return replace(found, later=later) if later else found


def _math(text: str) -> Extraction | None:
    """The last piece of display or inline math, where the response ends with it."""
    place = _last_math(text)
    if place is None:
        return None
    start, inside, end = place
    before = text[max(0, start - 100) : start]
    if len(text[end:].strip()) > 40 or re.search(r"\d", text[end:]) or _DENIED.search(before):
        return None
    if not inside.strip():
        return Extraction(None, "empty math")
    return settle(text, [Place(start, end, inside.strip())], "last math")


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
    """All of a response of one short line, or of one in a fence."""
    line = text.strip().strip("`").strip() if len(text) <= 200 else ""
    if not line or "\n" in line or len(line) > 100:
        return None
    line = bare(line)
    return settle(text, [Place(0, len(text), line)], "whole response")


def _number(text: str) -> Extraction | None:
    """The last number anywhere: a guess, and only used where asked for."""
    found = [m.group() for m in _NUMBER.finditer(text) if any(c.isdigit() for c in m.group())]
    return Extraction(found[-1], "last number") if found else None


RULES: dict[str, Callable[[str], Extraction | None]] = {
    "tags": _tags,
    "box": _box,
    "hashes": hashes,
    "stated": stated,
    "sentence": closing,
    "math": _math,
    "whole": _whole,
    "number": _number,
}
"""Name -> rule; all but `number` are used by default, in this order."""
