"""No response fits right answers that differ, and none ends in an error."""

from __future__ import annotations

from pathlib import Path
from random import Random

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


GOLDS = (
    "B", "7", "x+7", "y=2x+1", "n+1", r"2\pi r", r"\vec{a}", "V_0", "(t,2t)", r"\{1,2\}", "x>3", r"5\text{ cm}",
    r"\frac{\partial f}{\partial x}", r"\gcd(x,y)", "1,2", r"\sqrt{x}", r"\frac{\pi}{4}+k\pi, k\in\mathbb{Z}",
)  # fmt: skip
KEYS = (
    r"k,k\in\mathbb{Z}", r"x,x\in\mathbb{R}", r"2k+1,k\in\mathbb{Z}", r"k\pi,k\in\mathbb{Z}", r"\mathbb{R}", "x=x", "C",
    r"\{x\}", r"\emptyset", r"0\cdot x", r"\ldots", r"1,2,\ldots", r"(-\infty,\infty)", "f(x)", r"\foo{x}", "x+C", "?",
    "0xFF", r"\text{any}", r"\pm\infty", "|x|", r"\sum_{k}k", r"x\ne0", r"\max(x,y)", "0=0", "2 5", "12 ⊕ 0",
)  # fmt: skip
TOKENS = (
    r"\frac", r"\sqrt", r"\binom", r"\gcd", r"\max", r"\bmod", r"\lfloor", r"\rfloor", r"\overline", r"\log", r"\ln",
    r"\sum", r"\begin{pmatrix}", r"\end{pmatrix}", "!", "!!", "^", "_", "{", "(", ")", "[", "]", r"\{", r"\}", "|",
    ",", ";", "=", "<", r"\in", r"\mathbb{Z}", r"\cup", r"\pm", "*", "/", "+", "-", "%", "°", "i", r"\pi", r"\infty",
    "x", "k", "0", "2", "10", "1.5", "or", r"\ldots", "10^{500}", "½", "∑",
)  # fmt: skip


def test_no_response_is_equal_to_right_answers_that_differ() -> None:
    pairs = [(gold, rf"\boxed{{{key}}}") for key in KEYS for gold in GOLDS]
    results = Verifier().verify_all(pairs)
    assert [pair for pair, r in zip(pairs, results, strict=True) if r.verdict in ("equal", "error")] == []


def test_texts_by_chance_end_in_no_error() -> None:
    rng = Random(0)
    texts = [" ".join(rng.choices(TOKENS, k=rng.randint(1, 6))) for _ in range(600)]
    results = Verifier().verify_all([(rng.choice(GOLDS), rf"\boxed{{{text}}}") for text in texts])
    assert [(t, r.trace) for t, r in zip(texts, results, strict=True) if r.verdict == "error"] == []
