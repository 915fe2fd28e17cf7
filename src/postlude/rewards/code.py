"""The reward `code`: programs against tests, in a sandbox."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from postlude.bounds import Bounds, NotNegative, Workers
from postlude.code.cases import Case, Check, Script
from postlude.code.columns import HIDDEN, READ, VISIBLE, tests_of
from postlude.code.compare import Comparison
from postlude.code.grade import ORDER, Grading, Result
from postlude.code.obstacles import Need, reason
from postlude.code.program import Wanted, located, program_of
from postlude.code.solutions import SOLUTIONS, Solution
from postlude.code.useless import CONSTANTS, IDLE, SECONDS, Useless, constants, may_pass, no_use, prints_nothing
from postlude.errors import Problem, RewardError
from postlude.rewards.functions import Referenced, text_of
from postlude.sandbox.backends import choose
from postlude.sandbox.pool import Pool
from postlude.sandbox.settings import PACKAGES, Limits, folder_of
from postlude.sandbox.worker import SandboxFault
from postlude.words import counted

MOST_TRIED = 2_000
"""Rows without a solution on whose test code programs that do nothing are tried, at two runs a row."""
MOST_CONSTANT = 300
"""Rows on whose test code programs that always give the same are tried, at six runs a row."""
FEWEST_FAULTS = 3
"""So many faults of the sandbox in a step are never taken for bad luck, if they are more than MOST_FAULTS of it."""
MOST_FAULTS = 0.01


@dataclass(frozen=True)
class Tests:
    """Of one row: those a model may have been shown, and those it was not."""

    visible: list[Case]
    hidden: list[Case]

    @property
    def cases(self) -> list[Case]:
        return [*self.visible, *self.hidden]

    @property
    def packages(self) -> set[str]:
        """Those beyond the standard library that test code imports."""
        checks = [case for case in self.cases if isinstance(case, Check)]
        return {what for case in checks for kind, what in case.needs if kind == "package"}

    @classmethod
    def of(cls, columns: Mapping[str, Any]) -> Tests | None:
        """None where the row has none. Raises ValueError naming the column."""
        parts = tests_of(columns)
        if not any(parts):
            return None
        return cls(*parts)


@dataclass(frozen=True)
class Verdict:
    """Of one answer."""

    word: str
    """passed, failed, crashed, timeout, output, no program, no tests, bad row or fault."""
    visible: tuple[bool, ...] = ()
    hidden: tuple[bool, ...] = ()
    detail: str = ""

    @classmethod
    def of(cls, results: Sequence[Result], visible: int) -> Verdict:
        """The worst of them. Tests that judged nothing do not count; where all of a kind did not, the row is bad."""
        groups = results[:visible], results[visible:]
        nothing = any(group and all(r.word == "untested" for r in group) for group in groups)
        worst = next(w for w in ORDER if any(r.word == w for r in results))
        number = next((n for n, r in enumerate(results) if r.word == ("untested" if nothing else worst)), 0)
        word = "bad row" if nothing else worst
        detail = "" if word == "passed" else f"test {number + 1}: {results[number].detail}"
        seen, unseen = (tuple(r.word == "passed" for r in group if r.word != "untested") for group in groups)
        return cls(word, seen, unseen, _printable(detail))

    def score(self, how: str) -> float | None:
        """1 or 0, with `share` the share of tests passed; None where there is nothing to judge by."""
        if self.word in ("fault", "no tests", "bad row"):
            return None
        passed = self.visible + self.hidden
        if how == "share" and passed:
            return sum(passed) / len(passed)
        return float(self.word == "passed")


class Code(Referenced):
    """The reward function. Safe to call from several event loops and threads."""

    one_of = (*VISIBLE, *HIDDEN)
    reads = (*READ, *SOLUTIONS)

    def __init__(self, pool: Pool, note: str, comparison: Comparison, score: str, fence: str, size: int) -> None:
        self.note = note
        """What isolates the programs, in one line."""
        self._pool, self._comparison, self._score, self._fence = pool, comparison, score, fence
        self._threads = ThreadPoolExecutor(size, "postlude-code")
        self._faults = Faults()
        self._tried = 0
        """Rows without a solution whose test code was tried."""
        self._constant = 0
        """Rows on whose test code constants were tried."""
        self.weak = Counter[str]()
        """What is said of rows whose tests are weak -> in how many."""

    async def __call__(
        self,
        completions: Sequence[Any],
        trainer_state: Any,
        log_metric: Callable[[str, float], None],
        log_extra: Callable[[str, Sequence[Any]], None],
        prompts: Sequence[Any] = (),
        **columns: Sequence[Any],
    ) -> list[float | None]:
        asked = {"prompt": prompts} if prompts else {}
        rows = [{name: values[i] for name, values in {**columns, **asked}.items()} for i in range(len(completions))]
        waiting = [
            asyncio.wrap_future(self._threads.submit(self.verdict, text_of(c), row))
            for c, row in zip(completions, rows, strict=True)
        ]
        verdicts = await asyncio.gather(*waiting)
        self._log(verdicts, log_metric, log_extra)
        self._faults.count(trainer_state.global_step, verdicts)
        return [v.score(self._score) for v in verdicts]

    def verdict(self, answer: str, columns: Mapping[str, Any]) -> Verdict:
        """Of one answer to a row of these columns. Raises RewardError where the tests are wrong."""
        try:
            tests = self._tests(columns)
        except ValueError as error:
            raise RewardError(
                f"reward code: {error}. Correct the row, or take it out of the data.", code="unreadable-gold"
            ) from error
        if tests is None:
            return Verdict("no tests")
        source = program_of(answer, self._fence, Wanted.by(tests.cases))
        if source is None:
            return Verdict("no program", (False,) * len(tests.visible), (False,) * len(tests.hidden))
        return self._graded(source, tests)

    def _tests(self, columns: Mapping[str, Any]) -> Tests | None:
        """As `Tests.of`; ValueError too where they need what this sandbox does not have."""
        tests = Tests.of(_read(columns))
        for case in tests.cases if tests else ():
            for need in case.needs if isinstance(case, Check) else ():
                self._require_met(need)
        return tests

    def _require_met(self, need: Need) -> None:
        kind, what = need
        if kind == "package" and what in PACKAGES:
            if folder_of(what) is None:
                raise ValueError(f"the tests import {what}, which is not installed here: pip install {what}")
        elif kind != "files" or not self._pool.limits.scratch:
            raise ValueError(reason(need))

    def _graded(self, source: str, tests: Tests, most: float | None = None) -> Verdict:
        """A fault is tried once more, with another worker. `most`: seconds, where that is less than usual."""
        reason = ""
        pool = self._pool.having(tests.packages, most)
        for _ in range(2):
            try:
                results = Grading(pool, source, self._comparison).run(located(source, tests.cases))
                return Verdict.of(results, len(tests.visible))
            except SandboxFault as fault:
                reason = str(fault)
        return Verdict("fault", detail=_printable(reason))

    def check_row(self, columns: Mapping[str, Any]) -> Problem | None:
        """What is wrong with a row: tests that cannot be read, or a right program that fails them; else None."""
        columns = _read(columns)
        try:
            tests = self._tests(columns)
            solution = Solution.of(columns, Wanted.by(tests.cases)) if tests else None
        except ValueError as error:
            return Problem("unreadable-gold", str(error))
        if tests is None:
            return Problem("missing-field", _no_tests(columns))
        if refused := self._refused_by_checkers(tests):
            return Problem("unreadable-gold", f"column checker: {refused}")
        if reason := self._judging_nothing(tests, solution is not None):
            return Problem("unreadable-gold", f"the tests judge nothing: {reason}")
        return self._failing(solution, tests) if solution else None

    def _failing(self, solution: Solution, tests: Tests) -> Problem | None:
        """That no program which the data call right passes."""
        verdicts: list[Verdict] = []
        for program in solution.programs:
            verdicts.append(self._graded(program, tests))
            if verdicts[-1].word == "passed":
                return None
        first = verdicts[0]
        which = "the reference solution does" if len(verdicts) == 1 else f"the first {len(verdicts)} programs do"
        return Problem(
            "unreadable-gold",
            f"column {solution.column}: {which} not pass {'its' if len(verdicts) == 1 else 'their'} own tests "
            f"({first.word}; {first.detail})",
        )

    def good_answer(self, columns: Mapping[str, Any]) -> str | None:
        """A right answer to the row as a model should write it, where its data have one."""
        columns = _read(columns)
        try:
            tests = Tests.of(columns)
            solution = Solution.of(columns, Wanted.by(tests.cases)) if tests else None
        except ValueError:
            return None
        return f"```python\n{solution.programs[0]}\n```" if solution else None

    def _judging_nothing(self, tests: Tests, solved: bool) -> str:
        """Why tests would pay any program, or none; empty where they do not."""
        self._tried += not solved and any(isinstance(case, Check) for case in tests.cases)
        for group in (tests.visible, tests.hidden):
            if prints_nothing(group, self._comparison):
                return "no output is expected, so a program that prints nothing passes them"
            if all(isinstance(case, Check) for case in group) and (solved or self._tried <= MOST_TRIED):
                for program in (no_use(group), IDLE) if group else ():
                    verdict = self._graded(program.source, Tests(group, []), SECONDS)
                    if verdict.word == "passed":
                        return f"a program {program.what} passes them"
                    if verdict.word == "bad row" and program is IDLE:
                        return verdict.detail
                    if verdict.word == "timeout":  # none of the others would end either
                        self.weak[_endless(min(SECONDS, self._pool.limits.seconds))] += 1
                        return ""
        return self._answered_by_a_constant(tests)

    def _answered_by_a_constant(self, tests: Tests) -> str:
        """That every constant passes; one that some constants pass is counted: few tests, or tests of one answer."""
        checks = any(isinstance(case, Check) for case in tests.cases)
        self._constant += checks
        if checks and self._constant > MOST_CONSTANT:
            return ""
        passing: list[Useless] = []
        for program in constants(tests.cases):
            if not may_pass(program, tests.cases, self._comparison):
                continue
            if not checks or self._graded(program.source, tests, SECONDS).word == "passed":
                passing.append(program)
        if sum(bool(program.constant) for program in passing) == len(CONSTANTS):
            return f"programs whose functions always return {', '.join(CONSTANTS)} all pass them"
        if passing:
            self.weak[f"a program {passing[0].what} passes all tests: give them tests with other answers"] += 1
        return ""

    @property
    def remarks(self) -> tuple[str, ...]:
        """What was seen in the rows that were checked and refuses none of them."""
        return tuple(f"in {counted(count, 'row')} {text}" for text, count in self.weak.most_common())

    def _refused_by_checkers(self, tests: Tests) -> str:
        """What is wrong with a checker that refuses the output that is expected; nothing where none does."""
        scripts = [case for case in tests.cases if isinstance(case, Script) and case.checker]
        for case in scripts[:1]:
            verdict = self._graded(f"print({case.stdout!r}, end='')", Tests([case], []))
            if verdict.word != "passed":
                return f"it refuses the output that is expected ({verdict.detail})"
        return ""

    def close(self) -> None:
        """End the workers; a later call starts new ones."""
        self._pool.close()

    def _log(
        self, verdicts: Sequence[Verdict], log_metric: Callable[..., None], log_extra: Callable[..., None]
    ) -> None:
        log_extra("code/verdict", [v.word for v in verdicts])
        log_extra("code/detail", [v.detail for v in verdicts])
        for name in ("visible", "hidden"):
            passed = [getattr(v, name) for v in verdicts]
            log_extra(f"code/{name}", [f"{sum(p)}/{len(p)}" for p in passed])
            for one in filter(None, passed):
                log_metric(name, sum(one) / len(one))
        for verdict in verdicts:
            for word in ("timeout", "crashed", "no program", "bad row", "fault"):
                log_metric(word.replace(" ", "_"), float(verdict.word == word))
            if not self._pool.backend.locked:
                log_metric("unsafe", 1.0)


class Faults:
    """Faults of the sandbox in one step: a few abstain, more stop the run."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._step, self._runs, self._faults = -1, 0, 0

    def count(self, step: int, verdicts: Sequence[Verdict]) -> None:
        """Raises RewardError where there are too many."""
        reasons = [v.detail for v in verdicts if v.word == "fault"]
        with self._lock:
            if step != self._step:
                self._step, self._runs, self._faults = step, 0, 0
            self._runs += len(verdicts)
            self._faults += len(reasons)
            runs, faults = self._runs, self._faults
        if faults >= FEWEST_FAULTS and faults > MOST_FAULTS * runs:
            raise RewardError(
                f"reward code: the sandbox failed on {faults} of {runs} answers of step {step}, last with: "
                f"{(reasons or ['?'])[-1]}. That is more than {MOST_FAULTS:.0%}, so it is no accident: look for a "
                "lack of memory or processes on this machine.",
                code="sandbox-failed",
            )


