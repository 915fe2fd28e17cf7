"""Calls of a reward function that raised or took too long: what is said of them."""

from __future__ import annotations

import os
import sysconfig
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from postlude.errors import RewardError

OURS = str(Path(__file__).parents[1]) + os.sep
"""The folder of this package: its frames say nothing about a mistake in a user's file."""
LIBRARIES = (sysconfig.get_path("stdlib"), "site-packages", "dist-packages", "<frozen")
MOST_FRAMES = 4


@dataclass(frozen=True)
class Failure:
    """One call that gave nothing."""

    what: str
    """`raised KeyError at my.py line 3: 'a'`, or how long it took."""
    frames: tuple[str, ...]
    """The last lines of the user's own code that were under way, outermost first."""
    answers: int

    @classmethod
    def of(cls, error: BaseException, answers: int) -> Failure:
        """Of what a function raised; of a group of exceptions the first."""
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        own = _own_frames(error)
        where = f" at {Path(own[-1].filename).name} line {own[-1].lineno}" if own else ""
        lines = tuple(f"{f.filename} line {f.lineno}, in {f.name}: {f.line}" for f in own[-MOST_FRAMES:])
        return cls(f"raised {type(error).__name__}{where}: {error}", lines, answers)

    def __str__(self) -> str:
        return "\n".join([self.what, *(f"  {line}" for line in self.frames)])


class CallFailed(Exception):
    """A call that raised or timed out; whoever counts the calls of a draw decides what follows."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.what)
        self.failure = failure


def _own_frames(error: BaseException) -> list[traceback.FrameSummary]:
    """The frames of the user's files; where there are none, those of the built-in that raised, or of the library."""
    every = traceback.extract_tb(error.__traceback__)
    ours = [f for f in every if f.filename.startswith(OURS)]
    own = [f for f in every if f not in ours and not any(part in f.filename for part in LIBRARIES)]
    return own or ours[-1:] or every[-1:]


def stopped(label: str, failure: Failure, many: bool) -> RewardError:
    """The error of a reward that may not fail at all, with its first failure. `many`: it is called more than once."""
    more = ", and `errors: 0.05` in the recipe lets one call in twenty fail" if many else ""
    return RewardError(
        f"reward {label} {failure}",
        f"Mend the function; it may return None for an answer that it cannot score{more}.",
        code="reward-raised",
    )


def too_many(label: str, failures: Sequence[Failure], calls: int, allowed: float) -> RewardError | None:
    """The error of a reward whose calls failed more often than `errors` allows; None where they did not."""
    if len(failures) <= allowed * calls:
        return None
    answers = sum(f.answers for f in failures)
    return RewardError(
        f"reward {label} failed in {len(failures)} of {calls} calls of this draw ({answers} answers), and errors "
        f"allows {allowed:g} of them. The first {failures[0]}",
        "Mend the function, or what it asks; raise `errors` only if so many failures are usual.",
        code="reward-raised",
    )


def lost(label: str, failures: Sequence[Failure], calls: int) -> str:
    """A note on failures that were allowed."""
    answers = sum(f.answers for f in failures)
    return (
        f"reward {label}: {len(failures)} of {calls} calls failed, {answers} answers were not scored; the first "
        f"{failures[0].what}"
    )
