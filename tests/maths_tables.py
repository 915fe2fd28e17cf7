"""Tables of pairs: lines `= GOLD ||| ANSWER` (the same) or `! GOLD ||| ANSWER` (not); # begins a heading."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from postlude.maths.compare import Comparison
from postlude.maths.problems import Unreadable
from postlude.maths.reading import read
from postlude.maths.verify import Verifier

Pair = tuple[str, str, str]
"""(= or !, gold, answer)."""


def pairs_of(name: str) -> list[Pair]:
    """Those of a file in tests/fixtures."""
    text = (Path(__file__).parent / "fixtures" / name).read_text()
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(line[0], *(part.strip() for part in line[2:].split(" ||| "))) for line in lines]  # type: ignore[misc]


def misjudged(pairs: list[Pair]) -> list[Any]:
    """Those that are judged otherwise than they say, the answer in a box."""
    results = Verifier().verify_all([(gold, rf"\boxed{{{answer}}}") for _, gold, answer in pairs])
    return [(p, r.verdict, r.rule) for p, r in zip(pairs, results, strict=True) if (r.score == 1) != (p[0] == "=")]


def lopsided(pairs: list[Pair]) -> list[Pair]:
    """Those that are equal from one side alone."""
    return [pair for pair in pairs if not _same_both_ways(pair[1], pair[2])]


def _same_both_ways(gold: str, answer: str) -> bool:
    try:
        a, b = read(gold), read(answer)
    except Unreadable:
        return True
    there, back = Comparison().same(a, b), Comparison().same(b, a)
    return (there is True, there is False) == (back is True, back is False)
