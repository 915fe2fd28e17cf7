"""Running checks one after another, each against its limits, whatever became of the others."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from postlude.errors import PostludeError
from postlude.selftest.check import Broken, Check, Differences, Result, Skipped, Status
from postlude.selftest.subject import Setup, Subject
from postlude.selftest.tolerance import Kind

Tell = Callable[[str], None]


STUMBLES = (ArithmeticError, AssertionError, LookupError, OSError, RuntimeError, TypeError, ValueError)
"""What tensors of unexpected shapes or files that are not there end in: a check that failed, not the end of all."""


class Runner:
    """Makes checks on one model, of which it holds one form at a time."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._subject: Subject | None = None

    def subject(self, adapted: bool) -> Subject:
        """The model, with an adapter or without. Raises ConfigError or EngineError where it cannot be opened."""
        if self._subject is None or self._subject.adapted != adapted:
            self._subject = None  # its memory goes before the next one takes its own
            self._subject = Subject.of(self._setup, adapted)
        return self._subject

    def results(self, checks: Sequence[Check], tell: Tell = lambda doing: None) -> Iterator[Result]:
        """What came of each check, as it ends; `tell` hears what is being done.

        Raises ConfigError or EngineError where the model without an adapter cannot be opened.
        """
        for number, check in enumerate(checks, 1):
            tell(f"{number} of {len(checks)}: {check.name}")
            began = time.monotonic()
            try:
                subject = self.subject(check.on == "adapter")
            except PostludeError as error:
                if check.on == "model":
                    raise
                yield Result(check, "skipped", time.monotonic() - began, {}, {}, f"no adapter fits: {error}")
            else:
                yield result(check, subject, began)


def result(check: Check, subject: Subject, began: float) -> Result:
    """What comes of one check; `began` is a reading of the monotonic clock."""
    differences: Differences = {}
    reason = ""
    status: Status = "ok"
    try:
        differences = check.measure(subject)
    except Skipped as skipped:
        reason, status = str(skipped), "skipped"
    except (Broken, PostludeError) as error:
        reason, status = str(error), "FAILED"
    except STUMBLES as error:
        reason, status = f"it could not be measured: {type(error).__name__}: {str(error).strip()[:200]}", "FAILED"
    limits: dict[Kind, float] = {kind: subject.tolerances.of(kind) for kind in differences}
    if any(not differences[kind] <= limits[kind] for kind in differences):
        status = "FAILED"
    return Result(check, status, time.monotonic() - began, differences, limits, reason)
