"""Fences as models write them, and which of several blocks is the program."""

from __future__ import annotations

import pytest

from postlude.code.cases import Call, Case, Check, Script
from postlude.code.fences import language_of
from postlude.code.program import Wanted, located, program_of

F = "def f(x):\n    return x + 1\n"
BAD = "def f(x):\n    return x\n"
WANTED = Wanted(frozenset({"f"}))
METHOD = Wanted(frozenset({"f"}), frozenset({"f"}))


def fenced(*codes: str) -> str:
    return "\n\nThen:\n\n".join(f"```python\n{code}```" for code in codes)


def value_of(program: str | None, expression: str) -> object:
    """Of an expression after the program: these programs are ours."""
    assert program is not None
    names: dict[str, object] = {}
    exec(program, names)
    return eval(expression, names)


@pytest.mark.parametrize(
    "info",
    [
        *("python", "Python", "py", "py3", "python3", "python3.11", "Python 3", "pypy", "pypy3", "ipython3"),
        *("python2", "{python}", "{.python}", "{.python .numberLines}", "python:main.py", "python,linenos"),
        *(
            "python {linenos=true}",
            'python title="a.py"',
            "python filename=x",
            "main.py",
            "src/a.py",
            "python=",
            "=python",
        ),
    ],
)
def test_a_word_for_python(info: str) -> None:
    assert language_of(info) == "python"
    assert program_of(f"```{info}\n{F}```") == F


@pytest.mark.parametrize("info", ["cpp", "c++", "java", "bash", "pythonic", "pycon", "python-repl", "text", "pyx"])
def test_another_language(info: str) -> None:
    assert language_of(info) == "other"
    assert program_of(f"```{info}\n{F}```") is None


@pytest.mark.parametrize(
    "answer",
    [
        "1. So:\n\n    ```python\n    def f(x):\n        return x + 1\n    ```",
        "- So:\n  ```python\n  def f(x):\n      return x + 1\n  ```\n- Done.",
        "1. ```python\n   def f(x):\n       return x + 1\n   ```",
        "\t```python\n\tdef f(x):\n\t    return x + 1\n\t```",
        "> ```python\n> def f(x):\n>     return x + 1\n> ```",
        ">```python\n>def f(x):\n>    return x + 1\n>```",
        "> > ```python\n> > def f(x):\n> >     return x + 1\n> > ```",
        "> - So:\n>   ```python\n>   def f(x):\n>       return x + 1\n>   ```",
        "```python\n    def f(x):\n        return x + 1\n```",
        "```python\ndef f(x):\n    return x + 1```",
        "```python\ndef f(x):\n    return x + 1 ```\nThat is all.",
        "~~~python\ndef f(x):\n    return x + 1~~~",
        "```python\r\ndef f(x):\r\n    return x + 1\r\n```",
        "```python\n\ufeffdef f(x):\n    return x + 1\n```",
        "```python\ndef f(x):\n\u00a0\u00a0\u00a0\u00a0return x\u00a0+ 1\n```",
        "```python\ndef f(x):\u200b\n    return x + 1\n```",
        "````python\ndef f(x):\n    return x + 1\n````",
        "```python\ndef f(x):\n    return x + 1\n`````",
        "```python\ndef f(x):\n    return x + 1\n```.",
        "<answer>```python\ndef f(x):\n    return x + 1\n```</answer>",
        "The program: ```python\ndef f(x):\n    return x + 1\n```",
        "<code>\ndef f(x):\n    return x + 1\n</code>",
        '<code class="language-python">\ndef f(x):\n    return x + 1\n</code>',
        "[PYTHON]\ndef f(x):\n    return x + 1\n[/PYTHON]",
        "<think>hm ```python\nx = 1 </think>```python\ndef f(x):\n    return x + 1\n```",
        "[THINK]```python\nx\n```[/THINK]\n```python\ndef f(x):\n    return x + 1\n```",
        "Usage: `f(1)`\n```python\ndef f(x):\n    return x + 1\n```\nprints `2`.",
        "```python\nbroken(\n\n```python\ndef f(x):\n    return x + 1\n```",
    ],
)
def test_a_fence_that_is_read(answer: str) -> None:
    program = program_of(answer, wanted=WANTED)
    assert program is not None and program.strip() == F.strip()


