"""Every error a user can meet, one class for each person who can fix it.

A message says what is wrong, where, what was seen and what to do. The command line prints it without a
traceback and exits with `exit_code`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

_STEERS = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufff9-\ufffb]"
)
"""Controls (without tab and line end), marks of writing direction, separators of lines, halves of characters."""


def printable(text: str) -> str:
    """Text that cannot drive a terminal: what would is escaped. Line ends and tabs stay."""
    return _STEERS.sub(lambda found: ascii(found[0])[1:-1], text)


def visible(text: str) -> str:
    """The same in one line, for names and values inside a sentence."""
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


def shown(value: Any, most: int = 60) -> str:
    """A value in a message, cut; of one that cannot be written its type."""
    try:
        text = repr(value)
    except Exception:  # a number of too many digits, or whatever a user's own type raises
        return f"a value of type {type(value).__name__}"
    return text if len(text) <= most else text[: most - 3] + "..."


def reason(error: BaseException) -> str:
    """The first line of what a library says, of its cause where it gives one; the type where that says nothing."""
    told = error.__cause__ or error
    text = str(told).strip()
    return f"{type(told).__name__}: {visible(text.splitlines()[0])}" if text else type(told).__name__


class PostludeError(Exception):
    """Root of all errors that postlude raises on purpose."""

    exit_code = 2


class ConfigError(PostludeError):
    """The recipe or the command line is wrong. Collects every problem found."""

    def __init__(self, problems: str | Sequence[str]) -> None:
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))


class DataError(PostludeError):
    """A data file is wrong. Collects every problem found, each as `file line N: field: reason`."""

    def __init__(self, problems: str | Sequence[str]) -> None:
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))


class RewardError(PostludeError):
    """A reward function raised, or returned something that is not a finite number or None."""

    def __init__(self, what: str, advice: str = "") -> None:
        self.what = what
        """Without the advice, which is for people who train."""
        super().__init__(f"{what}\n{advice}" if advice else what)


class AskingStopped(RewardError):
    """A judge cannot be asked any more: a cap, a key that is refused, a server that is down."""


class EngineError(PostludeError):
    """A model cannot be loaded, run or saved as asked."""


class TrainingError(PostludeError):
    """A run cannot go on: non-finite numbers, nothing to learn from, a state that does not fit."""


class RunLocked(PostludeError):
    """Another process is writing to the same run folder."""

    exit_code = 75
