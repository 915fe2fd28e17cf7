"""One program against its tests, in a worker."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from postlude.code.cases import AnyOf, Call, Case, Check, Script
from postlude.code.compare import WAYS, Comparison
from postlude.code.conversation import UNASKED, Conversation
from postlude.sandbox.child import STDERR, STDOUT, Child, pump
from postlude.sandbox.inside.clock import CLOCK, IDLE_AFTER
from postlude.sandbox.inside.plain import decode, encode
from postlude.sandbox.pool import Pool
from postlude.sandbox.worker import Worker

Word = Literal["passed", "failed", "crashed", "timeout", "output", "bad row", "untested"]
ORDER: tuple[Word, ...] = ("bad row", "timeout", "output", "crashed", "failed", "passed", "untested")
"""Of several, the first is an answer's verdict."""


@dataclass(frozen=True)
class Result:
    """Of one test."""

    word: Word
    detail: str = ""
    """Why not, in the program's words where it has some: not to be trusted."""


NOT_RUN = "not run, because an earlier one did not end in time"
PASSED = Result("passed")
LATE = {
    "processor": "it did not end in time: it used up its processor time",
    "clock": f"it did not end in time: by the clock it took {CLOCK:g} times its processor time",
    "idle": f"it did not end in time: it only waited, {IDLE_AFTER:g} times its processor time",
}


@dataclass
class Grading:
    """The tests of one program, run one after the other."""

    pool: Pool
    source: str
    comparison: Comparison
    results: dict[int, Result] = field(default_factory=dict[int, Result])
    printed: bytearray = field(default_factory=bytearray)
    """Everything the program printed in any of its runs; not to be trusted."""

    def run(self, cases: Sequence[Case]) -> list[Result]:
        """A result for each. Raises SandboxFault."""
        numbered = list(enumerate(cases))
        calls = [(n, case) for n, case in numbered if isinstance(case, Call)]
        checks = [(n, case) for n, case in numbered if isinstance(case, Check)]
        if calls:
            self._calls(calls)
        if checks:
            self._checks(checks)
        self._scripts([(n, case) for n, case in numbered if isinstance(case, Script)])
        return [self.results[n] for n, _ in numbered]

    # ------------------------------------------------------------------------------------------- calls with values

    def _calls(self, cases: Sequence[tuple[int, Call]]) -> None:
        """All calls go to one process: it is sent the inputs, and must send back one record for each."""
        with self.pool.lease() as worker, self._started(worker, self._job) as child:
            for _, case in cases:
                child.send(_request(case))
            child.hang_up()
            pump(worker, [child], lambda: child.done or child.waiting >= len(cases) + 2)
            child.kill()
            pump(worker, [child], lambda: child.done)
            child.check_start()
            self._judge(cases, [_take(child) for _ in range(child.waiting)], _loss(child))

    def _judge(self, cases: Sequence[tuple[int, Call]], records: list[list[Any]], lost: Result) -> None:
        """`lost` is the result of a test without a record."""
        refused = _not_loaded(records[0], lost) if records else lost
        if len(records) - 1 > len(cases):
            refused = Result("failed", "it sent more results than there were calls")
        for (number, case), record in itertools.zip_longest(cases, records[1 : len(cases) + 1]):
            missing = lost if record is None else self._compared(case, record)
            self.results[number] = refused or missing

    def _compared(self, case: Call, record: list[Any]) -> Result:
        match record:
            case ["value", value]:
                try:
                    got = decode(value)
                except (ValueError, RecursionError) as error:
                    return Result("failed", f"{case.target}: {error}"[:200])
                right = self.comparison.equal(case.expected, got)
                return PASSED if right else Result("failed", f"{case.target} gave {_short(got)}")
            case ["raised", _, said]:
                return Result("failed", f"{case.target} raised {said}")
        return Result("failed", f"{case.target}: its result cannot be read: {_short(record)}")

    @property
    def _job(self) -> dict[str, Any]:
        return {"kind": "calls", "source": self.source}

    # ------------------------------------------------------------------------------------------- test code, apart

    def _checks(self, cases: Sequence[tuple[int, Check]]) -> None:
        """The test code runs in a second process, where the program's names are remote."""
        job = _job([case for _, case in cases])
        with (
            self.pool.lease() as worker,
            self._started(worker, {"kind": "served", "source": self.source}) as tested,
            self._started(worker, job) as tester,
        ):
            pump(worker, [tested, tester], lambda: tested.done or tested.waiting >= 2)
            tested.check_start()
            refused = _not_loaded(_take(tested), Result("crashed")) if tested.waiting else _loss(tested)
            talk, contact = Conversation(worker, tested, tester), Contact()
            outcomes = [] if refused else [contact.result(record, calls) for record, calls in talk.records()]
            refused = Result("failed", UNASKED) if talk.unasked else refused
            lost = refused or self._end_of(worker, tested, tester)
        results = [outcome for outcome in outcomes if outcome is not None]
        for (number, _), result in itertools.zip_longest(cases, results[: len(cases)]):
            self.results[number] = refused or result or lost

    def _end_of(self, worker: Worker, tested: Child, tester: Child) -> Result:
        """What became of the tests that gave no result."""
        if tested.end is not None or tested.trouble:
            pump(worker, [tested], lambda: tested.done)
            return _loss(tested)
        tester.kill()
        pump(worker, [tester], lambda: tester.done)
        return _loss(tester)

    # ------------------------------------------------------------------------------------------- scripts

    def _scripts(self, cases: Sequence[tuple[int, Script]]) -> None:
        """Each run is a process of its own. After one that does not end in time the others are not tried."""
        late = False
        for number, case in cases:
            self.results[number] = Result("timeout", NOT_RUN) if late else self._script(case)
            late = self.results[number].word == "timeout"

    def _script(self, case: Script) -> Result:
        job = {"kind": "script", "source": self.source}
        with self.pool.lease() as worker, self._started(worker, job, case.stdin) as child:
            child.hang_up()
            pump(worker, [child], lambda: child.done)
            child.check_start()
            if child.trouble or not _ended_well(child):
                return _loss(child)
            printed = child.printed[STDOUT].decode(errors="replace")
        return self._judged(case, printed)

    def _judged(self, case: Script, printed: str) -> Result:
        """By its checker's code where it has some: that runs as a program of its own, long after the other ended."""
        wrong = Result("failed", f"it printed {_short(printed)}")
        if not case.checker or case.checker in WAYS:
            return PASSED if self.comparison.same_text(case.stdout, printed, case.checker or "lines") else wrong
        call = Call("check", [case.stdin, printed, case.stdout], AnyOf((True, 1)))
        [result] = Grading(self.pool, case.checker, Comparison()).run([call])
        return result if result == PASSED else Result("failed", f"{wrong.detail}; checker: {result.detail}")

    @contextlib.contextmanager
    def _started(self, worker: Worker, job: dict[str, Any], stdin: str = "") -> Iterator[Child]:
        child = Child(worker, job, stdin)
        try:
            yield child
        finally:
            child.close()
            self.printed += child.printed[STDOUT] + child.printed[STDERR]


