"""Tests in the shapes of public data sets: read as they are, or refused with what to do."""

from __future__ import annotations

import base64
import json
import pickle
import zlib
from collections.abc import Iterator
from typing import Any

import pytest

from postlude.code import columns
from postlude.code.cases import AnyOf, Call, Check, Script
from postlude.code.columns import cases_of
from postlude.code.compare import Comparison
from postlude.rewards.code import Code
from postlude.sandbox.pool import Pool

STDIN = {"input": "1 2\n", "output": "3\n"}
ONE = [Script("1 2\n", "3\n")]


def named(target: str, args: list[Any], *meant: Any) -> Call:
    return Call(target, args, AnyOf(meant), or_method=True)


@pytest.mark.parametrize(
    "value",
    [
        [STDIN],
        [{**STDIN, "testtype": "stdin"}],
        [{**STDIN, "type": "stdin_stdout"}],
        [{**STDIN, "type": "stdin_stdout", "fn_name": None}],
        [{**STDIN, "testtype": "stdin", "metadata": {"func_name": None}}],
        {"input": ["1 2\n"], "output": ["3\n"]},
        {"inputs": ["1 2\n"], "outputs": ["3\n"]},
        {"inputs": ["1 2\n"], "outputs": ["3\n"], "fn_name": None},
        {"inputs": [["1 2"]], "outputs": [["3"]]},
        {"inputs": [["1 2"]], "outputs": [[3]]},
        {"language": "python", "test_cases": [{**STDIN, "type": "stdin_stdout"}]},
        [STDIN | {"explanation": "because"}],
    ],
)
def test_scripts(value: object) -> None:
    assert cases_of(value) == ONE
    assert cases_of(json.dumps(value)) == ONE
    assert cases_of(json.dumps(json.dumps(value))) == ONE


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"inputs": [[1, 2], [3, 4]], "outputs": [3, 7], "fn_name": "f"}, [([1, 2], 3), ([3, 4], 7)]),
        ({"inputs": [[1], [2]], "outputs": [[1], [2, 3]], "fn_name": "f"}, [([1], [1]), ([2], [2, 3])]),
        ([{"input": "[1, 2]\n3", "output": "[4]", "testtype": "functional"}], [([[1, 2], 3], [4])]),
        ([{"input": '"a\\nb"', "output": '"c"', "testtype": "functional"}], [(["a\nb"], "c")]),
        ([{"input": "", "output": "null", "testtype": "functional"}], [([], None)]),
        ([{"input": [1], "output": "x", "type": "functional"}], [([1], "x")]),
    ],
)
def test_calls_by_name(value: object, expected: list[tuple[list[Any], Any]]) -> None:
    calls = [named("f", args, meant) for args, meant in expected]
    assert cases_of(value, "f") == cases_of(json.dumps(value), "f") == calls


def test_a_list_of_one_in_every_output_may_be_a_wrapper() -> None:
    cases = cases_of({"inputs": [[1], [2]], "outputs": [[[3]], [[]]], "fn_name": "f"})
    assert cases == [named("f", [1], [[3]], [3]), named("f", [2], [[]], [])]
    [case] = cases_of([{"type": "function_call", "fn_name": "f", "input": [1], "output": [3]}])
    assert case == named("f", [1], [3], 3)


def test_keys_that_are_whole_numbers() -> None:
    cases = cases_of({"inputs": [[{"1": "a"}], [{"a": 1}]], "outputs": [{"2": 1}, 0], "fn_name": "f"})
    assert cases == [named("f", [{1: "a"}], {"2": 1}, {2: 1}), named("f", [{"a": 1}], 0)]


def test_json_means_lists_for_tuples_but_never_true_for_one() -> None:
    how = Comparison()
    assert how.equal(AnyOf(([1, 2],)), (1, 2)) and how.equal(AnyOf((2,)), 2.0)
    assert not how.equal(AnyOf((1,)), True) and not how.equal(AnyOf(([3], 3)), [[3]])
    assert not how.equal(AnyOf(([1],)), {1}) and not how.equal(AnyOf((1,)), "1")


