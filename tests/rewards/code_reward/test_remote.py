"""Test code and the program's objects, which live in another process: what works, and what never passes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from postlude.code.columns import cases_of
from postlude.code.grade import Result

Grade = Callable[..., list[Result]]
FILE = Path(__file__).parents[2] / "fixtures" / "code_objects.txt"


def _cases() -> dict[str, dict[str, tuple[str, str]]]:
    """right and wrong -> name -> (program, test code)."""
    programs: dict[str, str] = {}
    cases: dict[str, dict[str, tuple[str, str]]] = {"right": {}, "wrong": {}}
    for block in FILE.read_text().split("\n== ")[1:]:
        title, _, text = block.partition("\n")
        word, _, name = title.partition(" ")
        if word == "program":
            programs[name] = text
        elif ": " in name:
            cases[word][name] = (programs[name.partition(": ")[2]], text.rstrip("\n") + "\n")
        else:
            program, _, tests = text.partition("\n--\n")
            cases[word][name] = (program, tests.rstrip("\n") + "\n")
    return cases


CASES = _cases()
RIGHT, WRONG = CASES["right"], CASES["wrong"]


@pytest.mark.parametrize("name", RIGHT)
def test_objects_work_as_test_code_expects(grade: Grade, name: str) -> None:
    source, tests = RIGHT[name]
    assert {(r.word, r.detail) for r in grade(source, cases_of(tests))} == {("passed", "")}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_or_cheats_does_not_pass(grade: Grade, name: str) -> None:
    source, tests = WRONG[name]
    assert not {r.word for r in grade(source, cases_of(tests))} & {"passed", "bad row"}
