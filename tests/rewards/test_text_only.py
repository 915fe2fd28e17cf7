"""What is said of right answers that are compared as text: by reason, with their rows."""

from __future__ import annotations

from postlude.data import Prompt
from postlude.rewards.rewards import Rewards
from postlude.rewards.spec import RewardSpec
from postlude.rewards.text_only import REASONS, Remark, by_reason, sentence, text_only, unreadable


def prompts(*golds: object) -> list[Prompt]:
    return [Prompt(str(i), "q", columns={"answer": g}, place=f"a.jsonl:{i}") for i, g in enumerate(golds, 1)]


def test_words_are_told_and_values_are_not() -> None:
    rewards = Rewards.of([RewardSpec("maths")])
    remarks = text_only(rewards, prompts("7", "even", None, r"\text{red fox}", "x+1"))
    assert [(one.place, one.reason) for one in remarks] == [("a.jsonl:2", "it is words"), ("a.jsonl:4", "it is words")]
    assert sentence(by_reason(remarks)) == "it is words (2 rows: 2, 4; first 'even')"
    assert text_only(Rewards.of([RewardSpec("exact")]), prompts("even")) == []


def test_what_nothing_can_be_compared_with_has_its_reason() -> None:
    rewards = Rewards.of([RewardSpec("maths")])
    remarks = unreadable(rewards, prompts("", r"\frac{1}{0}", "5"))
    assert [one.place for one in remarks] == ["a.jsonl:1", "a.jsonl:2"] and remarks[0].reason == "it is empty"


def test_reasons_that_quote_other_parts_are_one_and_the_rest_is_counted() -> None:
    remarks = [Remark(f"a.jsonl:{i}", "gold", f"'{sign}' after a number") for i, sign in enumerate("xy", 1)]
    assert by_reason(remarks)[0].sentence == "... after a number (2 rows: 1, 2; first 'gold')"
    assert by_reason(remarks[:1])[0].sentence == "'x' after a number (1 row: 1; first 'gold')"
    many = [
        Remark("a.jsonl:9", "g" * 40, word) for word in ("one", "two", "three", "four", "five", "six", "seven", "eight")
    ]
    said = sentence(by_reason([*remarks, *many]))
    assert said.startswith("... after a number (2 rows") and said.endswith("3 rows for 3 other reasons")
    assert said.count(";") == 2 * REASONS and "'" + "g" * 30 + "...'" in said
