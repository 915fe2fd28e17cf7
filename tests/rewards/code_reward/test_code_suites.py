"""Every public format, by rows of our own: the first function and script of each, with a few answers of every kind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bench.code_suites import rows
from bench.code_suites.cases import Case
from bench.code_suites.mutants import mutants
from postlude.code.compare import Comparison
from postlude.rewards.code import Code
from postlude.sandbox.pool import Pool
from postlude.sandbox.settings import folder_of

FIRST = (rows.FUNCTIONS[0].name, "script 0")
SUITES = (*rows.FUNCTION_FORMATS, *rows.SCRIPT_FORMATS)


def some(suite: str) -> list[Case]:
    """Of every kind the first two and the last."""
    cases = [case for case in rows.cases() if case.suite == suite and case.name.startswith(FIRST)]
    kinds = {case.wanted: [c for c in cases if c.wanted == case.wanted] for case in cases}
    return [case for each in kinds.values() for case in {c.name: c for c in (*each[:2], each[-1])}.values()]


@pytest.fixture(scope="module")
def judge(pool: Pool) -> Iterator[Code]:
    yield Code(pool, "", Comparison(), "all", "required", 1)


@pytest.mark.parametrize("suite", SUITES)
def test_a_format(judge: Code, suite: str) -> None:
    if suite in ("HumanEval+", "MBPP+") and folder_of("numpy") is None:
        pytest.skip("numpy is not installed")
    for case in some(suite):
        if case.wanted == "bad row":
            assert judge.check_row(case.row) is not None, case.name
        else:
            verdict = judge.verdict(case.answer, case.row)
            assert (verdict.word == "passed") == (case.wanted == "right"), f"{case.name}: {verdict}"


def test_changed_programs_differ_by_one_thing() -> None:
    changed = set(mutants("def f(x):\n    return x + 1 if x > 0 else True\n"))
    assert changed == {
        "def f(x):\n    return x - 1 if x > 0 else True",
        "def f(x):\n    return x + 2 if x > 0 else True",
        "def f(x):\n    return x + 1 if x <= 0 else True",
        "def f(x):\n    return x + 1 if x > 1 else True",
        "def f(x):\n    return x + 1 if x > 0 else False",
        "def f(x):\n    return (x + 1 if x > 0 else True,)",
    }