@pytest.mark.parametrize(
    "code",
    [
        'def f(x):\n    """Add.\n\n    ```\n    f(1)\n    ```\n    """\n    return x + 1\n',
        'def f(x):\n    """Add.\n\n```python\n>>> f(1)\n2\n```\n"""\n    return x + 1\n',
        "def f(x):\n    '''\n```'''\n    return x + 1\n",
        'T = """\n```\n"""\ndef f(x):\n    return x + 1\n',
        '# it\'s """ not a string\ndef f(x):\n    return x + 1\n',
        "S = 'a\\'\"\"\"'\ndef f(x):\n    return x + 1\n",
        'S = "```"\ndef f(x):\n    return x + 1\n',
        "def f(x):  # see ```\n    return x + 1\n",
        "M = '</think>'\ndef f(x):\n    return x + 1\n",
        "# <think> and </think> are marks\ndef f(x):\n    return x + 1\n",
    ],
)
def test_what_looks_like_a_fence_or_a_mark_inside_a_program(code: str) -> None:
    assert program_of(f"<think>hm</think>Here:\n```python\n{code}```\nDone.", wanted=WANTED) == code


@pytest.mark.parametrize(
    "answer",
    [
        f"```python\n{F}",
        f"```python\n{F}``",
        f"~~~python\n{F}```",
        f"````python\n{F}```",
        f"<think>\n```python\n{F}```\n",
        f"<think>\n```python\n{F}```\n</think>\nDone.",
        f"<think>a</think>\n<think>\n```python\n{F}```\n",
        f"◁think▷```python\n{F}```",
        f"```cpp\n{F}```",
        F,
        "`def f(x): return x + 1`",
    ],
)
def test_no_program(answer: str) -> None:
    assert program_of(answer, wanted=WANTED) is None


def test_an_open_string_ends_at_the_first_fence_where_no_other_closes_it() -> None:
    assert program_of('```python\nx = """\n```\nText.') == 'x = """\n'
    long = '```python\nx = """\n```\n' * 2000
    program = program_of(long)
    assert program is not None and program.endswith('x = """\n')


HELPER = "def one():\n    return 1\n"
USES = "def f(x):\n    return x + one()\n"


@pytest.mark.parametrize(
    "codes",
    [
        (F, "print(f(1))\n"),
        (F, "assert f(1) == 3\n"),
        (F, "from answer import f\nf('a')\n"),
        (F, "result = f(1)\nraise SystemExit\n"),
        (F, "from unittest import TestCase\nclass TestF(TestCase):\n    def test(self):\n        assert f(1) == 9\n"),
        (BAD, F),
        (BAD, F, "print(f(1))\n"),
        ("import math\n", F),
        (HELPER, USES),
        (USES, HELPER),
        (HELPER, USES, "print(f(1) == 2)\n"),
        (HELPER + "print(one())\nraise ValueError\n", USES),
        ("def one():\n    return 5\n", HELPER, USES),
        ("ONE = 1\n", "def one():\n    return ONE\n", USES),
        ("from operator import add\nONE = 1\n", "def f(x):\n    return add(x, ONE)\n"),
        ("from operator import *\n", "def f(x):\n    return add(x, 1)\n"),
        (HELPER, "from __future__ import annotations\n\n\ndef f(x: Any) -> Any:\n    return x + one()\n"),
        ("class Adder:\n    def add(self, x):\n        return x + 1\n", "f = Adder().add\n"),
        ("from functools import cache\n@cache\ndef one():\n    return 1\n", USES),
        ("f = lambda x: x + 1\n", "f(1)\n"),
        ("if True:\n    def f(x):\n        return x + 1\n", "print(f(1))\n"),
        ("one = 5\n", "def f(x):\n    one = 1\n    return x + one\n"),
    ],
)
def test_the_block_that_defines_what_is_tested_with_what_it_lacks(codes: tuple[str, ...]) -> None:
    assert value_of(program_of(fenced(*codes), wanted=WANTED), "f(41)") == 42


