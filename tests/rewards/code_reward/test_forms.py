"""Test code as people write it: right programs pass, wrong ones and cheats do not, rows that judge nothing are bad."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from postlude.rewards.code import Code, code
from postlude.sandbox.settings import Backend

FIXTURES = Path(__file__).parents[2] / "fixtures"
ADD, SUB = "def add(a, b): return a + b", "def add(a, b): return a - b"


def rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (FIXTURES / name).read_text().splitlines()]


@pytest.fixture(scope="module")
def reward(backend: Backend) -> Iterator[Code]:
    reward = code(seconds=5, workers=2, fence="optional")
    yield reward
    reward.close()


def test_forms_of_test_code(reward: Code) -> None:
    forms = rows("code_forms.jsonl")
    assert len(forms) > 100
    tried = [
        (form, program, score) for form in forms for score in (1, 0) for program in form[("wrong", "right")[score]]
    ]
    with ThreadPoolExecutor(2) as threads:
        verdicts = list(threads.map(lambda one: reward.verdict(one[1], one[0]["columns"]), tried))
    wrong = [(f["name"], p, v) for (f, p, score), v in zip(tried, verdicts, strict=True) if v.score("all") != score]
    assert wrong == []


@pytest.mark.parametrize("row", rows("code_bad_rows.jsonl"), ids=lambda row: row["name"])
def test_rows_that_judge_nothing_are_refused(reward: Code, row: dict[str, Any]) -> None:
    if row["said"]:
        assert row["said"] in (reward.check_row(row["columns"]) or "")
    else:
        assert {reward.verdict(program, row["columns"]).score("all") for program in (ADD, SUB)} == {None}


def test_each_test_function_is_a_test_of_its_own(reward: Code) -> None:
    tests = "def test_a():\n    assert add(0, 0) == 0\n\ndef test_b():\n    assert add(1, 2) == 3\n"
    verdict = reward.verdict(SUB, {"tests": tests + "\ndef test_c():\n    assert 1\n"})
    assert verdict.visible == (True, False) and verdict.score("share") == 0.5


def test_the_last_word_on_a_row_without_a_call_is_no_answers_fault(reward: Code) -> None:
    verdict = reward.verdict(ADD, {"tests": "for n in []:\n    assert add(n, n) == n\n"})
    assert verdict.word == "bad row" and verdict.score("all") is None
    assert verdict.detail == "test 1: it ended without a call of the program"
