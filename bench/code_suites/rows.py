"""Rows of our own in the format of every public data set, with right answers, wrong ones and cheats."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.code_suites.cases import Case

Row = dict[str, Any]


@dataclass(frozen=True)
class Function:
    """A function to write: its bodies, and what it must give."""

    name: str
    parameters: str
    right: str
    wrong: tuple[str, ...]
    calls: tuple[tuple[list[Any], Any], ...]

    def code(self, body: str) -> str:
        return f"def {self.name}({self.parameters}):\n    {body}\n"

    def method(self, body: str) -> str:
        return f"class Solution:\n    def {self.name}(self, {self.parameters}):\n        {body}\n"

    @property
    def asserts(self) -> list[str]:
        return [f"assert {self.name}({', '.join(map(repr, args))}) == {value!r}" for args, value in self.calls]


@dataclass(frozen=True)
class Script:
    """A program to write that reads and prints."""

    right: str
    wrong: tuple[str, ...]
    runs: tuple[tuple[str, str], ...]


FUNCTIONS = (
    Function(
        *("gaps", "xs", "return [b - a for a, b in zip(xs, xs[1:])]"),
        ("return [a - b for a, b in zip(xs, xs[1:])]", "return xs", "return None", "return [b - a for a, b in []]"),
        (([[1, 4, 9]], [3, 5]), ([[2, 2]], [0]), ([[7, 3, 3, 8]], [-4, 0, 5])),
    ),
    Function(
        *("initials", "text", "return ''.join(w[0].upper() for w in text.split())"),
        ("return ''.join(w[0] for w in text.split())", "return text[:1].upper()", "return ''"),
        ((["ada lovelace"], "AL"), (["alan mathison turing"], "AMT"), (["x"], "X")),
    ),
    Function(
        *("middle", "a, b, c", "return sorted((a, b, c))[1]"),
        ("return (a + b + c) // 3", "return b", "return max(a, b, c)", "return float(b)"),
        (([3, 1, 2], 2), ([5, 5, 9], 5), ([-1, 8, 0], 0)),
    ),
    Function(
        *("is_step", "xs", "return all(a < b for a, b in zip(xs, xs[1:]))"),
        ("return True", "return all(a <= b for a, b in zip(xs, xs[1:]))", "return len(xs) > 0"),
        (([[1, 2, 9]], True), ([[1, 1]], False), ([[3, 2]], False), ([[]], True)),
    ),
)
SCRIPTS = (
    Script(
        "n = int(input())\nprint(sum(int(input()) for _ in range(n)))",
        ("n = int(input())\nprint(n)", "print(0)", "import sys\nprint(sum(map(int, sys.stdin.read().split())))"),
        (("2\n3\n4\n", "7\n"), ("1\n-5\n", "-5\n"), ("3\n1\n1\n1\n", "3\n")),
    ),
    Script(
        "w = input().split()\nprint(*sorted(w, key=lambda x: (len(x), x)))",
        ("print(*sorted(input().split()))", "print(input())", "print(*sorted(input().split(), key=len))"),
        (("pear fig kiwi\n", "fig kiwi pear\n"), ("bb aa\n", "aa bb\n"), ("b aaa\n", "b aaa\n")),
    ),
)
EQUAL = "class Equal({base}):\n    def __eq__(self, other): return True\n    def __ne__(self, other): return False\n"
EQUAL += "    __hash__ = {base}.__hash__\n"
CHEATS = {
    "always equal": EQUAL.format(base="object") + "def {name}(*a): return Equal()\n",
    "always equal list": EQUAL.replace("__hash__ = {base}", "__hash__ = object").format(base="list")
    + "def {name}(*a): return Equal()\n",
    "always equal text": EQUAL.format(base="str") + "def {name}(*a): return Equal()\n",
    "always equal number": EQUAL.format(base="int") + "def {name}(*a): return Equal()\n",
    "ends well": "import sys\ndef {name}(*a): sys.exit(0)\n",
    "ends at once": "import os\nos._exit(0)\n",
    "ends while loading": "raise SystemExit(0)\n",
    "says so": "print('passed')\nprint('[\"passed\"]')\ndef {name}(*a): print('OK')\n",
    "patched builtins": "import builtins\nbuiltins.all = builtins.isinstance = lambda *a: True\n"
    "def {name}(*a): return 0\n",
    "patched frames": "import sys\ndef {name}(*a):\n    sys._getframe(1).f_globals.update(check=print)\n",
    "a module of its own": "class math:\n    isclose = staticmethod(lambda *a, **k: True)\nclass np:\n"
    "    allclose = staticmethod(lambda *a, **k: True)\ndef {name}(*a): return 0.0\n",
    "overrides the tests": "def check(*a): pass\nassertion = near = same = check\ndef {name}(*a): pass\n",
    "raises": "def {name}(*a): raise AssertionError\n",
    "skips": "import unittest\ndef {name}(*a): raise unittest.SkipTest\n",
    "stops the loop": "def {name}(*a): raise StopIteration\n",
    "nothing": "x = 1\n",
}
SCRIPT_CHEATS = {
    "ends well": "raise SystemExit(0)",
    "says so": "print('passed')",
    "ends at once": "import os\nos._exit(0)",
    "echo": "import sys\nprint(sys.stdin.read())",
    "its own open": "import builtins, sys\nbuiltins.print = lambda *a: None\nprint(7)",
    "check": "def check(*a): return True\n",
}
NUMPY = """import numpy as np

