"""Why an answer has no value. Each says which part and why; none is ever shown as a traceback."""

from __future__ import annotations


class Unreadable(Exception):
    """Root of the three."""


class Unsupported(Unreadable):
    """A notation that the exact path does not know; another reader may."""


class Undefined(Unreadable):
    """Mathematics gives it no value: a division by zero, a sum of infinities."""


class Refused(Unreadable):
    """To compute it could take too long or too much memory."""


FAULTS = (
    ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError, RuntimeError, TypeError, ValueError,
)  # fmt: skip
"""What arithmetic raises on texts that nobody foresaw. Whoever wrote the text answers for it, not the run."""
