"""Steps of an answer in text and in tokens, and both answers of a pair as one sequence."""

from __future__ import annotations

import pytest

from postlude.data import Completion, Group, Prompt, joined_pair
from postlude.models.steps import ends, pieces
from postlude.models.tiny import character_tokenizer


@pytest.mark.parametrize("text", ["a\nbc\n\nd", "\n\na\n", "abc", "", "\n \n"])
def test_steps_in_tokens_are_the_steps_in_the_text(text: str) -> None:
    tokenizer = character_tokenizer()
    tokens = (*tokenizer(text).input_ids, tokenizer.eos_token_id)
    found = ends(tokenizer, tokens, "\n")
    assert len(found) == len(pieces(text, "\n"))
    assert found == sorted({*found})
    assert not found or found[-1] == len(tokens) - 1


def test_a_joined_pair_is_one_sequence_in_both_orders() -> None:
    chosen, rejected = Completion((1, 2), "a", reward=0.9), Completion((3,), "b", reward=0.1)
    group = joined_pair(Group(Prompt("p", "q", tokens=(7,)), (chosen, rejected)))
    assert [(c.tokens, c.reward) for c in group.completions] == [((1, 2, 3), 0.9), ((3, 1, 2), 0.1)]
