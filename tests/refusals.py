"""What is refused, by code and place: the sentence is looked at only where it is itself what is tested."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from postlude.errors import PostludeError, Problem


@dataclass(frozen=True)
class Wrong:
    """A problem as a test expects it."""

    code: str
    key: str = ""
    """The dotted key, column or option that it must be about; empty: any."""
    at: str = ""
    """The end of the place that it must have, such as `line 3`; empty: any."""
    said: str = ""
    """A pattern that its sentence must hold: numbers that must be told, a name that is meant."""

    def fits(self, problem: Problem) -> bool:
        return (
            problem.code == self.code
            and self.key in ("", problem.key)
            and problem.place.endswith(self.at)
            and re.search(self.said, problem) is not None
        )

    def is_among(self, problems: Sequence[str]) -> bool:
        """Whether one of them is this; the others may be anything."""
        return any(isinstance(problem, Problem) and self.fits(problem) for problem in problems)


@contextmanager
def refused(
    code: str, key: str = "", at: str = "", said: str = "", kind: type[PostludeError] = PostludeError
) -> Iterator[pytest.ExceptionInfo[PostludeError]]:
    """The block must end with an error that has such a problem."""
    wrong = Wrong(code, key, at, said)
    with pytest.raises(kind) as caught:
        yield caught
    seen = [(problem.code, problem.key, problem.place, str(problem)) for problem in caught.value.problems]
    assert wrong.is_among(caught.value.problems), f"{wrong} is not among {seen}"
