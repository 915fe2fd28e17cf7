"""Every error a user can meet, one class for each person who can fix it.

A message says what is wrong, where, what was seen and what to do. The command line prints it without a
traceback and exits with `exit_code`. Each problem has a code (`codes.CODES`) and, where there is one, a place: those
are what programs go by, and the sentence is for people.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, overload

from postlude.credentials import veiled

_STEERS = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufff9-\ufffb]"
)
"""Controls (without tab and line end), marks of writing direction, separators of lines, halves of characters."""
_NUMPY = re.compile(r"\bnp\.(?:\w+\(([^()]*)\)|(True|False)_)")
"""A number as numpy writes it, around what it is: `np.float64(-inf)`."""
LONGEST = 8_000
"""Characters of a problem: what quotes a whole file is cut in its middle."""
LONGEST_KEY = 400
"""Characters of a key."""
UNCODED = "other"
"""The code of an error that was raised without one: by a file of the user's."""


def printable(text: str) -> str:
    """Text that cannot drive a terminal: what would is escaped. Line ends and tabs stay."""
    return _STEERS.sub(lambda mark: ascii(mark[0])[1:-1], text)


def visible(text: str) -> str:
    """The same in one line, for names and values inside a sentence."""
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


def shown(value: Any, most: int = 60) -> str:
    """A value in a message, cut; of one that cannot be written its type."""
    try:
        text = repr(value)
    except Exception:  # a number of too many digits, or whatever a user's own type raises
        return f"a value of type {type(value).__name__}"
    text = text[: most + 4 * LONGEST_KEY]
    text = text if isinstance(value, str) else _NUMPY.sub(r"\1\2", text)
    safe = veiled(text)  # before it is cut: half a key is one too
    return safe if len(text) <= most else safe[: most - 3] + "..."


def reason(error: BaseException) -> str:
    """The first line of what a library says, of its cause where it gives one; the type where that says nothing."""
    cause = error.__cause__ or error
    text = str(cause).strip()
    return f"{type(cause).__name__}: {visible(text.splitlines()[0])}" if text else type(cause).__name__


def shortened(text: str, most: int = LONGEST) -> str:
    """The text, or its beginning and end with the number of characters between them."""
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]} ... ({len(text) - 2 * half:,} characters) ... {text[-half:]}"


def _bounded(text: str) -> str:
    """The text without keys, shortened. Keys are looked for in more than is kept, so that no half of one stays."""
    if len(text) <= LONGEST:
        return veiled(text)
    half = LONGEST // 2
    head, tail = veiled(text[: half + LONGEST_KEY]), veiled(text[-half - LONGEST_KEY :])
    between = len(text) - 2 * half
    return f"{head[:-LONGEST_KEY][:half]} ... ({between:,} characters) ... {tail[LONGEST_KEY:][-half:]}"


class Problem(str):
    """One thing that is wrong: its sentence, as the user reads it, with the `code` of its kind and the place it is at.

    Keys of services are left out of it, whoever quoted them.

    It is text in every way. What is done to it with text's own means loses the code: `within` and `at` keep it.
    """

    code: str
    """An entry of `codes.CODES`: stable, so that tests and programs read it and the sentence may improve."""
    place: str
    """The line of a file (`recipe.yaml line 3`), the row, `command line`; empty where there is none."""
    key: str
    """The dotted key, the column or the option that it is about; empty where there is none."""

    def __new__(cls, code: str, text: str, place: str = "", key: str = "") -> Problem:
        problem = super().__new__(cls, _bounded(text))
        problem.code, problem.place, problem.key = code, place, key
        return problem

    def __getnewargs__(self) -> tuple[str, str, str, str]:  # type: ignore[override]  # for pickle and copy
        return self.code, str(self), self.place, self.key

    def within(self, start: str) -> Problem:
        """The same problem, its sentence after the words that say of what: `critic.path: `."""
        return Problem(self.code, f"{start}{self}", self.place, self.key)

    def at(self, place: str) -> Problem:
        """The same problem at a place, which its sentence begins with."""
        return Problem(self.code, f"{place}: {self}", place, self.key) if place else self

    def without(self, start: str = "", end: str = "") -> Problem:
        """The same problem, its sentence without these words at its beginning or end."""
        return Problem(self.code, self.removeprefix(start).removesuffix(end), self.place, self.key)


class PostludeError(Exception):
    """Root of all errors that postlude raises on purpose: one problem or several, each with its code."""

    exit_code = 2

    @overload
    def __init__(self, problems: Problem | Sequence[Problem], /) -> None: ...
    @overload
    def __init__(self, problems: str, /, *, code: str, place: str = "", key: str = "") -> None: ...

    def __init__(
        self, problems: str | Sequence[str], /, *, code: str = UNCODED, place: str = "", key: str = ""
    ) -> None:
        texts = [problems] if isinstance(problems, str) else problems
        self.problems = [text if isinstance(text, Problem) else Problem(code, text, place, key) for text in texts]
        super().__init__("\n".join(self.problems))

    @property
    def codes(self) -> list[str]:
        """Of each problem."""
        return [problem.code for problem in self.problems]

    @property
    def code(self) -> str:
        """Of the first problem, which is the only one of most errors."""
        return self.problems[0].code if self.problems else UNCODED

    @property
    def place(self) -> str:
        """Of the first problem."""
        return self.problems[0].place if self.problems else ""


class ConfigError(PostludeError):
    """The recipe or the command line is wrong. Collects every problem found."""


class DataError(PostludeError):
    """A data file is wrong. Collects every problem found, each as `file line N: field: reason`."""


class RewardError(PostludeError):
    """A reward function raised, or returned something that is not a finite number or None."""

    def __init__(self, what: str, advice: str = "", *, code: str = UNCODED) -> None:
        self.what = what
        """Without the advice, which is for people who train."""
        super().__init__(f"{what}\n{advice}" if advice else what, code=code)


class AskingStopped(RewardError):
    """A judge cannot be asked any more: a cap, a key that is refused, a server that is down."""


class EngineError(PostludeError):
    """A model cannot be loaded, run or saved as asked."""


class Stopped(EngineError):
    """Somebody asked the run to end while it waited for a server: nothing is wrong."""


class TrainingError(PostludeError):
    """A run cannot go on: non-finite numbers, nothing to learn from, a state that does not fit."""


class RunLocked(PostludeError):
    """Another process is writing to the same run folder."""

    exit_code = 75
