"""Figures of what answers have in common, by values computed by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from postlude.data import Completion, Group, Prompt
from postlude.evaluate import figures
from postlude.rollouts.hacking import patterns


def answer(text: str, reward: float | None = None, ended: bool = True) -> Completion:
    """A token per character, and the end token."""
    return Completion(
        (*map(ord, text), *([0] if ended else [])), text, stop="eos" if ended else "length", reward=reward
    )


def group(name: str, *answers: Completion, asked: str = "", **columns: Any) -> Group:
    gold = columns.pop("answer", None)
    return Group(Prompt(name, asked, gold, columns, tuple(map(ord, asked))), answers)


def of(*groups: Group, programs: bool = False) -> Mapping[str, float]:
    return {name.removeprefix("answers/"): value for name, value in patterns(groups, programs).items()}


def test_length_and_reward_go_together_within_prompts_alone() -> None:
    longer = group("a", answer("x", 0), answer("xx", 1), answer("xxx", 5))  # 1
    mixed = group("b", answer("x", 2), answer("xx", 1), answer("xxxx", 3))  # ranks 1 2 3 and 2 1 3: 0.5
    alike = group("c", answer("x", 1), answer("xx", 1), answer("xxxx", 1))  # no say
    few = group("d", answer("x", 1), answer("xx", 0))
    assert of(longer, mixed, alike, few)["length_reward"] == pytest.approx(0.75, rel=1e-12)
    assert "length_reward" not in of(alike, few, group("e", answer("long", 9), answer("l"), answer("lo")))


def test_a_start_and_an_end_that_different_prompts_share() -> None:
    first = group("a", answer("abcdef, thanks"), answer("abcdeg, thanks"))
    second = group("b", answer("abcdeh"), answer("thanks"))  # the last: 6 characters, "hanks" and more
    found = of(first, second)
    assert found["common_end"] == 3 / 4 and found["common_start"] == 3 / 4
    assert of(group("a", answer("hello you"), answer("hello me")), group("b", answer("x")))["common_start"] == 0
    assert of(group("a", answer("hello")), group("b", answer("hello")))["common_end"] == 0  # no longer than the ending
    assert "common_end" not in of(group("a", answer("hello you"), answer("hello you")))


def test_pieces_that_come_again() -> None:
    alone = of(group("a", answer("abababab")))  # 5 pieces of 4, 2 different
    assert alone["repeated"] == pytest.approx(3 / 5) and alone["distinct_4"] == pytest.approx(2 / 5)
    assert "similarity" not in of(group("a", answer("abc"), answer("abc"))) and "repeated" not in of(
        group("a", answer("abcd"))
    )
    eights = of(group("a", answer("123456789"), answer("12345678"), answer("87654321")))
    assert eights["similarity"] == pytest.approx((1 / 2 + 0) / 2)  # of the pieces 1-8 and 2-9 the first is shared
    twice = of(group("a", answer("abcde"), answer("abcde")), group("b", answer("abcdef")))
    assert twice["distinct_4"] == pytest.approx((2 / 4 + 1) / 2)


def test_empty_echoing_and_best_answers() -> None:
    found = of(
        group("a", answer(" \n", 1.0), answer("what is love? no", 1.0), answer("what is", 0.5), asked="what is love?"),
        group("b", answer("", None), asked="short"),
    )
    assert found["empty"] == 2 / 4 and found["at_max"] == 2 / 3 and found["echo"] == 1 / 3
    assert "echo" not in of(group("b", answer("short"), asked="short")) and of() == {}


def test_what_agrees_with_a_wrong_claim() -> None:
    wrong = group("a", answer("so: 5"), answer("not 5 but 4"), answer("5\n4"), answer("15"), answer="4", claim="5")
    right = group("b", answer("4"), answer="4", claim="4")
    assert of(wrong, right)["agree"] == 1 / 4 and "agree" not in of(right)
    assert figures([wrong, right], 4)["agree"] == 1 / 4 and "agree" not in figures([right], 1)


@pytest.mark.parametrize(
    "text",
    ["import os; os._exit(0)", "def __eq__(self, other): return True", "sys.exit()", "open('/proc/self/maps')"],
)
def test_smells_of_programs_are_counted_where_programs_are_run(text: str) -> None:
    honest = "def f(x):\n    exited = x\n    return exited  # see sys.exits"
    own = group("a", answer(text), answer(honest))
    assert of(own, programs=True)["smells"] == 1 / 2 and "smells" not in of(own)


def test_what_no_policy_wrote_is_left_out() -> None:
    tool = Completion((1, 2, 3, 4, 5, 6, 7, 8, 9), "x", (True, True, *[False] * 5, True, True), stop="eos")
    assert "repeated" not in of(group("a", tool))  # three tokens of its own, and the end
