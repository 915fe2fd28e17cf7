"""Answers between marks: boxes, answer tags, `####`."""

from __future__ import annotations

import re
from dataclasses import replace

from postlude.maths.places import MOST, Extraction, Place, settle
from postlude.maths.problems import Unsupported
from postlude.maths.tokens import closing as closing_brace

_BOX = re.compile(
    r"(?:\\|\x08|(?<![A-Za-z\\])(?=boxed\s*\{))(?:boxed|fbox|framebox)\s*"
    r"(?:(\{)|(-?(?:\\[dt]?frac\s*(?:\{[^{}]*\}|\d)\s*(?:\{[^{}]*\}|\d)|\d[\dA-Za-z.,/^]*|\.\d+|[A-Za-z])(?=[\s$.,)\\]|$)))"
    r"|<\|begin_of_box\|>"
)
_STYLED = (
    r"boxed|f(?:rame)?box|text\w*|math\w+|boldsymbol|bm|underline|displaystyle|textstyle|color|left|[Ll]arge|huge"
    r"|ensuremath|bf|rm"
)
_FACTOR = re.compile(
    rf"(?:(?<![A-Za-z\\])[A-Za-z]|\d|(?<!\\)\)|(?<![-−+])[-−+*/<>]|\\(?:cdot|times|div|pm|mp|sqrt|[dt]?frac)"
    rf"|(?:\\(?!(?:{_STYLED})\b)[A-Za-z]+|frac\s*\{{[^{{}}]*\}}|\^|_)\s*\{{)$"
)
"""In mathematics right before a box: it is a part of what is written there."""
_RELATION = re.compile(r"(?:\\(?:neq?|lt|gt|leq?(?:slant)?|geq?(?:slant)?|not\s*=)|[≠≤≥])$")
_SCALED = r"\s*\$?\s*(?:\\text\w*\s*\{\s*)?(?:hundred|thousand|million|billion|trillion|dozen)s?\b"
_SCALE = re.compile(_SCALED)
_MORE = re.compile(
    r"\s*(?:\^(?!\s*\{?\s*(?:\\circ|°))|!|[-+*/](?!\s*\$)|\\(?:cdot|times|div|pm|mp|pi|sqrt|[dt]?frac)\b)|[A-Za-z](?![A-Za-z])|\d"
)
"""In mathematics right behind a box."""
_PART = "box inside a larger expression: put all of the answer into the box"
_BOX_END = "<|end_of_box|>"
_TAG = re.compile(
    r"<\s*(/?)\s*((?:final|short)?[\s_-]*(?:answer|solution))(?:\s[^<>\n]{0,80})?\s*>"
    r"|\[(/?)((?:FINAL[\s_]?)?ANSWER)\]|<\|(begin|end)_of_(answer|solution)\|>",
    re.IGNORECASE,
)
_HEADING = re.compile(r"[*_]*[A-Za-z]{3,}")
_SIDE_BY_SIDE = re.compile(r"[\s,;&]*(?:\b(?:and|or)\b)?[\s,;]*", re.IGNORECASE)


def box(text: str) -> Extraction | None:
    """The last box; boxes near it compete with it, unless words between them take the earlier ones back."""
    places = [_inside(text, match) for match in list(_BOX.finditer(text))[-MOST:]]
    return settle(text, places, "box") if places else None


def _inside(text: str, match: re.Match[str]) -> Place:
    """What is in a box; no answer where a sign, factor or relation around it makes it a part of one."""
    place = _content(text, match)
    return replace(place, text=None, problem=_PART) if place.text is not None and _is_part(text, place) else place


def _is_part(text: str, place: Place) -> bool:
    before, after = text[max(0, place.start - 200) : place.start].rstrip(" "), text[place.end : place.end + 40]
    if _RELATION.search(before) or _SCALE.match(after):
        return True
    return bool(_FACTOR.search(before) or _MORE.match(after)) and _in_mathematics(before)


def _in_mathematics(before: str) -> bool:
    """Whether marks of math mode are open after a text."""
    before = before.rpartition("\n\n")[2]
    opened = max(before.rfind(r"\("), before.rfind(r"\[")) > max(before.rfind(r"\)"), before.rfind(r"\]"))
    if not opened and re.search(r"(?<![\\A-Za-z{])[A-Za-z]{3,}", before.rpartition("$")[2]):
        return False  # the dollar of a price
    return opened or len(re.findall(r"(?<!\\)\$\$?", before)) % 2 == 1


def _content(text: str, match: re.Match[str]) -> Place:
    """What is between the marks of a box."""
    if match.group(2):
        return Place(match.start(), match.end(), match.group(2).rstrip("., "))
    if match.group(1):
        try:
            end = closing_brace(text, match.end())
        except Unsupported:
            return Place(match.start(), len(text), None, "box that is not closed")
        inside = text[match.end() : end - 1]
    else:
        inside, mark, _ = text[match.end() :].partition(_BOX_END)
        end = match.end() + len(inside) + len(_BOX_END)
        if not mark:
            return Place(match.start(), len(text), None, "box that is not closed")
    return (
        Place(match.start(), end, inside, "") if inside.strip(" $\n") else Place(match.start(), end, None, "empty box")
    )


def tagged(text: str) -> list[Place]:
    """What stands in answer tags: the last pair, and those side by side with it.

    The mark that opens may be missing, as where the prompt wrote it; a pair that is not closed is cut off.
    """
    places: list[Place] = []
    start = opened = previous = 0
    is_open = False
    for match in _TAG.finditer(text):
        closes = "/" in (match.group(1), match.group(3)) or match.group(5) == "end"
        if not closes:
            start, opened, is_open = match.start(), match.end(), True
            continue
        begin = opened if is_open else previous
        inside = text[begin : match.start()]
        problem = "" if inside.strip() else "empty answer tag"
        places.append(Place(start if is_open else begin, match.end(), inside if not problem else None, problem))
        previous, is_open = match.end(), False
    if is_open:
        places.append(Place(opened, len(text), None, "answer tag that is not closed"))
    return _side_by_side(text, places)


def _side_by_side(text: str, places: list[Place]) -> list[Place]:
    first = len(places) - 1
    while first > 0 and _SIDE_BY_SIDE.fullmatch(text[places[first - 1].end : places[first].start]):
        first -= 1
    return places[max(first, 0) :]


def hashes(text: str) -> Extraction | None:
    """What follows the last `####`, as GSM8K writes answers; not where that is Markdown's heading of what follows."""
    before, mark, rest = text.rpartition("####")
    if not mark:
        return None
    line, _, below = rest.lstrip("# \t:：").strip().partition("\n")
    line = line.strip()
    if below.strip() and _HEADING.match(line):
        return None
    if not line:
        return Extraction(None, "empty #### line")
    return settle(text, [Place(len(before), text.rfind(line) + len(line), line)], "#### line")
