"""Answers that are a calculation of the prompt, copied: equal to the right answer, and nothing was worked out."""

from __future__ import annotations

import re

from postlude.maths.normalise import normalise

MAX_LENGTH = 400
"""Characters of an answer that is looked for in its prompt."""
_PLAIN = re.compile(r"[-+]?(?:[\d.,]+%?|\\frac\{?\d+\}?\{?\d+\}?|\d+/\d+|\d*\\sqrt\{?\d+\}?|[\d.,]+\\?[A-Za-z]+)")
"""A number, which a prompt may name and be the answer nevertheless."""
_WORKS = re.compile(r"[-+*/^=<>]|\\(?:frac|sqrt|cdot|times|div|le|ge|binom|log|ln|sin|cos|tan|pm)(?![A-Za-z])")


def is_echo(answer: str, gold: str, prompt: str) -> bool:
    """Whether an answer stands in the prompt as it is, still to be worked out, and the gold does not."""
    copy, right = _bare(answer), _bare(gold)
    if sorted(copy) == sorted(right) or len(copy) > MAX_LENGTH or _PLAIN.fullmatch(copy) or not _WORKS.search(copy):
        return False
    asked = _spelled(prompt)
    rest = _place_of(copy).sub("\n", asked)
    return rest != asked and _place_of(right).search(rest) is None


def _bare(text: str) -> str:
    """In one spelling, without spaces, marks of mathematics and a point at the end."""
    return re.sub(r"\\[()\[\]]|[\s$]", "", _spelled(text)).rstrip(".:?")


def _spelled(text: str) -> str:
    return re.sub(r"\{(\w)\}", r"\1", normalise(text))


def _place_of(part: str) -> re.Pattern[str]:
    """Where a text stands as a whole, not inside a longer number or name, however it is spaced."""
    return re.compile(r"(?<![\w\\^_.])" + r"[\s$]*".join(map(re.escape, part)) + r"(?![\w^]|\.\d)")
