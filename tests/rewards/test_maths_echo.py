"""A calculation copied from the prompt is no answer, and what a prompt names may be one."""

from __future__ import annotations

import pytest

from postlude.maths.echo import is_echo
from postlude.rewards.maths import maths

COPIES = [
    ("Simplify: $-10-4(n-5)$", "10-4n", "-10-4(n-5)"),
    ("Simplify: $-10-4(n-5)$", "$10-4 n$", "Simplify: $-10-4(n-5)$"),
    ("What is 17*3?", "51", "17 * 3"),
    ("Solve $2x+y=3$ for $y$.", "y=3-2x", "2x+y=3"),
    ("Find $\\log_{2} 8$.", "3", "\\log_28"),
    ("Evaluate $\\frac{-9\\cdot 2-(3-6)}{5}$.", "-3", "\\frac{-9\\cdot2-(3-6)}{5}"),
    ("Factor $x^2-5x+6$.", "(x-2)(x-3)", "x^{2}-5x+6"),
    ("Compute \\(i^{73}\\)", "i", "i^{73}"),
]
ANSWERS = [
    ("Which is larger, $x+1$ or $x-1$?", "x+1", "x+1"),
    ("Which is larger, $x+1$ or $x-1$?", "1+x", "x + 1"),
    ("A coin falls on heads with probability 1/2. And two coins on the same side?", "0.5", "\\frac{1}{2}"),
    ("A square has an area of 12. What is its side?", "2\\sqrt{3}", "\\sqrt{12}"),
    ("Write $0.25$ as a fraction.", "\\frac14", "1/4"),
    ("Which holds? (A) $x$ (B) $2x$", "\\text{(B)}", "(B)"),
    ("Simplify $13+45$.", "58", "3+4 + 51"),
    ("Find $x$ if $x-2=5$.", "7", "x=7"),
    ("Is it even or odd?", "odd", "odd"),
]


@pytest.mark.parametrize(("prompt", "gold", "copy"), COPIES)
def test_a_copy_is_equal_and_not_paid(prompt: str, gold: str, copy: str) -> None:
    response = rf"\boxed{{{copy}}}"
    assert maths()([response], [gold]) == [1.0]
    assert maths()([response], [gold], prompts=[prompt]) == [0.0]
    assert maths()([response], [gold], prompts=[[{"role": "user", "content": prompt}]]) == [0.0]
    assert maths(echo=True)([response], [gold], prompts=[prompt]) == [1.0]


@pytest.mark.parametrize(("prompt", "gold", "answer"), ANSWERS)
def test_an_answer_that_the_prompt_names_is_paid(prompt: str, gold: str, answer: str) -> None:
    assert not is_echo(answer, gold, prompt)


def test_the_rollouts_say_why() -> None:
    columns: dict[str, list[object]] = {}
    maths()(["2+3"], ["5"], prompts=["What is 2+3?"], log_extra=columns.__setitem__)
    assert columns["maths_verdict"] == ["different"] and columns["maths_rule"][0].endswith("copied from the prompt")


def test_the_switch_is_true_or_false() -> None:
    with pytest.raises(ValueError, match="echo must be true or false"):
        maths(echo="no")  # type: ignore[arg-type]
