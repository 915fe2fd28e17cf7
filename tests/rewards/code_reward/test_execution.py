"""Tests that would run what the program gives are refused by name; those that run only their own text are not."""

from __future__ import annotations

import pytest

from postlude.code.cases import Check
from postlude.code.columns import cases_of


def executed(source: str) -> list[str]:
    cases = cases_of(source, "f" if "candidate" in source else None)
    return [what for case in cases if isinstance(case, Check) for kind, what in case.needs if kind == "execution"]


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("assert eval(f('1+1')) == 2", "eval()"),
        ("def test_a():\n    code = f(3)\n    space = {}\n    exec(code, space)\n    assert space['x'] == 3", "exec()"),
        ("import pickle\nassert pickle.loads(f(3)) == 3", "pickle.loads()"),
        ("from pickle import loads as back\nassert back(f(3)) == 3", "pickle.loads()"),
        ("import marshal as m\nassert m.loads(f(3)) == 3", "marshal.loads()"),
        ("def run(text):\n    return eval(text)\ndef test_a():\n    assert run(f('1')) == 1", "eval()"),
        ("def check(candidate):\n    for t in ['1', '2']:\n        assert eval(candidate(t)) == int(t)", "eval()"),
        ("assert list(map(eval, f('1 2'))) == [1, 2]", "eval()"),
        ("def test_a():\n    run = eval\n    assert run(f('1')) == 1", "eval()"),
        ("assert [eval(t) for t in f('1 2')] == [1, 2]", "eval()"),
        ("def test_a():\n    assert __import__(f('m')).pi > 3", "__import__()"),
        ("import builtins\nassert builtins.eval(f('1')) == 1", "eval()"),
        ("assert eval(compile(f('1'), '', 'eval')) == 1", "compile()"),
    ],
)
def test_what_runs_the_programs_text_is_named(source: str, what: str) -> None:
    assert what in executed(source)


@pytest.mark.parametrize(
    "source",
    [
        "def test_a():\n    for t in ['1+1', '2*3']:\n        assert f(t) == eval(t)",
        "import ast\nassert ast.literal_eval(f('1')) == 1 or False",
        "import json\nassert json.loads(f({'a': 1})) == {'a': 1}",
        "import re\nassert re.compile(f('a')).match('a')",
        "import pickle\nassert f(pickle.loads(pickle.dumps([1]))) in ([1], (1,))",
        "def evaluate(t):\n    return eval(t)\ndef test_a():\n    assert f('1+1') == evaluate('1+1')",
    ],
)
def test_text_of_the_tests_own_is_no_matter(source: str) -> None:
    assert executed(source) == []
