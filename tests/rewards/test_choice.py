"""The letter an answer commits to: tricky cases of the rule, and what is no answer."""

from __future__ import annotations

from typing import Any

import pytest

from postlude.errors import ConfigError, RewardError
from postlude.rewards.choice import Letters, choice
from postlude.rewards.rewards import Rewards
from postlude.rewards.spec import RewardSpec
from tests.underway import in_little_time


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # nothing but the letter
        ("B", "B"),
        (" B\n", "B"),
        ("B.", "B"),
        ("(B)", "B"),
        ("**B**", "B"),
        ("B) Paris", "B"),
        ("B: Paris", "B"),
        ("Some thought.\n\nB", "B"),
        ("I choose (B).", "B"),
        ("[[B]]", "B"),
        ("$B$", "B"),
        ("So:\n\n$(B)$", "B"),
        # marked
        ("<answer>B</answer>", "B"),
        ("A is likely.\n<answer> (B) 12 </answer>", "B"),
        ("<|begin_of_box|>B<|end_of_box|>", "B"),
        ("The answer is \\(B\\).", "B"),
        ("The answer must be B", "B"),
        ("The answer would be option B", "B"),
        ("Answer - B", "B"),
        ("Option B is correct.", "B"),
        ("**B** is the right answer", "B"),
        ("I choose B", "B"),
        ("I'd go with option B", "B"),
        ("The correct one is B", "B"),
        ("答案：B", "B"),
        ("答案是 B", "B"),
        ("The answer is B", "B"),
        ("The answer is B because A is too small.", "B"),
        ("Answer: B", "B"),
        ("ANSWER: B", "B"),
        ("**Answer:** B", "B"),
        ("**Answer**: (B)", "B"),
        ("Answer:\nB", "B"),
        ("Final answer: Option B.", "B"),
        ("the correct option is [B]", "B"),
        ("the best choice is choice B", "B"),
        ("The correct answer was B, not (C).", "B"),
        (r"so \boxed{B}.", "B"),
        (r"so \boxed{\text{(B)}}", "B"),
        (r"Answer: $\boxed{B}$", "B"),
        ("Answer: B. That is, the answer is B.", "B"),
        ("(A) is too small and (C) too large.\nAnswer: B", "B"),
        ("Answer: “B”", "B"),
        # several: ambiguous
        ("The answer is A or B", "AB"),
        ("The answer is A and B", "AB"),
        ("Answer: A, B", "AB"),
        ("Answer: A, B, and C", "ABC"),
        ("Answer: A/B", "AB"),
        ("Answer: (A) or (B)", "AB"),
        (r"\boxed{A, B}", "AB"),
        ("The answer is A. No, wait: the answer is B.", "AB"),
        (r"\boxed{A} and yet the answer is B", "AB"),
        ("(A) or (B)", "AB"),
        ("A.\nB.", "AB"),
        # none
        ("", ""),
        ("b", ""),
        ("the answer is b", ""),
        ("The answer is not B", ""),
        ("Not B is correct", ""),
        ("B is not correct", ""),
        ("B is correct only if the sum is odd", ""),
        ("A or B is right", "AB"),
        ("<answer>A</answer> or <answer>B</answer>", "AB"),
        ("<answer>B", ""),
        ("<answer>A, B, C, D</answer>", "ABCD"),
        ("I'd never choose, but A or B", ""),
        ("The answer is not (B).", ""),
        ("It isn't (B).", ""),
        ("The answer is either A or B", ""),
        ("A dog barks", ""),
        ("Bob", ""),
        ("The answer is Bob", ""),
        ("The answer is C++", ""),
        ("The answer is A's friend", ""),
        ("The answers: A", ""),
        ("The answer choices are A B C D", ""),
        ("E", ""),
        ("Answer: E", ""),
        ("U.S.A.", ""),
        ("B-52", ""),
    ],
)
def test_the_letters_an_answer_commits_to(text: str, expected: str) -> None:
    assert Letters("ABCD").of(text) == set(expected)


@pytest.mark.parametrize(
    ("arguments", "text", "answer", "expected"),
    [
        ({}, "Answer: B", "B", 1.0),
        ({}, "Answer: B", "(b)", 1.0),
        ({}, "Answer: B", " B. ", 1.0),
        ({}, "Answer: B", "C", 0.0),
        ({}, "Answer: A or B", "B", 0.0),
        ({}, "no idea", "B", 0.0),
        ({}, "Answer: B", None, None),
        ({"letters": "ABCDEFGHIJ"}, "Answer: J", "J", 1.0),
        ({"after": "</think>"}, "<think>Answer: A</think>Answer: B", "B", 1.0),
        ({"after": "</think>"}, "Answer: B", "B", 0.0),
    ],
)
def test_only_the_one_right_letter_counts(
    arguments: dict[str, Any], text: str, answer: Any, expected: float | None
) -> None:
    assert choice(**arguments)(completions=[text], answer=[answer]) == [expected]
    chat = [{"role": "assistant", "content": text}]
    assert choice(**arguments)(completions=[chat], answer=[answer]) == [expected]


@pytest.mark.parametrize("answer", [1, "1", "E", "", "AB", ["B"]])
def test_a_right_answer_that_is_no_letter_is_an_error(answer: Any) -> None:
    with pytest.raises(RewardError, match="none of the letters ABCD"):
        choice()(completions=["B"], answer=[answer])


@pytest.mark.parametrize("letters", ["", "A", "AA", "abcd", "A-D", "1234"])
def test_letters_that_are_no_alphabet_are_refused(letters: str) -> None:
    with pytest.raises(ConfigError, match="two or more different capitals"):
        Rewards.of([RewardSpec("choice", args={"letters": letters})])


@pytest.mark.parametrize("part", [" ", "\n", "*", "answer ", "answer: ", "A, ", "(", "\\boxed{ ", "answer: A and "])
def test_long_answers_are_read_quickly(part: str) -> None:
    with in_little_time():
        Letters("ABCD").of("answer" + part * 20_000 + "x")
