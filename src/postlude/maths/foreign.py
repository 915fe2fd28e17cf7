"""Which texts math-verify may read: those of which it is known to drop and add up nothing."""

from __future__ import annotations

import re

_KNOWN = re.compile(
    r"\\(?:frac|sqrt|pi|cdot|times|div|pm|sin|cos|tan|cot|sec|csc|ln|log|exp|binom|infty|alpha|beta|gamma|theta|lambda|vec"
    r"|hat|over|choose|gcd|max|min|partial|nabla|det)(?![A-Za-z])"
)
"""Commands of a notation that math-verify is trusted with."""
_TRUSTED = re.compile(r"(?:(?<![A-Za-z])[A-Za-z](?![A-Za-z])|[\d.+*/^(){}\[\]| -])*")
"""What else may stand there: letters alone, numbers, operations, brackets. Not sets, words, units, bases, relations."""
_SIDE_BY_SIDE = re.compile(r"[\d.})\]]\s+[\d.]|[})\]]\s*\d|\d\s*\\frac(?![A-Za-z])|(?<![\w.])0[A-Za-z]")
"""Numbers without an operation between them, which it adds up or drops."""
_RAISED = re.compile(r"(\\(?:sin|cos|tan|cot|sec|csc|ln|log))\s*\^\s*(?:\{\s*\d+\s*\}|\d)")
"""A function's power, behind which its argument may stand at once."""


def is_safe(text: str) -> bool:
    """Whether a normalised text holds terms alone, with no two numbers side by side."""
    return bool(_TRUSTED.fullmatch(_KNOWN.sub(" ", text))) and not _SIDE_BY_SIDE.search(_RAISED.sub(r"\1", text))
