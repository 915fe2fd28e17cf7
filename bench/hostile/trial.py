"""One program: graded in a sandbox of its own, and everything it did outside written down."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.hostile.world import SECRET, World
from postlude.code.compare import Comparison
from postlude.code.grade import Grading
from postlude.rewards.code import Tests, Verdict
from postlude.sandbox.inside.clock import CLOCK
from postlude.sandbox.pool import Pool
from postlude.sandbox.settings import Backend, Limits
from postlude.sandbox.worker import PATIENCE, SandboxFault

TESTS = {
    "test": "assert solve(2) == 11\nassert solve(3) == 16\nassert solve(10) == 107",
    "hidden_tests": [{"call": "solve", "args": [n], "expected": n * n + 7} for n in (5, -4, 1000)],
}
"""Of the task `solve(n) == n*n + 7`, unless the index gives `tests` and `hidden_tests` of its own."""
APART = {"test": "for n in (2, 3, 10, 5):\n    got = solve(n)\n    assert type(got) is int and got == n * n + 7"}
"""The same as test code that cannot be read as calls."""
MOST = {"FORKS": 64, "ALLOC": 1024, "DISK": 0}
"""What a program may say it reached: processes, MiB of memory, MiB of disk."""


@dataclass(frozen=True)
class Trial:
    """What became of a program."""

    verdict: str
    rewards: Sequence[float | None]
    seconds: float
    """Of the slower grading."""
    harms: Sequence[str]
    detail: str = ""


def try_program(source: str, world: World, backend: Backend, limits: Limits, columns: list[dict[str, Any]]) -> Trial:
    """Grade the program once for each set of tests, on a worker that no other program had."""
    source = world.meets(source)
    verdicts, harms, slowest = [], [], 0.0
    pool = Pool(backend, limits, 1)
    for tests in columns:
        start = time.monotonic()
        verdict, printed = _grade(pool, source, tests)
        slowest = max(slowest, time.monotonic() - start)
        verdicts.append(verdict)
        harms += _admitted(printed)
    pool.close()
    if slowest > CLOCK * limits.seconds + PATIENCE:  # by the clock, whatever else the machine does
        harms.append(f"took {slowest:.1f} s")
    harms += world.harms()
    word = next((v for v in verdicts if v.word != "passed"), verdicts[0])
    rewards = tuple(v.score("all") for v in verdicts)
    return Trial(word.word, rewards, slowest, tuple(dict.fromkeys(harms)), word.detail)


def _grade(pool: Pool, source: str, columns: dict[str, Any]) -> tuple[Verdict, str]:
    tests = Tests.of(columns)
    assert tests is not None
    grading = Grading(pool, source, Comparison())
    try:
        verdict = Verdict.of(grading.run([*tests.visible, *tests.hidden]), len(tests.visible))
    except SandboxFault as fault:
        verdict = Verdict("fault", detail=str(fault))
    return verdict, grading.printed.decode(errors="replace")


def _admitted(printed: str) -> list[str]:
    """Harms a program reports of itself."""
    found = [line[:60] for line in printed.splitlines() if line.startswith("LEAK:") and line != "LEAK:surface=none"]
    for name, most in MOST.items():
        reached = [int(n) for n in re.findall(rf"^{name}:(\d+)", printed, re.MULTILINE)]
        found += [f"{name} {max(reached)}"] if reached and max(reached) > most else []
    if SECRET in printed:
        found.append("printed the secret")
    if len(printed) > 4 << 20:
        found.append("printed more than 4 MiB")
    return found


def tests_of(index: dict[str, Any], entry: dict[str, Any]) -> list[dict[str, Any]]:
    """The sets of tests a program is graded by."""
    given = entry if "tests" in entry else index
    if "tests" in given:
        return [{name: given[name] for name in ("tests", "hidden_tests") if name in given}]
    return [TESTS, APART]


def source_of(folder: Path, entry: dict[str, Any]) -> str:
    return (folder / entry["file"]).read_text(encoding="utf-8", errors="surrogateescape")
