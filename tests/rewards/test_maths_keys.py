"""No response fits right answers that differ, and none ends in an error."""

from __future__ import annotations

from pathlib import Path

from postlude.maths.verify import Verifier

TABLE = Path(__file__).parent.parent / "fixtures" / "maths_keys.txt"
"""Lines `= GOLD ||| ANSWER` (the same) or `! GOLD ||| ANSWER` (not); a line that begins with # is a heading."""


def test_every_pair_of_the_table_is_judged_as_written() -> None:
    lines = [line for line in TABLE.read_text().splitlines() if line and not line.startswith("#")]
    cases = [(line[0], *(part.strip() for part in line[2:].split(" ||| "))) for line in lines]
    results = Verifier().verify_all([(gold, rf"\boxed{{{answer}}}") for _, gold, answer in cases])
    wrong = [(c, r.verdict, r.rule) for c, r in zip(cases, results, strict=True) if (r.score == 1) != (c[0] == "=")]
    assert wrong == []
    assert not any(r.verdict == "error" for r in results)
