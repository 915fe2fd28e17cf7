"""Verdicts of programs in the sandbox: honest ones, wrong ones, and those that would cheat the grader."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from postlude.code.cases import Call, Case, Script
from postlude.code.columns import cases_of
from postlude.code.compare import Comparison
from postlude.code.grade import NOT_RUN, Grading, Result
from postlude.sandbox.inside.lines import RECORD
from postlude.sandbox.pool import Pool
from postlude.sandbox.settings import Backend, Limits

Grade = Callable[..., list[Result]]
SQUARE = [Call("solve", [n], n * n) for n in (2, 3, 10)]
APART = cases_of("for n in (2, 3):\n    assert solve(n) == n * n\n")


def words(results: list[Result]) -> list[str]:
    return [r.word for r in results]


@pytest.mark.parametrize(
    "source",
    [
        "def solve(n): return n * n",
        "solve = lambda n: pow(n, 2)",
        "class solve:\n    def __new__(cls, n): return n ** 2",
        "from functools import lru_cache\n@lru_cache\ndef solve(n): return n * n",
        "import random, threading, asyncio\nasync def f(n): return n * n\ndef solve(n): return asyncio.run(f(n))",
        "from dataclasses import dataclass\n@dataclass\nclass P:\n    x: int\ndef solve(n): return P(n).x ** 2",
        "import os, sqlite3\nos.makedirs('a/b', exist_ok=True)\n"
        "def solve(n): return sqlite3.connect(':memory:').execute('select ? * ?', (n, n)).fetchone()[0]",
        "from concurrent.futures import ThreadPoolExecutor\n"
        "def solve(n):\n    with ThreadPoolExecutor(4) as p: return sum(p.map(lambda _: n, range(n)))",
        "import sys\nsys.setrecursionlimit(20000)\ndef f(n, k): return n + f(n, k - 1) if k else 0\n"
        "def solve(n):\n    f(1, 9000)\n    return f(n, n)",
        "def solve(n): return n * n\nprint(solve(int(input())))",
        "import sys\ndef solve(n): return n * n\nif solve(2) == 4:\n    sys.exit(0)",
        "print('hello')\ndef solve(n):\n    print(n)\n    return n * n\nif __name__ == '__main__': raise SystemExit",
    ],
)
def test_honest_programs_pass(grade: Grade, source: str) -> None:
    for cases in (SQUARE, APART):
        assert set(words(grade(source, cases))) == {"passed"}


@pytest.mark.parametrize(
    ("source", "word", "said"),
    [
        ("def solve(n): return n", "failed", "solve gave 2"),
        ("def solve(n): return str(n * n)", "failed", "solve gave '4'"),
        ("def solve(n): return float(n * n)", "failed", "solve gave 4.0"),
        ("def solve(n): raise ValueError('no')", "failed", "solve raised ValueError: no"),
        ("def solve(): return 4", "failed", "TypeError"),
        ("def other(n): return n", "failed", "NameError"),
        ("def solve(n): print(n * n)", "failed", "solve gave None"),
        ("def solve(n): return open('/etc/passwd').read()", "failed", "PermissionError"),
        (f"def solve(n): return 'x' * {RECORD}", "failed", "larger than 8192 KiB"),
        ("def solve(n): return type('X', (), {})()", "failed", "of type X is not plain"),
        ("def solve(n:", "crashed", "SyntaxError"),
        ("x = 1 / 0", "crashed", "ZeroDivisionError"),
        ("import numpy_that_is_not_there", "crashed", "ModuleNotFoundError"),
        ("import os\nos._exit(0)", "crashed", "ended with status 0"),
        ("import sys\nsys.exit(0)\ndef solve(n): return n * n", "failed", "NameError"),
        ("x = int(input())\ndef solve(n): return n * n", "failed", "NameError"),
        ("import ctypes\nctypes.string_at(0)", "crashed", "signal 11"),
        ("b = bytearray(4 << 30)", "crashed", "MemoryError"),
        ("def solve(n): import os; os._exit(0)", "crashed", "ended with status 0"),
        ("while True: pass", "timeout", "did not end in time"),
        ("import time\ndef solve(n): time.sleep(60)", "timeout", "did not end in time"),
        ("def solve(n):\n    try:\n        while True: pass\n    except BaseException: solve(n)", "timeout", "in time"),
        ("print('x' * (2 << 20))\ndef solve(n): return n * n", "output", "printed too much"),
    ],
)
def test_programs_that_do_not_pass(grade: Grade, source: str, word: str, said: str) -> None:
    first = grade(source, SQUARE)[0]
    assert first.word == word
    assert said in first.detail
    assert "passed" not in words(grade(source, APART)) or said == "solve gave 4.0"  # 4.0 == 4 in test code


CHEATS = {
    "equal to everything": "class E(int):\n    __eq__ = lambda s, o: True\n    __hash__ = lambda s: 0\n"
    "def solve(n): return E()",
    "a subclass of int that lies": "class I(int):\n    def __eq__(s, o): return True\n"
    "    __int__ = __index__ = lambda s: 4\n"
    "def solve(n): return I(0)",
    "forged records": "import os\nfor fd in range(3, 9):\n"
    '    try: os.write(fd, b\'["value", 4]\\n["value", 9]\\n["value", 100]\\n\')\n'
    "    except OSError: pass\ndef solve(n): return 0",
    "more records than calls": "import os\ndef solve(n):\n    os.write(4, b'[\"value\", %d]\\n' % (n * n))\n"
    "    return n * n",
    "forged verdicts": "import os\ndef solve(n):\n    os.write(4, b'[\"passed\"]\\n')\n    return 0",
    "a claim that the sandbox failed": 'import os\nos.write(4, b\'["fault", "x"]\\n\')\nos._exit(98)',
    "patched runner": "import sys\nfor m in list(sys.modules.values()):\n    for n in ('encode', 'dumps'):\n"
    "        if hasattr(m, n): setattr(m, n, lambda *a, **k: '[\"value\", 4]')\ndef solve(n): return 0",
    "patched built-ins": "import builtins\nbuiltins.all = builtins.any = lambda *a: True\n"
    "builtins.AssertionError = Exception\ndef solve(n): return 0",
    "ends the loops of tests": "def solve(n): raise StopIteration",
    "leaves by exit": "import atexit, os\natexit.register(os._exit, 0)\ndef solve(n): raise SystemExit(0)",
    "not a number": "def solve(n): return float('nan')",
    "a bomb of brackets": "import os\nos.write(4, b'[' * 60000 + b'\\n')\ndef solve(n): return 0",
    "a number without end": "def solve(n): return 10 ** 100000",
    "endless records": "import os\ndef solve(n):\n    while True: os.write(4, b'[1]\\n' * 9999)",
}


@pytest.mark.parametrize("source", CHEATS.values(), ids=CHEATS)
def test_cheating_programs_do_not_pass(grade: Grade, source: str) -> None:
    tests = cases_of("assert all(map(lambda n: type(solve(n)) is int and solve(n) == n * n, [2, 3]))")
    for cases in (SQUARE, tests):
        results = words(grade(source, cases))
        assert results.count("passed") < len(results)


SEARCH = """
import gc
def solve(n):
    for thing in gc.get_objects():
        for text in gc.get_referents(thing):
            if type(text) is str and text.startswith("gold-") and text != "gold-":
                return text
