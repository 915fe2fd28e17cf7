"""`python -m bench.code_suites [FILE ...]`: what the reward `code` makes of tests in every format; exit 1 if it errs.

Without a file: our own rows. A file holds cases (`kind`, `row`, `response`, `expected`), or is one of HumanEval,
HumanEval+, MBPP and MBPP+ as they are published (`.jsonl`, `.jsonl.gz`): the reference solutions and changes of them,
which are right or wrong by what becomes of them with the tests in one process, inside the sandbox.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Literal

from bench.code_suites import public, rows
from bench.code_suites.cases import Case, cases_in, read
from postlude.code import cases as tests
from postlude.code.compare import Comparison
from postlude.code.grade import Grading
from postlude.rewards.code import Code, code
from postlude.sandbox.backends import choose
from postlude.sandbox.pool import Pool
from postlude.sandbox.settings import Limits, folder_of

Outcome = Literal["accepted", "rejected", "refused"]
COLUMNS = ("right", "rejected", "refused", "wrong", "accepted", "cheats", "paid", "bad rows", "read")
"""Right answers and those not paid, wrong answers and those paid, cheats and those paid, bad rows and those read."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.code_suites", description=__doc__)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--show", type=int, default=10, help="so many of each kind that go wrong are printed")
    parser.add_argument("--workers", type=int, default=min(os.cpu_count() or 1, 8))
    given = parser.parse_args()
    try:
        chosen = [case for file in given.files for case in _of(file)] if given.files else list(rows.cases())
    except (OSError, ValueError, KeyError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    began = time.perf_counter()
    judge = Judge(given.workers)
    with ThreadPoolExecutor(given.workers) as threads:
        outcomes = list(threads.map(judge.outcome, chosen))
    judge.close()
    table = Table()
    for case, outcome, said in outcomes:
        table.add(case, outcome, said)
    print(table.text(given.show))
    print(f"\n{len(chosen)} answers in {time.perf_counter() - began:.0f} s")
    return table.errs


def _of(file: Path) -> Iterator[Case]:
    first = next(iter(read(file)), {})
    return cases_in(file) if "response" in first else public.cases_of(file)


class Judge:
    """Rewards by their arguments, and what was found of rows."""

    def __init__(self, workers: int) -> None:
        self._workers, self._rewards = workers, dict[str, Code]()
        limits = Limits(seconds=10, memory=4096, packages=("numpy",) if folder_of("numpy") else ())
        self._pool = Pool(choose("auto", Limits()).backend, limits, workers)
        self._problem = cache(self._checked)

    def outcome(self, case: Case) -> tuple[Case, Outcome, str]:
        """The case, with what it is where that shows only when it runs; what became of it; why."""
        if case.alone:
            [result] = Grading(self._pool, case.alone, Comparison()).run([tests.Script("", "", "words")])
            case = replace(case, wanted="wrong" if result.word in ("crashed", "timeout") else "right")
        args = json.dumps(dict(case.args), sort_keys=True)
        if problem := self._problem(args, json.dumps(dict(case.row), sort_keys=True)):
            return case, "refused", problem
        verdict = self._reward(args).verdict(case.answer, case.row)
        if verdict.score("all") is None:
            return case, "refused", verdict.detail
        return case, "accepted" if verdict.word == "passed" else "rejected", f"{verdict.word}: {verdict.detail}"

    def _checked(self, args: str, row: str) -> str:
        return str(self._reward(args).check_row(json.loads(row)) or "")

    def _reward(self, args: str) -> Code:
        if args not in self._rewards:
            self._rewards[args] = code(**{**json.loads(args), "workers": self._workers})
        return self._rewards[args]

    def close(self) -> None:
        for each in (*self._rewards.values(), self._pool):
            each.close()


@dataclass
class Table:
    """Counts by suite, and the cases that went wrong."""

    counts: dict[str, dict[str, int]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(int)))
    wrong: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def add(self, case: Case, outcome: Outcome, said: str) -> None:
        count = self.counts[case.suite]
        count[{"cheat": "cheats", "bad row": "bad rows"}.get(case.wanted, case.wanted)] += 1
        column = {
            "right": "" if outcome == "accepted" else outcome,
            "wrong": "accepted" if outcome == "accepted" else "",
            "cheat": "paid" if outcome == "accepted" else "",
            "bad row": "" if outcome == "refused" else "read",
        }[case.wanted]
        if column:
            count[column] += 1
            self.wrong[f"{case.wanted}, {outcome}"].append(f"{case.suite}: {case.name}: {said[:160]}")

    @property
    def errs(self) -> int:
        """1 where a wrong answer or a cheat was paid, or over 2 % of the right ones were not."""
        total = self._total()
        lost = total["rejected"] + total["refused"]
        return int(bool(total["accepted"] + total["paid"]) or lost > 0.02 * max(1, total["right"]))

    def _total(self) -> dict[str, int]:
        return {name: sum(count[name] for count in self.counts.values()) for name in COLUMNS}

    def text(self, show: int) -> str:
        lines = list(self._examples(show))
        head = " | ".join(["format", *COLUMNS])
        body = [self._row(suite, count) for suite, count in self.counts.items()]
        return "\n".join(
            [*lines, f"| {head} |", "|" + "---|" * (len(COLUMNS) + 1), *body, self._row("all", self._total())]
        )

    def _row(self, suite: str, count: dict[str, int]) -> str:
        return f"| {suite} | {' | '.join(str(count[name]) for name in COLUMNS)} |"

    def _examples(self, show: int) -> Iterable[str]:
        for what, found in self.wrong.items():
            yield from (f"{what}: {text}" for text in found[:show])
            if len(found) > show:
                yield f"{what}: and {len(found) - show} more"


if __name__ == "__main__":
    sys.exit(main())
