"""Right programs that public data hold, in their own columns; and programs of no use that weak tests would pay."""

from __future__ import annotations

import json
from typing import Any

import pytest

from postlude.code.program import Wanted
from postlude.code.solutions import Solution
from postlude.rewards.code import Code, code
from postlude.sandbox.backends import SandboxUnavailable

BODY = {
    "prompt": 'def twice(n: int) -> int:\n    """Two times n."""\n',
    "entry_point": "twice",
    "test": "def check(candidate):\n    assert candidate(2) == 4\n    assert candidate(5) == 10\n",
}
LIST = {"prompt": "Double it.", "test_list": ["assert twice(2) == 4", "assert twice(5) == 10"]}
PRINTED = {"prompt": "Add one.", "input_output": json.dumps({"inputs": ["1\n", "2\n"], "outputs": ["2\n", "3\n"]})}


@pytest.fixture(scope="module")
def judge() -> Code:
    try:
        return code(workers=1)
    except SandboxUnavailable as error:
        pytest.skip(str(error))


@pytest.mark.parametrize(
    "columns",
    [
        {**BODY, "canonical_solution": "    return n + n\n"},
        {**BODY, "prompt": [{"role": "user", "content": BODY["prompt"]}], "canonical_solution": "    return n + n\n"},
        {**BODY, "solution": "def twice(n): return n * 2"},
        {**LIST, "code": "def twice(n):\r\n    return n * 2"},
        {**LIST, "solution": ["def twice(n): return n * 2"]},
        {**LIST, "solution": "```python\ndef twice(n): return n * 2\n```"},
        {**PRINTED, "solutions": json.dumps(["print raw_input()", "print(int(input()) + 1)"])},
        {**PRINTED, "solutions": ["print(int(input()))", "print(int(input()) + 1)"]},
        {**PRINTED, "solutions": {"language": [2, 3], "solution": ["int main(){}", "print(int(input()) + 1)"]}},
    ],
)
def test_a_right_program_of_public_data_is_run(judge: Code, columns: dict[str, Any]) -> None:
    assert judge.check_row(columns) is None
    answer = judge.good_answer(columns)
    assert answer is not None and answer.startswith("```python\n")


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (
            {**BODY, "canonical_solution": "    return n + 1\n"},
            "column canonical_solution: the reference solution does not",
        ),
        ({**LIST, "code": "def twice(n): return n"}, "column code: the reference solution does not pass"),
        ({**LIST, "solution": ["def twice(n): return n"]}, "column solution: the reference solution does not pass"),
        (
            {**PRINTED, "solutions": ["print(1)", "print(int(input()))"]},
            "column solutions: the first 2 programs do not",
        ),
        ({**LIST, "solution": 5}, "column solution: a right program is text, or a list of texts"),
        ({**LIST, "solution": "Add it to itself."}, "column solution: it is no Python 3 program"),
    ],
)
def test_a_wrong_one_is_told_by_its_column(judge: Code, columns: dict[str, Any], said: str) -> None:
    assert said in str(judge.check_row(columns))


@pytest.mark.parametrize("columns", [{"code": "1234A"}, {"code": "int f() {}"}, {"solutions": "[]"}, {"solution": ""}])
def test_columns_that_hold_something_else_are_no_program(columns: dict[str, Any]) -> None:
    assert Solution.of(columns, Wanted(frozenset({"twice"}))) is None


@pytest.mark.parametrize(
    "tests",
    [
        ["assert f(1) == f(1)"],
        "def test_a():\n    assert f(3) in (0, '', [], None, True)",
        [{"stdin": "1", "stdout": ""}],
        [{"stdin": "1", "stdout": " \n"}, {"stdin": "2", "stdout": "\n"}],
    ],
)
def test_rows_that_pay_whatever_is_given_are_refused(judge: Code, tests: Any) -> None:
    assert "the tests judge nothing" in str(judge.check_row({"tests": tests}))


@pytest.mark.parametrize(
    ("tests", "said"),
    [
        (["assert f(3) == 0", "assert f(5) == 0"], "whose functions always return 0"),
        ([{"call": "Solution().f", "args": [3], "expected": True}], "whose functions always return True"),
        (
            "def test_a():\n    for g, w in zip(f([3, 1]), [1, 3]):\n        assert g == w",
            "whose functions always return ''",
        ),
        ("def test_a():\n    assert isinstance(f(1), int)", "whose functions always return 0"),
        (["assert f(3) == 3"], "whose functions return their first argument"),
    ],
)
def test_rows_that_a_constant_passes_are_counted_and_not_refused(judge: Code, tests: Any, said: str) -> None:
    judge.weak.clear()
    assert judge.check_row({"tests": tests}) is None
    assert len(judge.remarks) == 1 and said in judge.remarks[0] and judge.remarks[0].startswith("in 1 row ")


def test_tests_of_two_answers_are_not_weak(judge: Code) -> None:
    judge.weak.clear()
    assert judge.check_row({"tests": ["assert f(3) == 0", "assert f(4) == 1"]}) is None
    assert judge.check_row({"tests": [{"stdin": "1", "stdout": ""}, {"stdin": "2", "stdout": "x"}]}) is None
    assert judge.remarks == ()


def test_tests_that_only_a_right_program_ends_are_said() -> None:
    judge = code(workers=1, seconds=0.1)
    assert judge.check_row({"tests": "def test_a():\n    while f(1) != 2:\n        pass\n    assert f(1) == 2"}) is None
    assert "in 1 row the tests did not end in 0.1 s with a program that does nothing" in judge.remarks[0]
    judge.close()
