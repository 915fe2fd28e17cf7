"""The answer column as text."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any

from postlude.maths import prose
from postlude.maths.compare import Comparison
from postlude.maths.extract import extract
from postlude.maths.problems import Unreadable, Unsupported
from postlude.maths.reading import read

_NOTHING = frozenset({"", "nan", "null", "n/a", "na", "nil", "?", "-", "tbd", "unknown", "[]"})
_MARKS = (
    (("</answer>", "</ANSWER>"), "tags"),
    (("####",), "hashes"),
    (("\\boxed", "\\fbox"), "box"),
)
"""What marks the final answer of a worked solution, and the rule that reads it."""


def gold_text(gold: Any) -> str:
    """What a row gives as the right answer. Raises Unsupported for what is none.

    A number is written out exactly as its shortest decimal; of a worked solution, the `#### line` or last box counts.
    """
    if isinstance(gold, bool) or not isinstance(gold, str | int | float):
        raise Unsupported("it is missing" if gold is None else f"it is a {type(gold).__name__}, not text or a number")
    if isinstance(gold, float) and not math.isfinite(gold):
        raise Unsupported(f"it is {gold}")
    text = gold if isinstance(gold, str) else _number(gold)
    if text.strip().lower() in _NOTHING:
        raise Unsupported(f"it is {text.strip()!r}" if text.strip() else "it is empty")
    return _solution(text)


def _number(value: int | float) -> str:
    try:
        return repr(value)
    except ValueError as error:  # more digits than Python converts
        raise Unsupported("a number of more than 4,300 digits") from error


def _solution(text: str) -> str:
    """The final answer of a worked solution, all of its parts where it has several boxes; other text as it is."""
    for marks, rule in _MARKS:
        if any(mark in text for mark in marks):
            found = extract(text, (rule,))
            if found.text is None:
                article = "an" if found.rule[0] in "aeiou" else "a"
                raise Unsupported(f"it holds {article} {found.rule}")
            several = _different(part for part in (found.lists[0] if found.lists else ()) if _is_marked(part, text))
            return ", ".join(several) if len(several) > 1 else found.text
    most = prose.exceeded(text)
    if most and not prose.stated(text)[0]:
        raise Unsupported(f"more than {most} words, with neither \\boxed nor ####")
    return text


def _is_marked(part: str, text: str) -> bool:
    """Whether it stands in a box or tag of its own: a worked solution also has values beside its answer."""
    return (
        re.search(r"(?:\\(?:boxed|fbox)\s*\{|<answer>)\s*" + re.escape(part.strip()), text, re.IGNORECASE) is not None
    )


def _different(parts: Iterable[str]) -> list[str]:
    """Without those that say what an earlier one says: `\\boxed{x+1}` or `\\boxed{1+x}` is one answer."""
    distinct: list[str] = []
    for part in parts:
        if not any(_alike(part, other) for other in distinct):
            distinct.append(part)
    return distinct


def _alike(part: str, other: str) -> bool:
    try:
        return part == other or Comparison().same(read(part), read(other)) is True
    except Unreadable:
        return False
