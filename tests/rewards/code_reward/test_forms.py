"""Test code as people write it: right programs pass, wrong ones and cheats do not, rows that judge nothing are bad."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from postlude.rewards.code import Code, code
from postlude.sandbox.settings import Backend
from tests.rewards.code_reward.forms import ADD, EMPTY, FORMS, REFUSED, SUB


@pytest.fixture(scope="module")
def reward(backend: Backend) -> Iterator[Code]:
    reward = code(seconds=5, workers=2, fence="optional")
    yield reward
    reward.close()


def test_forms_of_test_code(reward: Code) -> None:
    tried = [(form, program, program in form.right) for form in FORMS for program in (*form.right, *form.wrong, EMPTY)]
    with ThreadPoolExecutor(2) as threads:
        verdicts = list(threads.map(lambda one: reward.verdict(one[1], one[0].columns), tried))
    for (form, program, right), verdict in zip(tried, verdicts, strict=True):
        score = verdict.score("all")
        assert score == float(right), (form.name, program, verdict)


@pytest.mark.parametrize("name", REFUSED)
def test_rows_that_judge_nothing_are_refused(reward: Code, name: str) -> None:
    columns, said = REFUSED[name]
    problem = reward.check_row(columns)
    if said:
        assert problem is not None and said in problem
    else:
        assert {reward.verdict(program, columns).score("all") for program in (ADD, SUB)} == {None}


def test_each_test_function_is_a_test_of_its_own(reward: Code) -> None:
    tests = "def test_a():\n    assert add(0, 0) == 0\ndef test_b():\n    assert add(1, 2) == 3\ndef test_c():\n    assert 1\n"
    verdict = reward.verdict(SUB, {"tests": tests})
    assert verdict.visible == (True, False) and verdict.score("share") == 0.5
