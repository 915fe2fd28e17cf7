"""Tests as they stand in data, and what is said of those that cannot be read."""

from __future__ import annotations

import json
import math

import pytest

from postlude.code.asserts import is_target
from postlude.code.cases import AnyOf, Call, Check, Script
from postlude.code.columns import cases_of


def named(target: str, args: list[object], *meant: object) -> Call:
    """The call of a function by name, whose value JSON holds."""
    return Call(target, args, AnyOf(meant), or_method=True)


@pytest.mark.parametrize(
    ("tests", "expected"),
    [
        ([{"call": "f", "args": [1], "expected": 2}], [Call("f", [1], 2)]),
        ([{"call": "f", "kwargs": {"a": 1}, "expected": None}], [Call("f", [], None, {"a": 1})]),
        ({"call": "Solution().f", "args": [[1, 2]], "expected": 3}, [Call("Solution().f", [[1, 2]], 3)]),
        ([{"stdin": "1\n", "stdout": "2\n"}, {"input": "", "output": "x"}], [Script("1\n", "2\n"), Script("", "x")]),
        ({"inputs": ["1"], "outputs": ["2"]}, [Script("1", "2")]),
        ({"inputs": [[1, 2]], "outputs": [3], "fn_name": "add"}, [named("add", [1, 2], 3)]),
        ('[{"call": "f", "args": [], "expected": true}]', [Call("f", [], True)]),
        ("assert f(1) == 2", [Call("f", [1], 2)]),
        ("assert 2 == f(1)", [Call("f", [1], 2)]),
        ("assert f(1) is None\nassert f(-2, b=(3,)) == {4}", [Call("f", [1], None), Call("f", [-2], {4}, {"b": (3,)})]),
        ("assert Solution().f('a') == b'x', 'why'", [Call("Solution().f", ["a"], b"x")]),
        (["assert f(1) == 2", "assert f({1: (2, 3)}) == [1.5]"], [Call("f", [1], 2), Call("f", [{1: (2, 3)}], [1.5])]),
        ([{"assert": "assert f() == ''"}], [Call("f", [], "")]),
    ],
)
def test_tests_are_read(tests: object, expected: object) -> None:
    assert cases_of(tests) == expected


def test_a_check_function_tests_the_entry_point() -> None:
    source = 'METADATA = {}\ndef check(candidate):\n    """Text."""\n    assert candidate(1) == 2\n'
    source += "    assert candidate([]) == 0\n"
    assert cases_of(source, "solve") == [Call("solve", [1], 2), Call("solve", [[]], 0)]


@pytest.mark.parametrize(
    "source",
    [
        "assert f(1)",
        "assert not f(1)",
        "assert f(1) != 2",
        "assert f(1) == g(2)",
        "assert f(x) == 2\nx = 1",
        "assert abs(f(1) - 0.5) < 1e-6",
        "import math\nassert math.isclose(f(1), 0.5)",
        "assert sorted(f(1)) == [1]",
        "assert f(*[1]) == 2",
        "for i in range(3):\n    assert f(i) == i",
        "assert f(float('inf')) == 1",
    ],
)
def test_what_is_no_call_with_a_literal_runs_as_test_code(source: str) -> None:
    [case] = cases_of(source)
    assert isinstance(case, Check)
    assert case.names[0] == "f"


def test_names_of_the_program_are_told_from_those_of_the_tests() -> None:
    [case] = cases_of(
        "import math\ndef twice(x):\n    return 2 * x\nassert twice(f(1)) == math.floor(len(map(g, [1])))"
    )
    assert isinstance(case, Check)
    assert case.names == ("f", "g")


def test_asserts_that_cannot_be_read_as_calls_stay_apart_from_each_other() -> None:
    cases = cases_of("import math\nassert f(1) == 2\nassert f(2) > math.pi")
    assert [type(c) for c in cases] == [Call, Check]


@pytest.mark.parametrize(
    ("tests", "said"),
    [
        (7, "found 7"),
        ("[1, 2", "neither JSON nor test code"),
        (["assert f(1) =="], "test 1: invalid syntax in line 1; tests must be Python 3"),
        (["assert f(1) == 1", "x = 3"], "test 2: it asserts nothing"),
        (["assert 1 == 1"], "calls no function of the program"),
        ([{"call": "f", "expect": 2}], "unknown key 'expect' (did you mean 'expected'?)"),
        ([{"call": "f(1)", "expected": 2}], "`call` must be a function's name"),
        ([{"call": "f", "args": "ab", "expected": 2}], "`args` must be a list"),
        ([{"call": "f", "args": [], "expected": math.nan}], "nothing equals NaN"),
        ([{"call": "f", "args": [object()], "expected": 1}], "of type object is not plain"),
        ([{"stdin": 1, "stdout": "2"}], "must be text"),
        ({"inputs": ["1"], "outputs": []}, "same length"),
        ([["f", 1]], "not a list: write one flat list of tests"),
        ("def check(candidate):\n    assert candidate(1) == 1", "the column entry_point must name"),
    ],
)
def test_what_is_wrong_with_tests_is_said(tests: object, said: str) -> None:
    with pytest.raises(ValueError) as caught:
        cases_of(tests)
    assert said in str(caught.value)


def test_a_message_shows_control_characters_escaped() -> None:
    with pytest.raises(ValueError) as caught:
        cases_of(["assert f(1) == '\x1b[2J' +"])
    assert "\x1b" not in str(caught.value)


def test_a_column_of_json_text_is_the_same_as_the_list() -> None:
    tests = [{"call": "f", "args": [1, [2, None]], "expected": {"a": 1.5}}, {"stdin": "a", "stdout": "b"}]
    assert cases_of(json.dumps(tests)) == cases_of(tests)


@pytest.mark.parametrize("text", ["f", "a.f", "Solution().f", "a.B().c"])
def test_targets(text: str) -> None:
    assert is_target(text)


@pytest.mark.parametrize("text", ["", "f(", "f()", "f(1).g", "[f][0]", "f; g", "lambda: 1", "a.B(1).c"])
def test_what_is_no_target(text: str) -> None:
    assert not is_target(text)


def test_a_flood_of_keys_is_told_by_the_first_of_them() -> None:
    with pytest.raises(ValueError, match="the keys") as error:
        cases_of([{"k" * 1000 + str(i): 1 for i in range(1000)}])
    assert len(str(error.value)) < 500
