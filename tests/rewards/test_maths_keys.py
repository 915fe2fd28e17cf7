"""No response fits right answers that differ, and none ends in an error."""

from __future__ import annotations

from pathlib import Path

import pytest

from postlude.maths.echo import is_echo
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


@pytest.mark.parametrize(
    ("prompt", "gold", "answer", "copied"),
    [
        (r"What is $3\cdot 17$?", "51", r"17\cdot 3", True),
        (r"What is $3\cdot 17$?", "51", r"3\times17", True),
        (r"What is $3\cdot 17$?", "51", r"3\cdot17+0", True),
        (r"What is $3\cdot 17$?", "51", r"1\cdot3\cdot17", True),
        ("What is 3 * 17?", "51", "17*3", True),
        (r"What is $3\cdot 17$?", "51", "51", False),
        (r"What is $3\cdot 17$?", "51", "50+1", False),
        (r"Expand $x(x+1)$.", "x^2+x", "x^2+x", False),
        (r"Write $\frac{1}{2}$ as a sum.", r"\frac{1}{2}", r"\frac{1}{2}", False),
    ],
)
def test_a_term_of_the_prompt_turned_round_is_an_echo(prompt: str, gold: str, answer: str, copied: bool) -> None:
    assert is_echo(answer, gold, prompt) is copied


@pytest.mark.parametrize(
    "answer",
    [
        r"\gcd(x)", r"\operatorname{lcm}(x)a", r"\max(i,2)", r"x\bmod i", r"\overline{3}!!",
        r"\lfloor 10^{500}\pi\rfloor", r"\begin{pmatrix}1\\2\end{pmatrix} * \begin{pmatrix}2\\1\end{pmatrix}",
    ],
)  # fmt: skip
def test_no_text_of_a_response_ends_in_an_error(answer: str) -> None:
    results = Verifier().verify_all([(gold, rf"\boxed{{{answer}}}") for gold in ("7", "x+1", r"\gcd(x,y)", "(1,2)")])
    assert not any(r.verdict in ("error", "equal") for r in results)
    assert Verifier().verify("7", None).verdict == "unparsable"  # type: ignore[arg-type]
