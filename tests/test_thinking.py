"""Where a response stops thinking: every family's marks, and thinking that never ends."""

from __future__ import annotations

import pytest

from postlude.thinking import spoken, tail

MARKS = [
    ("<think>", "</think>"),
    ("<Think >", "</ think>"),
    ("<thinking>", "</thinking>"),
    ("<reasoning>", "</reasoning>"),
    ("<seed:think>", "</seed:think>"),
    ("<other:thinking>", "</other:thinking>"),
    ("<|think|>", "<|/think|>"),
    ('<think budget="9">', "</think>"),
    ("<scratchpad>", "</scratchpad>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|channel|>analysis<|message|>", "<|channel|>final<|message|>"),
]


@pytest.mark.parametrize(("opens", "closes"), MARKS)
def test_what_follows_the_thinking_is_the_answer(opens: str, closes: str) -> None:
    assert spoken(f"{opens}it is 41{closes}42") == "42"
    assert spoken(f"it is 41{closes}42") == "42"  # where the prompt opened it
    assert spoken(f"{opens}a{closes}b{opens}c{closes}d") == "d"
    assert spoken(f"{opens}it is 42") is None
    assert spoken(f"41{closes}42{opens}no") is None


def test_text_without_marks_is_all_answer() -> None:
    assert spoken("I think it is [thin] < think") == "I think it is [thin] < think"


@pytest.mark.parametrize(
    ("text", "after", "answer"),
    [
        ("<think>#41</think>so #42", "#", "42"),
        ("<think>#42</think>no idea", "#", None),  # what was only thought is not said
        ("<think>#42", "#", None),
        ("<think>41</think>42", "</think>", "42"),
        ("41#42", "#", "42"),
        ("42", None, "42"),
        ("<think>41</think>42", None, "42"),
    ],
)
def test_the_tail_of_an_answer_is_never_of_its_thinking(text: str, after: str | None, answer: str | None) -> None:
    assert tail(text, after) == answer
