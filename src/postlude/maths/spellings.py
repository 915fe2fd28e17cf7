"""Rewriting of a normalised answer before it is cut into tokens: what needs more of the text than one token."""

from __future__ import annotations

import re

from postlude.maths import families
from postlude.maths.texts import TEXT

_REALS = (
    r"(?:the\s+set\s+of\s+)?(?:all\s+|every\s+|any\s+|the\s+)*real(?:\s+(?:numbers?|values?)|s)?(?:\s+of)?(?:\s+[a-z])?"
)
REALS = re.compile(_REALS)
_EXCEPT = re.compile(
    rf"(?:{_REALS}|all\s+[a-z])\s+(?:except|but|other\s+than|besides|excluding)\s+(?:for\s+)?(?:[a-z]\s*=\s*)?(.+)",
    re.IGNORECASE,
)
_SETS = re.compile(
    r"\\mathbb\s*(?:\{\s*([ZNQC])\s*\}|([ZNQC])(?![A-Za-z]))|(?<=\\in)\s*\{?\s*([ZNQR])\s*\}?(?![A-Za-z])"
)
_RELEVANT = re.compile(r"\\(?:mathbb|begin|bigcup|in(?![a-z]))|[\[\]]|real|integer|natural|\ball\b", re.IGNORECASE)
"""What there is in every text that is rewritten."""
_LETTERS = dict(zip("ZNQCR", "ℤℕℚℂℝ", strict=True))
_ENDS = r"((?:[^\[\]();,]|\([^()]*\))+[,;](?:[^\[\]();,]|\([^()]*\))+)"
_INTERVAL = re.compile(rf"\s*([\[\](]){_ENDS}([\[\])])\s*")
_JOINT = re.compile(r"(?:\\(?:cup|cap|setminus)(?![A-Za-z])|,|;|\\text\s*\{\s*(?:or|and)\s*\}|\b(?:or|and)\b)")
_BEFORE = re.compile(r"[A-Za-z]\s*(?:\\in|=)")
_OPENED = re.compile(r"\\\{\s*\\begin\s*\{(array|aligned|matrix)\}(?:\s*\{[^{}]*\})?(.*)\\end\s*\{\1\}\s*$", re.DOTALL)
_CONTINUES = re.compile(r"(?:[,;=+*/(&<>{-]|\\(?:cup|cap|le|ge|cdot|times|pm|in|setminus)|\b(?:and|or|if|for))\s*$")
_CONTINUED = re.compile(r"\s*(?:[,;=+*/)&<>}-]|\\(?:cup|cap|le|ge|cdot|times|pm|in|setminus|text|end)|and\b|or\b|if\b)")


def one_line(text: str) -> str:
    """Lines as a list, where each could stand alone."""
    if "\n" not in text.strip() or r"\begin" in text:
        return text
    lines = [line.strip() for line in text.strip().split("\n") if line.strip()]
    joined = lines[0]
    for line in lines[1:]:
        alone = not _CONTINUES.search(joined) and not _CONTINUED.match(line) and joined.count("{") == joined.count("}")
        joined += (", " if alone else " ") + line
    return joined


def spelled(text: str) -> str:
    """The text in the spelling that the tokens are read in."""
    if not _RELEVANT.search(text):
        return text
    text = _SETS.sub(lambda m: f" {_LETTERS[m[1] or m[2] or m[3]]} ", text)
    if r"\{" in text and r"\begin" in text and (opened := _OPENED.fullmatch(text.strip())):
        text = rf"\begin{{cases}}{opened[2]}\end{{cases}}"
    return families.spelled(_without(_turned(text)))


def _without(text: str) -> str:
    """`all real numbers except 2 and 3` as the difference of two sets."""
    if "real" not in text and "all" not in text.lower():
        return text
    found = _EXCEPT.fullmatch(" ".join(TEXT.sub(r" \1 ", text).split()))
    if not found:
        return text
    points = re.sub(r"(?:,|;)?\s*(?:and|or)\s", ", ", found[1])
    return rf"ℝ \setminus \{{{points}\}}"


def _turned(text: str) -> str:
    """]1, 2[ as (1, 2): brackets turned outwards, in a text that is nothing but intervals."""
    if "[" not in text and "]" not in text:
        return text
    before = _BEFORE.match(text)
    place, out, turned = (before.end() if before else 0), text[: before.end()] if before else "", False
    while found := _INTERVAL.match(text, place):
        opening, ends, closing = found.groups()
        turned |= opening == "]" or closing == "["
        out += f"{'(' if opening == ']' else opening}{ends}{')' if closing == '[' else closing}"
        place = found.end()
        joint = _JOINT.match(text, place)
        if not joint:
            break
        out, place = out + f" {joint.group()} ", joint.end()
    return out if turned and place == len(text) else text