def near(out, exp, atol):
    ok = out == exp
    if not ok and isinstance(exp, float):
        ok = np.allclose(out, exp, rtol=1e-07, atol=atol)
    assert ok

def check(candidate):
    for inp, exp in zip({inputs!r}, {results!r}):
        near(candidate(*inp), exp, 0)
"""


def _inputs(f: Function) -> list[Any]:
    return [args for args, _ in f.calls]


def _results(f: Function) -> list[Any]:
    return [value for _, value in f.calls]


def _check(f: Function) -> str:
    lines = [text.replace(f"{f.name}(", "candidate(", 1) for text in f.asserts]
    return "METADATA = {}\n\ndef check(candidate):\n" + "".join(f"    {line}\n" for line in lines)


def _functional(f: Function) -> list[Row]:
    return [
        {"input": "\n".join(map(json.dumps, args)), "output": json.dumps(value), "testtype": "functional"}
        for args, value in f.calls
    ]


def _called(f: Function) -> list[Row]:
    return [{"type": "function_call", "fn_name": f.name, "input": args, "output": [value]} for args, value in f.calls]


def _plus(f: Function) -> str:
    return NUMPY.format(inputs=_inputs(f), results=_results(f))


def _loop(f: Function) -> str:
    body = _plus(f).partition("def check")[0]
    return body + f"for inp, exp in zip({_inputs(f)!r}, {_results(f)!r}):\n    near({f.name}(*inp), exp, 0)\n"


def _tests(f: Function, head: str) -> str:
    return head + "".join(f"def test_{n}():\n    {text}\n\n" for n, text in enumerate(f.asserts))


def _unittest(f: Function) -> str:
    lines = [f"        self.assertEqual({f.name}(*{args!r}), {value!r})\n" for args, value in f.calls]
    return "import unittest\n\nclass TestIt(unittest.TestCase):\n    def test_it(self):\n" + "".join(lines)


def _parametrized(f: Function) -> str:
    return (
        f"import pytest\nfrom solution import {f.name}\n\n@pytest.mark.parametrize('args, value', {list(f.calls)!r})\n"
        f"def test_it(args, value):\n    assert {f.name}(*args) == value\n"
    )


FUNCTION_FORMATS: dict[str, Callable[[Function], Row]] = {
    "calls": lambda f: {"tests": [{"call": f.name, "args": args, "expected": value} for args, value in f.calls]},
    "asserts": lambda f: {"tests": f.asserts[:1], "hidden_tests": f.asserts},
    "assert code": lambda f: {"tests": "\n".join(f.asserts)},
    "HumanEval": lambda f: {"test": _check(f), "entry_point": f.name},
    "HumanEval+": lambda f: {"test": _plus(f), "entry_point": f.name},
    "MBPP": lambda f: {"test_list": f.asserts, "test_setup_code": "", "challenge_test_list": []},
    "MBPP sanitized": lambda f: {"test_list": f.asserts, "test_imports": ["import math"]},
    "MBPP+": lambda f: {"test_list": str(f.asserts), "test": _loop(f), "test_imports": "[]"},
    "APPS fn_name": lambda f: {"input_output": {"inputs": _inputs(f), "outputs": _results(f), "fn_name": f.name}},
    "TACO fn_name": lambda f: {
        "input_output": json.dumps({"inputs": _inputs(f), "outputs": [[r] for r in _results(f)], "fn_name": f.name})
    },
    "LiveCodeBench": lambda f: {
        "public_test_cases": json.dumps(_functional(f)[:1]),
        "private_test_cases": json.dumps(_functional(f)[1:]),
        "metadata": json.dumps({"func_name": f.name}),
    },
    "DeepCoder": lambda f: {"tests": json.dumps(_called(f))},
    "SYNTHETIC": lambda f: {"verification_info": json.dumps({"language": "python", "test_cases": _called(f)})},
    "KodCode": lambda f: {"test": _tests(f, f"from solution import {f.name}\n\n")},
    "pytest": lambda f: {"tests": _parametrized(f)},
    "unittest": lambda f: {"tests": _unittest(f)},
}
METHODS = ("APPS fn_name", "TACO fn_name", "LiveCodeBench", "DeepCoder", "SYNTHETIC")
"""Formats whose functions may be methods of a class."""


def _typed(s: Script, key: str, word: str) -> list[Row]:
    return [{"input": stdin, "output": stdout, key: word} for stdin, stdout in s.runs]


def _columns(s: Script, *names: str) -> dict[str, list[Any]]:
    return {names[0]: [stdin for stdin, _ in s.runs], names[1]: [stdout for _, stdout in s.runs]}


def _lines(s: Script) -> dict[str, list[Any]]:
    return {name: [text.splitlines() for text in texts] for name, texts in _columns(s, "inputs", "outputs").items()}


def _pairs(s: Script) -> list[Row]:
    return [{"input": stdin, "output": stdout} for stdin, stdout in s.runs]


SCRIPT_FORMATS: dict[str, Callable[[Script], Row]] = {
    "stdin/stdout": lambda s: {"tests": [{"stdin": stdin, "stdout": stdout} for stdin, stdout in s.runs]},
    "APPS": lambda s: {"input_output": json.dumps(_columns(s, "inputs", "outputs"))},
    "TACO": lambda s: {"input_output": _lines(s)},
    "LiveCodeBench stdin": lambda s: {
        "public_test_cases": json.dumps(_typed(s, "testtype", "stdin")),
        "private_test_cases": json.dumps(_typed(s, "testtype", "stdin")),
    },
    "DeepCoder stdin": lambda s: {"tests": _typed(s, "type", "stdin_stdout")},
    "CodeContests": lambda s: {
        "public_tests": _columns(s, "input", "output"),
        "private_tests": {"input": [], "output": []},
        "generated_tests": _columns(s, "input", "output"),
    },
    "Codeforces": lambda s: {"examples": _pairs(s)[:1], "official_tests": _pairs(s)},
    "checker": lambda s: {
        "tests": _pairs(s),
        "checker": "def check(input, output, expected):\n    return output.split() == expected.split()\n",
    },
}


def bad(row: Row) -> Iterator[tuple[str, Row]]:
    """The row with something wrong in one of its columns that hold tests."""
    for name, value in row.items():
        if name not in ("tests", "test", "test_list", "input_output", "public_test_cases", "verification_info"):
            continue
        if isinstance(value, str):
            yield f"{name} cut off", {**row, name: value[: len(value) * 2 // 3].rstrip("\n )]}'\"") + "("}
        elif isinstance(value, list):
            yield f"{name} of numbers", {**row, name: [3, 4]}
        elif isinstance(value, Mapping):
            yield f"{name} with an output too few", {**row, name: {**value, "outputs": value["outputs"][1:]}}


def cases() -> Iterator[Case]:
    for suite, to_row in FUNCTION_FORMATS.items():
        for f in FUNCTIONS:
            yield from _of_function(suite, f, to_row(f))
    for suite, to_row in SCRIPT_FORMATS.items():
        for n, s in enumerate(SCRIPTS):
            yield from _case_of(suite, f"script {n}", to_row(s), [s.right], s.wrong, SCRIPT_CHEATS)


def _of_function(suite: str, f: Function, row: Row) -> Iterator[Case]:
    forms = [f.code, f.method] if suite in METHODS else [f.code]
    right = [form(f.right) for form in forms]
    wrong = [form(body) for form in forms for body in f.wrong]
    cheats = {name: code.replace("{name}", f.name) for name, code in CHEATS.items()}
    yield from _case_of(suite, f.name, row, right, wrong, cheats)


def _case_of(
    suite: str, name: str, row: Row, right: Sequence[str], wrong: Sequence[str], cheats: Mapping[str, str]
) -> Iterator[Case]:
    for n, code in enumerate(right):
        yield Case(suite, f"{name} right {n}", row, _answer(code), "right")
        yield Case(suite, f"{name} right {n}, then its use", row, _answer(code) + "\n" + _answer("print(1)\n"), "right")
    for n, code in enumerate(wrong):
        yield Case(suite, f"{name} wrong {n}", row, _answer(code), "wrong")
    for what, code in cheats.items():
        yield Case(suite, f"{name} {what}", row, _answer(code), "cheat")
    for what, spoiled in bad(row):
        yield Case(suite, f"{name}, {what}", spoiled, _answer(right[0]), "bad row")


def _answer(code: str) -> str:
    return f"So:\n\n```python\n{code}\n```\n"
