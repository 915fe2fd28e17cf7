"""`maths` as a reward function in TRL's form."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

from postlude.bounds import Seconds, Workers
from postlude.errors import Problem, RewardError
from postlude.maths.conventions import Conventions, conventions_of
from postlude.maths.echo import is_echo
from postlude.maths.extract import DEFAULT, RULES
from postlude.maths.golds import gold_text
from postlude.maths.verify import Result, Verifier
from postlude.maths.workers import Limits
from postlude.rewards.functions import text_of
from postlude.thinking import tail

Conventions.__pydantic_config__ = {"extra": "forbid"}  # type: ignore[attr-defined]
MAX_ERRORS = 0.01
MIN_ERRORS = 3
"""Errors that stop a run: more than MAX_ERRORS of a batch, and at least so many."""


class Maths:
    """1 where the answer equals the column `answer` mathematically, else 0; None where it could not be judged.

    Verdicts go to the rollouts (`maths_verdict`, `maths_extracted`, `maths_rule`), shares of each to the metrics.
    """

    def __init__(self, verifier: Verifier, after: str | None = None, echo: bool = False) -> None:
        self.verifier, self._after, self._echo = verifier, after, echo

    def __call__(
        self,
        completions: Sequence[Any],
        answer: Sequence[Any],
        prompts: Sequence[Any] | None = None,
        log_metric: Callable[[str, float], None] | None = None,
        log_extra: Callable[[str, list[Any]], None] | None = None,
    ) -> list[float | None]:
        """Raises RewardError where more than 1 % of a batch could not be judged."""
        results = self.verifier.verify_all([(a, self._read_part(c)) for c, a in zip(completions, answer, strict=True)])
        if prompts is not None and not self._echo:
            results = [_unless_copied(r, a, p) for r, a, p in zip(results, answer, prompts, strict=True)]
        if log_extra:
            log_extra("maths_verdict", [r.verdict for r in results])
            log_extra("maths_extracted", [r.extracted for r in results])
            log_extra("maths_rule", [r.rule for r in results])
        if log_metric and results:
            counts = Counter(r.verdict for r in results)
            for verdict in ("ambiguous", "unparsable", "timeout", "error"):
                log_metric(verdict, counts[verdict] / len(results))
        _check_errors(results)
        return [r.score for r in results]

    def check_row(self, columns: Mapping[str, Any]) -> Problem | None:
        """Why a row of the data cannot be trained on with this reward; None where it can."""
        gold = columns.get("answer")
        problem = self.verifier.problem_of_gold(gold)
        if problem is None:
            return None
        if gold is None:
            return Problem("missing-field", '"answer" is missing or null, which the reward maths needs')
        return Problem("unreadable-gold", f'"answer" {str(gold)[:80]!r} is no gold for the reward maths: {problem}')

    def _read_part(self, completion: Any) -> str:
        text = text_of(completion)
        return text if self._after is None else tail(text, self._after) or ""


def _unless_copied(result: Result, gold: Any, prompt: Any) -> Result:
    """An equal answer that is an unworked calculation of the prompt is none."""
    if result.verdict != "equal" or not is_echo(result.extracted or "", gold_text(gold), text_of(prompt)):
        return result
    return replace(result, verdict="different", rule=f"{result.rule}, copied from the prompt")


def _check_errors(results: Sequence[Result]) -> None:
    wrong = [r for r in results if r.verdict == "error"]
    if len(wrong) < MIN_ERRORS or len(wrong) <= MAX_ERRORS * len(results):
        return
    raise RewardError(
        f"reward maths could not judge {len(wrong)} of {len(results)} answers, through no fault of theirs (> 1 %). "
        f"The first: {(wrong[0].extracted or '')[:80]!r} ({wrong[0].rule}):\n{wrong[0].trace.rstrip()}",
        code="reward-raised",
    )


def maths(
    tolerance: float | str = 0,
    rules: Sequence[str] = DEFAULT,
    after: str | None = None,
    seconds: Seconds = 2.0,
    workers: Workers = 2,
    echo: bool = False,
    conventions: Conventions | None = None,
) -> Maths:
    """1 where the answer equals the column `answer` mathematically, else 0; None where it could not be judged.

    `tolerance`: the relative error allowed between numbers; 0 is none. `rules`: where an answer may stand. `after`:
    read only what follows its last occurrence. `seconds` of processor time for one comparison that needs algebra, on up
    to `workers` processes. `echo`: whether a calculation or expression copied from the prompt is an answer.
    `conventions`: `Conventions` or the choices that differ from the usual ones, by name.
    """
    if not isinstance(echo, bool):
        raise ValueError(f"echo must be true or false, got {echo!r}")
    if not isinstance(rules, list | tuple) or not rules or any(r not in RULES for r in rules):
        raise ValueError(f"rules must be a list of {', '.join(RULES)}, got {rules!r}")
    if not isinstance(seconds, int | float) or not isinstance(workers, int) or seconds <= 0 or workers < 1:
        raise ValueError(f"seconds must be above 0 and workers at least 1, got {seconds!r} and {workers!r}")
    limits = Limits(seconds=float(seconds), size=workers)
    return Maths(Verifier(_share(tolerance), rules, limits, conventions_of(conventions)), after, echo)


def _share(tolerance: Any) -> Fraction:
    """Exactly what was written: 0.01 is 1/100."""
    try:
        share = Fraction(-1 if isinstance(tolerance, bool) else str(tolerance))
    except (ValueError, ZeroDivisionError):
        share = Fraction(-1)
    if not 0 <= share < 1:
        raise ValueError(f"tolerance must be at least 0 and below 1, got {tolerance!r}")
    return share
