"""The corrected errors are those of the specification, and what is said to test them is there."""

from __future__ import annotations

import ast
import json
import re
from functools import cache
from pathlib import Path

import pytest

from postlude.facts.errata import ERRATA
from postlude.facts.erratum import NOTES, Erratum

ROOT = Path(__file__).parent.parent.parent
OF_WORDS = {"2.8", "2.13"}
"""What is right in them is a matter of words, which no test holds."""


def test_every_error_of_the_specification_is_there_in_its_order() -> None:
    section = (ROOT / "docs" / "specification.md").read_text().partition("## 14.")[2].partition("\n## 15.")[0]
    assert [erratum.number for erratum in ERRATA] == re.findall(r"^\| (\d\.\d+) \|", section, re.MULTILINE)
    assert len(ERRATA) == 61 and {erratum.note for erratum in ERRATA} == set(NOTES)


@cache
def named_in(path: str) -> set[str]:
    return {
        n.name
        for n in ast.walk(ast.parse((ROOT / path).read_text()))
        if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)
    }


@cache
def golden() -> set[str]:
    cases = json.loads((ROOT / "tests" / "golden" / "golden.json").read_text())["cases"]
    return set(cases) if isinstance(cases, dict) else {case["name"] for case in cases}


@pytest.mark.parametrize("erratum", ERRATA, ids=[erratum.number for erratum in ERRATA])
def test_what_tests_it_is_there(erratum: Erratum) -> None:
    assert bool(erratum.tested) == (erratum.number not in OF_WORDS)
    for test in erratum.tested:
        path, _, name = test.partition(":")
        assert name in (golden() if path == "golden" else named_in(path)), test