@pytest.mark.parametrize(
    ("row", "visible", "hidden"),
    [
        ({"public_test_cases": json.dumps([STDIN]), "private_test_cases": json.dumps([STDIN] * 2)}, 1, 2),
        ({"public_tests": {"input": ["a"], "output": ["b"]}, "private_tests": {"input": [], "output": []}}, 1, 0),
        (
            {"public_tests": {"input": ["a"], "output": ["b"]}, "private_tests": [STDIN], "generated_tests": [STDIN]},
            *(1, 2),
        ),
        ({"examples": [STDIN], "official_tests": [STDIN] * 3}, 1, 3),
        ({"examples": "words", "tests": [STDIN]}, 1, 0),
        ({"verification_info": json.dumps({"language": "python", "test_cases": [STDIN]})}, 1, 0),
        ({"test_list": ["assert f(1) == 2"], "test": "assert f(2) == 3\nassert f(3) == 4"}, 1, 2),
        ({"test_list": ["assert f(1) == 2"], "challenge_test_list": []}, 1, 0),
        ({"tests": [STDIN], "input_output": "words"}, 1, 0),
        ({"tests": [STDIN], "metadata": "words"}, 1, 0),
        ({}, 0, 0),
    ],
)
def test_columns(row: dict[str, Any], visible: int, hidden: int) -> None:
    assert tuple(map(len, columns.tests_of(row))) == (visible, hidden)


@pytest.mark.parametrize(
    "beside",
    [{"entry_point": "f"}, {"fn_name": "f"}, {"metadata": '{"func_name": "f"}'}, {"metadata": {"func_name": "f"}}],
)
def test_the_row_names_the_function(beside: dict[str, Any]) -> None:
    tests = [{"input": "1", "output": "2", "testtype": "functional"}]
    assert columns.tests_of({"tests": tests, **beside}) == ([named("f", [1], 2)], [])


PACKED = base64.b64encode(zlib.compress(pickle.dumps(json.dumps([STDIN])))).decode()


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"private_test_cases": PACKED}, "column private_test_cases: the tests are a compressed pickle"),
        ({"tests": [{**STDIN, "testtype": "interactive"}]}, "the type 'interactive' is none of"),
        ({"tests": [{**STDIN, "testtype": "functional"}]}, "nothing names which"),
        (
            {"tests": [{"input": "x", "output": "1", "testtype": "functional"}], "entry_point": "f"},
            "not a value of JSON",
        ),
        ({"tests": [{"input": {"a": 1}, "output": "1"}]}, "must be text, or lists of lines"),
        ({"tests": {"inputs": ["1", "2"], "outputs": ["1"]}}, "same length, found 2 and 1"),
        ({"tests": {"inputs": "1", "outputs": "1"}}, "must be lists of the same length"),
        ({"verification_info": {"language": "rust", "test_cases": [STDIN]}}, "for programs in 'rust'"),
        ({"official_tests": [STDIN], "input_mode": "file"}, "column input_mode: programs read files"),
        ({"tests": [STDIN], "checker": "#include <testlib.h>"}, "column checker: the checker is C++"),
        ({"tests": [STDIN], "checker": "def judge(): ..."}, "a function check(input, output, expected)"),
        ({"tests": [STDIN], "checker": "def check(:"}, "a function check(input, output, expected)"),
        ({"tests": [STDIN], "checker": 3}, "column checker: a checker is Python code or one of lines"),
        ({"official_tests": [STDIN], "generated_checker": "import sys\n"}, "column generated_checker: a checker is"),
        ({"tests": ["assert f(1) == 2"], "checker": "words"}, "a checker judges what a script prints"),
    ],
)
def test_what_is_wrong_with_a_row(row: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError) as caught:
        columns.tests_of(row)
    assert said in str(caught.value)


def test_everything_wrong_is_said_at_once() -> None:
    with pytest.raises(ValueError) as caught:
        columns.tests_of({"tests": [{"a": 1}, STDIN, 3], "hidden_tests": [{"b": 1}] * 9, "checker": "#include"})
    text = str(caught.value)
    assert "test 1: the keys 'a'" in text and "test 3: expected" in text and "column hidden_tests: test 1" in text
    assert "and 4 more" in text and "C++" in text