def _job(cases: Sequence[Check]) -> dict[str, Any]:
    """Each source once, with the tests of it that are wanted."""
    sources = {(case.source, case.names, case.modules): None for case in cases}
    numbers = {source: number for number, source in enumerate(sources)}
    return {
        "kind": "checks",
        "sources": [{"source": source, "names": names, "modules": modules} for source, names, modules in sources],
        "items": [(numbers[case.source, case.names, case.modules], case.test) for case in cases],
    }


@dataclass
class Contact:
    """How often the test code called the program."""

    loading: int = 0
    """While its module was loaded."""
    before: int = 0
    """By the tests of that module that ran before."""

    def result(self, record: Sequence[Any], calls: int) -> Result | None:
        """Of the test that ended. Without a call its outcome is the same for every program, so it judges none."""
        if record[0] == "loaded":
            self.loading, self.before = (calls, 0) if record[1] is True else (self.loading, self.before)
            return None
        self.before += calls
        match record:
            case ["passed"]:
                return PASSED if calls + self.loading else Result("untested", "it ended without a call of the program")
            case ["skipped", why] if calls:
                return Result("failed", f"test code: skipped: {why}")
            case ["skipped", why, *_]:
                return Result("untested", f"skipped: {why}")
            case [_, _, said]:
                word = "failed" if self.before + self.loading else "bad row"
                return Result(word, f"test code: {said}")
        return Result("failed", f"test code: {_short(record)}")


def _request(case: Call) -> dict[str, Any]:
    kwargs = {k: encode(v) for k, v in case.kwargs.items()}
    return {"target": case.target, "args": [encode(a) for a in case.args], "kwargs": kwargs}


def _take(child: Child) -> list[Any]:
    """The next record; one that cannot be read is a record that says so."""
    try:
        return child.take() or ["none"]
    except ValueError as error:
        return ["unreadable", str(error)]


def _not_loaded(record: list[Any], lost: Result) -> Result | None:
    """Why the program could not be loaded; None where it was."""
    if record == ["loaded"]:
        return None
    return Result("crashed", str(record[1])) if record[0] == "broken" and len(record) == 2 else lost


def _ended_well(child: Child) -> bool:
    end = child.end
    return end is not None and not end["late"] and end["status"] == 0


def _loss(child: Child) -> Result:
    """What became of a program that ended without the result that was wanted."""
    end = child.end or {"late": "", "status": 0}
    if end["late"]:
        return Result("timeout", LATE[end["late"]])
    if child.trouble == "output":
        return Result("output", "it printed too much")
    if child.trouble == "record":
        return Result("failed", "its results are too large")
    code = os.waitstatus_to_exitcode(end["status"])
    how = f"signal {-code} ended it" if code < 0 else f"it ended with status {code}"
    said = child.printed[STDERR].decode(errors="replace").strip().splitlines()
    return Result("crashed", f"{how}: {said[-1][:200]}" if said else how)


def _short(value: Any) -> str:
    """The first 80 characters; a value may be too large or too deep to write."""
    try:
        return repr(value)[:80]
    except (ValueError, RecursionError):
        return f"a {type(value).__name__} that cannot be written"
