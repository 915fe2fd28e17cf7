"""Where in a response the answer stands, and what a policy could try instead of answering."""

from __future__ import annotations

from pathlib import Path

import pytest

from postlude.maths.extract import extract
from postlude.maths.golds import gold_text
from postlude.maths.verify import Verifier
from postlude.rewards.maths import maths

TABLE = Path(__file__).parent.parent / "fixtures" / "maths_extraction.txt"


def _cases() -> list[tuple[bool, str, str]]:
    lines = [line for line in TABLE.read_text().splitlines() if line and not line.startswith("#")]
    pairs = [(line[0] == "=", line[2:].split(" ||| ")) for line in lines]
    return [(right, gold, response.replace("⏎", "\n")) for right, (gold, response) in pairs]


def test_every_response_of_the_table_is_judged_as_written() -> None:
    cases = _cases()
    results = Verifier().verify_all([(gold, response) for _, gold, response in cases])
    wrong = [(c, r.verdict, r.rule) for c, r in zip(cases, results, strict=True) if (r.score == 1) != c[0]]
    assert wrong == []
    assert len(cases) > 250
