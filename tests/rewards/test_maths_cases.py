"""Whole responses against golds: every case of the two files, and the verdicts of the typical ones."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from postlude.maths.__main__ import SIMPLE, main
from postlude.maths.verify import Verifier

FIXTURES = Path(__file__).parent.parent / "fixtures"
FILES = ["math_cases.jsonl", "math_more.jsonl", "math_forms.jsonl"]


@pytest.mark.parametrize("name", FILES)
def test_every_case_is_judged_as_written(name: str) -> None:
    verifier = Verifier()
    cases = [json.loads(line) for line in (FIXTURES / name).read_text().splitlines()]
    results = [verifier.verify(c["gold"], c["response"]) for c in cases]
    wrong = [(c["gold"], c["response"][-200:], r) for c, r in zip(cases, results, strict=True)
             if (r.verdict == "equal") != c["equivalent"]]  # fmt: skip
    assert wrong == []


@pytest.mark.parametrize(
    ("gold", "response", "verdict", "rule"),
    [
        ("7", r"\boxed{7}", "equal", "box, exact"),
        ("7", r"\boxed{8}", "different", "box, exact"),
        ("7", r"\boxed{7} \boxed{8}", "ambiguous", "box, another answer beside it"),
        ("7", r"\boxed{7\text{ or }8}", "ambiguous", 'box, "or" in it'),
        ("7", r"\boxed{7", "unparsable", "box that is not closed"),
        ("7", r"\boxed{}", "unparsable", "empty box"),
        ("7", "", "unparsable", "empty response"),
        ("7", "<think>7", "unparsable", "still thinking"),
        ("7", "No idea.\nReally.", "unparsable", "no answer found"),
        ("7", "#### 7", "equal", "#### line, exact"),
        ("7", "The answer is 7.", "equal", "stated, exact"),
        ("7", "So\n$$7$$", "equal", "last math, exact"),
        ("7", "7", "equal", "whole response, exact"),
        ("7", r"\boxed{\frac{7}{0}}", "unparsable", "box: it divides by zero"),
        ("7", r"\boxed{99999!}", "unparsable", "box, not given to algebra: a factorial of more than 5,000"),
        ("1", r"\boxed{\sin^2 x+\cos^2 x}", "equal", "box, algebra"),
        (r"\sqrt{2+\sqrt{3}}", r"\boxed{1.9318516525781366}", "different", "box, algebra"),
        (r"f(x+1)", r"\boxed{f(1+x)}", "equal", "box, exact"),
        (r"a\perp b", r"\boxed{a \perp b}", "equal", "box, same text"),
        (None, r"\boxed{7}", "error", "gold"),
        (r"\frac{1}{0}", r"\boxed{7}", "error", "gold"),
    ],
)
def test_the_verdict_and_the_rule_are_told(gold: Any, response: str, verdict: str, rule: str) -> None:
    result = Verifier().verify(gold, response)
    assert (result.verdict, result.rule) == (verdict, rule)
    assert result.score == {"equal": 1.0, "error": None}.get(verdict, 0.0)
    assert result.seconds >= 0


@pytest.mark.parametrize(("gold", "response"), SIMPLE)
def test_simple_answers_are_judged_fast(gold: str, response: str) -> None:
    """By the functions that are called: 150 to 200, whatever the machine."""
    calls: Counter[str] = Counter()
    verifier = Verifier()
    verifier.verify(gold, response)  # what is made once
    sys.setprofile(lambda frame, event, argument: calls.update([event]))
    try:
        verifier.verify(gold, response)
    finally:
        sys.setprofile(None)
    assert 0 < calls["call"] + calls["c_call"] < 500


def test_canonical_forms_are_told() -> None:
    result = Verifier().verify(r"\sqrt{12}", r"\boxed{x = 1\frac{1}{2}}")
    assert (result.extracted, result.gold, result.answer) == (r"x = 1\frac{1}{2}", "2*3^(1/2)", "x = (3/2)")


def test_the_list_of_cases_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {"gold": "1", "response": "\\boxed{1}", "equivalent": True, "note": ""},
        {"gold": "1", "response": "\\boxed{1.0}", "equivalent": False, "note": "said to differ"},
        {"gold": "1", "response": "\\boxed{2}", "equivalent": True, "note": "said to be equal"},
    ]
    file = tmp_path / "cases.jsonl"
    file.write_text("".join(json.dumps(r) + "\n" for r in rows))
    assert main([str(file)]) == 1
    said = capsys.readouterr().out
    for part in ("agreement         1 of 3 (33.3%)", "said to differ", "said to be equal", "per second on one core"):
        assert part in said
    assert main([str(tmp_path / "none.jsonl")]) == 2
    file.write_text('{"gold": "1"}\n')
    assert main([str(file)]) == 2
    assert "line 1: equivalent, response missing" in capsys.readouterr().err