def test_a_list_as_python_writes_it() -> None:
    row = {"test_list": "['assert f(1) == 2', \"assert f('a') == 3\"]", "test_imports": "['import math']"}
    assert columns.tests_of(row) == ([Call("f", [1], 2), Call("f", ["a"], 3)], [])
    with pytest.raises(ValueError, match="neither JSON nor test code"):
        cases_of("[f(1), 'a']")


def test_a_text_at_the_head_of_test_code_is_no_json() -> None:
    assert cases_of('"""Tests."""\nassert f(1) == 2') == [Call("f", [1], 2)]
    assert all(isinstance(case, Check) for case in cases_of('"Tests."\nassert f(1) > 2'))


@pytest.mark.parametrize(
    ("way", "right", "wrong"),
    [
        ("words", ["1 2\n3", "1\n2 3", "1  2 3"], ["1 2", "3 2 1"]),
        ("any order", ["3\n1 2\n", "1 2\n3"], ["1 2\n3\n3", "2 1\n3", "1 2 3"]),
        ("any case", ["1 2\n3"], ["1 2 3"]),
        ("lines", ["1 2\n3"], ["3\n1 2"]),
    ],
)
def test_ways_of_comparing_output(way: str, right: list[str], wrong: list[str]) -> None:
    assert all(Comparison().same_text("1 2\n3\n", text, way) for text in right)
    assert not any(Comparison().same_text("1 2\n3\n", text, way) for text in wrong)


def test_any_case() -> None:
    assert Comparison().same_text("YES\n", "yes", "any case") and not Comparison().same_text("YES\n", "no", "any case")


CHECKER = """
def check(input, output, expected):
    n = int(input)
    a, b = map(int, output.split())
    return a + b == n
"""


@pytest.fixture
def code(pool: Pool) -> Iterator[Code]:
    yield Code(pool, "", Comparison(), "all", "required", 1)


@pytest.mark.parametrize(
    ("program", "word"),
    [
        ("n = int(input())\nprint(1, n - 1)", "passed"),
        ("n = int(input())\nprint(n - 3, 3)", "passed"),
        ("n = int(input())\nprint(n, n)", "failed"),
        ("print('check = lambda *a: True')", "failed"),
        ("print()", "failed"),
        ("import sys\ndef check(*a): return True\nsys.modules['answer'] = check\nprint(0, 0)", "failed"),
        ("print(1, 9)\nraise SystemExit(1)", "crashed"),
    ],
)
def test_a_checker_judges_what_a_script_prints(code: Code, program: str, word: str) -> None:
    row = {"tests": [{"input": "10\n", "output": "2 8\n"}], "checker": CHECKER}
    assert code.check_row(row) is None
    assert code.verdict(f"```python\n{program}\n```", row).word == word


@pytest.mark.parametrize(
    "checker",
    [
        "def check(input, output, expected): return False",
        "def check(input, output, expected): pass",
        "def check(input, output): return True",
        "def check(input, output, expected): return 1 / 0",
        "raise ValueError\ndef check(*a): return True",
        "def check(input, output, expected): return 'yes'",
    ],
)
def test_a_checker_that_refuses_what_is_expected_is_a_fault_of_the_row(code: Code, checker: str) -> None:
    problem = code.check_row({"tests": [{"input": "10\n", "output": "2 8\n"}], "checker": checker})
    assert problem is not None and "refuses the output that is expected" in problem


SOLUTION = "```python\nclass Solution:\n    def f(self, x):\n        return {body}\n```"


@pytest.mark.parametrize(
    ("body", "word"), [("x + 1", "passed"), ("x", "failed"), ("[x + 1]", "passed"), ("None", "failed")]
)
def test_a_method_answers_a_row_that_names_a_function(code: Code, body: str, word: str) -> None:
    row = {"input_output": {"inputs": [[1], [2]], "outputs": [[2], [3]], "fn_name": "f"}}
    assert code.verdict(SOLUTION.format(body=body), row).word == word
    assert code.verdict(f"```python\ndef f(x): return {body}\n```", row).word == word