def test_the_last_definition_counts_and_broken_code_is_not_passed_over() -> None:
    assert value_of(program_of(fenced(F, BAD), wanted=WANTED), "f(1)") == 1
    assert program_of(fenced(F, "def f(x:\n    return\n"), wanted=WANTED) == "def f(x:\n    return\n"
    assert value_of(program_of(fenced("def f():\n    return g()\n", "def g():\n    return 3\n")), "g()") == 3


def test_a_function_without_a_mark_goes_before_a_block_of_python_that_has_none() -> None:
    assert program_of(f"```\n{F}```\nUse:\n```python\nprint(f(1))\n```", wanted=WANTED) == F
    assert program_of(f"```python\n{F}```\nThat is\n```\n{BAD}```", wanted=WANTED) == F


def test_several_names_are_gathered_from_several_blocks() -> None:
    program = program_of(fenced("def g():\n    return 2\n", F, "print(g())\n"), wanted=Wanted(frozenset({"f", "g"})))
    assert value_of(program, "f(g())") == 3


@pytest.mark.parametrize(
    ("codes", "program"),
    [
        (("print(int(input()) + 1)\n", "print(4)\n"), "print(int(input()) + 1)\n"),
        (("n = int(input())\nprint(n)\n", "n = int(input())\nprint(n + 1)\n"), "n = int(input())\nprint(n + 1)\n"),
        (("import sys\n", "print(sys.stdin.read())\n"), "import sys\nprint(sys.stdin.read())\n"),
        ((F, "print(f(int(input())))\n"), F + "print(f(int(input())))\n"),
        ((F, "print(f(int(input())))\n", "print(f(3))\n"), F + "print(f(int(input())))\n"),
        (("def main():\n    print(input())\n", "main()\n"), "def main():\n    print(input())\nmain()\n"),
        (("n = int(input())\n", "print(n + 1)\n"), "n = int(input())\nprint(n + 1)\n"),
        (("print(1)\n", "print(2)\n"), "print(2)\n"),
        (("print(input())\n", F), "print(input())\n"),
        (("print(input(\n",), "print(input(\n"),
    ],
)
def test_a_script_is_the_last_that_reads_and_does_something(codes: tuple[str, ...], program: str) -> None:
    assert program_of(fenced(*codes)) == program


SOLUTION = "class Solution:\n    def f(self, x):\n        return x + 1\n"


@pytest.mark.parametrize(
    ("code", "target"),
    [
        (F, "f"),
        (SOLUTION, "Solution().f"),
        (BAD + SOLUTION, "Solution().f"),
        (F + "class Other:\n    def f(self):\n        return 1\n", "f"),
        ("class Other:\n    def f(self, x):\n        return x\n", "Other().f"),
        ("class Solution:\n    f = lambda self, x: x\n", "Solution().f"),
        ("class Solution:\n    def g(self): ...\n", "f"),
        ("def f(:", "f"),
    ],
)
def test_where_a_function_is_that_may_be_a_method(code: str, target: str) -> None:
    cases: list[Case] = [Call("f", [1], 2, or_method=True), Script("", "")]
    assert located(code, cases) == [Call(target, [1], 2, or_method=True), Script("", "")]


def test_a_class_that_has_the_method_is_the_block_chosen() -> None:
    program = program_of(fenced("from typing import List\n", SOLUTION, "print(Solution().f(1))\n"), wanted=METHOD)
    assert program == SOLUTION


def test_what_tests_name() -> None:
    cases = [Call("Solution().f", [], 1), Call("a.b", [], 1), Check("", "", ("g", "h.k")), Script("", "")]
    assert Wanted.by(cases).names == {"Solution", "a", "g", "h"}