"""
"""Finds a text with that start wherever a container of this process holds it."""


def test_expected_values_are_nowhere_in_the_program(grade: Grade) -> None:
    assert words(grade(SEARCH, [Call("solve", [["gold-" + "1"]], "gold-1")])) == ["passed"]  # it does find an input
    assert words(grade(SEARCH, [Call("solve", [1], "gold-1")])) == ["failed"]
    assert words(grade(SEARCH, cases_of("gold = ['gold-1']\nassert solve(gold) == gold[0]"))) == ["passed"]
    assert words(grade(SEARCH, cases_of("gold = ['gold-1']\nassert solve(1) == gold[0]"))) == ["failed"]


def test_a_program_finds_nothing_of_the_one_before_it(grade: Grade) -> None:
    grade("def solve(n): return ['gold-2']", [Call("solve", [["gold-2"]], ["gold-2"])])
    assert words(grade(SEARCH, [Call("solve", [1], "gold-2")])) == ["failed"]


def test_each_test_has_its_own_result(grade: Grade) -> None:
    source = "def solve(n):\n    if n == 3: raise ValueError\n    return 4"
    assert words(grade(source, SQUARE)) == ["passed", "failed", "failed"]
    mixed = [Script("1", "4"), *SQUARE, *APART]
    assert words(grade(source, mixed)) == ["failed", "passed", "failed", "failed", "failed"]


def test_results_before_an_end_count_and_those_after_it_do_not(grade: Grade) -> None:
    source = "import os\ndef solve(n):\n    if n == 3: os._exit(0)\n    return n * n"
    assert words(grade(source, SQUARE)) == ["passed", "crashed", "crashed"]


def test_values_keep_their_types(grade: Grade) -> None:
    def expect(source: str, value: Any) -> list[str]:
        return words(grade(f"def f(*a, **k): return {source}", [Call("f", [(1, {2}), {3: None}], value, {"b": b"x"})]))

    assert expect("a[0]", (1, {2})) == ["passed"]
    assert expect("list(a[0])", (1, {2})) == ["failed"]
    assert expect("(a, k)", (((1, {2}), {3: None}), {"b": b"x"})) == ["passed"]
    assert expect("2 ** 200", 2**200) == ["passed"]
    assert expect("float('-inf')", float("-inf")) == ["passed"]


def test_how_values_are_compared_is_declared(grade: Grade) -> None:
    case = [Call("f", [], 0.3)]
    assert words(grade("def f(): return 0.1 + 0.2", case)) == ["failed"]
    assert words(grade("def f(): return 0.1 + 0.2", case, tolerance=1e-9)) == ["passed"]
    assert words(grade("def f(): return (1, 2.0)", [Call("f", [], [1, 2])], types="loose")) == ["passed"]


# ---------------------------------------------------------------------------------------------------------- scripts


@pytest.mark.parametrize(
    "source",
    [
        "print(int(input()) + int(input()))",
        "import sys\nprint(sum(map(int, sys.stdin.read().split())))",
        "import sys\nfor line in [sys.stdin.readline() for _ in '12']: pass\nsys.stdout.write('5')",
        "print(sum(map(int, open(0).read().split())), end='')",
        "def main():\n    print(sum(int(input()) for _ in '12'))\nif __name__ == '__main__':\n    main()\n    exit()",
        "import threading\nt = threading.Thread(target=lambda: print(int(input()) + int(input())))\nt.start()",
        "import atexit\natexit.register(lambda: print(5))",
        "import asyncio\nasync def main():\n    await asyncio.sleep(0)\n    print(5)\nasyncio.run(main())",
    ],
)
def test_scripts_read_and_print(grade: Grade, source: str) -> None:
    assert words(grade(source, [Script("2\n3\n", "5\n")])) == ["passed"]


@pytest.mark.parametrize(
    ("source", "word"),
    [
        ("print(6)", "failed"),
        ("print(5)\nraise ValueError", "crashed"),
        ("import sys\nprint(5)\nsys.exit(1)", "crashed"),
        ("import os\nos._exit(0)", "failed"),
        ("print(5, flush=True)\nwhile True: pass", "timeout"),
        ("while True: print(5)", "output"),
    ],
)
def test_scripts_that_do_not_pass(grade: Grade, source: str, word: str) -> None:
    assert words(grade(source, [Script("2\n3\n", "5\n")])) == [word]


def test_a_script_gets_much_input_and_gives_much_output(grade: Grade) -> None:
    text = "".join(f"{i}\n" for i in range(60_000))
    assert words(grade("import sys\nfor l in sys.stdin: print(l, end='')", [Script(text, text)])) == ["passed"]


def test_after_a_script_that_is_late_the_others_are_not_tried(grade: Grade) -> None:
    cases: list[Case] = [Script("", "1")] * 20
    results = grade("while True: pass", cases)
    assert words(results) == ["timeout"] * 20 and results[-1].detail == NOT_RUN


# -------------------------------------------------------------------------------------------------------- test code


def test_test_code_sees_plain_values_and_exceptions_of_the_program(grade: Grade) -> None:
    source = "def f(x):\n    if x < 0: raise ValueError('negative')\n    return [x, (x,)]"
    tests = """
try:
    f(-1)
    assert False, "it must raise"
except ValueError as error:
    assert str(error) == "negative"
value = f(3)
assert type(value) is list and value[1] == (3,) and sorted(map(f, [2, 1])) == [[1, (1,)], [2, (2,)]]
"""
    assert words(grade(source, cases_of(tests))) == ["passed"]
    assert words(grade(source.replace("negative", "other"), cases_of(tests))) == ["failed"]


def test_items_of_test_code_are_apart(grade: Grade) -> None:
    results = grade("def f(x): return x", cases_of(["assert f(1) in (1,)", "assert f(1) in (2,)", "assert f(3) > 2"]))
    assert words(results) == ["passed", "failed", "passed"]


def test_test_code_that_does_not_end_is_late(backend: Backend) -> None:
    pool = Pool(backend, Limits(seconds=0.2), 1)
    tests = cases_of("while f(1): assert f(1)")
    assert words(Grading(pool, "def f(x): return x", Comparison()).run(tests)) == ["timeout"]
    pool.close()