def _read(columns: Mapping[str, Any]) -> Mapping[str, Any]:
    """The columns with the prompt as text: of messages the last one's."""
    prompt = columns.get("prompt")
    return {**columns, "prompt": text_of(prompt)} if isinstance(prompt, list) and prompt else columns


def _endless(seconds: float) -> str:
    return (
        f"the tests did not end in {seconds:g} s with a program that does nothing, so whether they judge anything is "
        "not known: look for a loop that only a right program ends"
    )


def _no_tests(columns: Mapping[str, Any]) -> str:
    names = (*VISIBLE, *HIDDEN)
    empty = [name for name in names if name in columns]
    there = f"it is empty or null in {', '.join(empty)}" if empty else f"the row has {', '.join(columns) or 'none'}"
    return f"no tests: one of the columns {', '.join(names)} must hold some, and {there}"


def _printable(text: str) -> str:
    """The first 300 characters in one line; what a terminal would obey is escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[:300])


def code(
    sandbox: str = "auto",
    profile: Literal["strict", "files"] = "strict",
    seconds: Annotated[float, Bounds(0.1, 600)] = 5.0,
    memory: Annotated[int, Bounds(64, 10**6)] = 1024,
    scratch: Annotated[int, Bounds(1, 10**6)] = 64,
    score: Literal["all", "share"] = "all",
    tolerance: NotNegative = 0.0,
    types: Literal["exact", "loose"] = "exact",
    fence: Literal["required", "optional"] = "required",
    numpy: Literal["tests", "always"] = "tests",
    workers: Workers | None = None,
) -> Code:
    """1 where the answer's last Python block passes all tests of its row, else 0; None where the row has none.

    `seconds` of processor time for a run, ten times that by the clock; `memory` in MiB. `profile` files: a folder of
    `scratch` MiB. `score` share: the share of tests passed. `tolerance` and `types`: how values are compared.
    `numpy` always: every program may import it, not only where its row's tests do. `sandbox`: `auto`, or a backend by
    name.
    """
    _require(profile in ("strict", "files"), f"profile is strict or files, not {profile!r}")
    _require(score in ("all", "share"), f"score is all or share, not {score!r}")
    _require(types in ("exact", "loose"), f"types is exact or loose, not {types!r}")
    _require(fence in ("required", "optional"), f"fence is required or optional, not {fence!r}")
    _require(numpy in ("tests", "always"), f"numpy is tests or always, not {numpy!r}")
    _require(numpy == "tests" or folder_of("numpy") is not None, "numpy: it is not installed; pip install numpy")
    _require(0.1 <= seconds <= 600, f"seconds must lie in 0.1 to 600, got {seconds}")
    _require(memory >= 64, f"memory must be at least 64 MiB, got {memory}")
    _require(scratch >= 1, f"scratch must be at least 1 MiB, got {scratch}")
    _require(tolerance >= 0, f"tolerance must not be negative, got {tolerance}")
    size = workers if workers is not None else min(os.cpu_count() or 1, 8)
    _require(size >= 1, f"workers must be at least 1, got {size}")
    limits = Limits(seconds=seconds, memory=memory, scratch=scratch if profile == "files" else 0)
    chosen = choose(sandbox, limits)
    limits = replace(limits, packages=("numpy",) if numpy == "always" else ())
    pool = Pool(chosen.backend, limits, size)
    return Code(pool, chosen.line, Comparison(tolerance, types), score, fence, size)


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)
