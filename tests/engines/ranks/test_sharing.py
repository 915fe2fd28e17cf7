"""Sharing an update out: every sequence once, by cost, groups together where that costs nothing much."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from postlude.algorithms import ALGORITHMS
from postlude.batch import pack
from postlude.data import Completion, Group, Prompt
from postlude.engines.protocol import Part
from postlude.engines.ranks.shares import SLACK, Effort, Shares, kinds_of, share_out
from postlude.engines.ranks.shipping import ShippedBatch
from postlude.models.tiny import character_tokenizer, save_tiny_model
from postlude.objectives import TokenObjective
from postlude.sizing.shape import of_values


def groups_of(*sizes: tuple[int, tuple[int, ...]]) -> list[Group]:
    """(tokens of the prompt, tokens of each answer)."""
    return [
        Group(Prompt(str(i), "q", tokens=(3,) * prompt), tuple(Completion((4,) * n, reward=1.0) for n in answers))
        for i, (prompt, answers) in enumerate(sizes)
    ]


def shipped(*sizes: tuple[int, tuple[int, ...]]) -> ShippedBatch:
    return ShippedBatch.of(pack(groups_of(*sizes)))


def lists(shares: Shares) -> list[list[int]]:
    return [s.tolist() for s in shares.sequences]


worlds = st.lists(st.tuples(st.integers(0, 30), st.lists(st.integers(0, 40), min_size=1, max_size=6)), max_size=12)
efforts = st.builds(Effort, st.sampled_from([0.0, 1e-3, 0.1]), st.booleans())


def work_of(sizes: list[tuple[int, list[int]]], effort: Effort, sequences: list[int]) -> float:
    """By the definition, sequence by sequence."""

    def of(tokens: int) -> float:
        return tokens + effort.squares * tokens**2

    where = [(g, n) for g, (_, answers) in enumerate(sizes) for n in answers]
    total = 0.0
    for g in {where[s][0] for s in sequences}:
        prompt, answers = sizes[g][0], [where[s][1] for s in sequences if where[s][0] == g]
        once = of(prompt) if effort.shares_prompts else 0.0
        total += once + sum(of(prompt + n) - once for n in answers)
    return total


@settings(max_examples=150, deadline=None)
@given(sizes=worlds, ranks=st.integers(1, 7), effort=efforts, whole=st.booleans(), data=st.data())
def test_every_sequence_is_on_exactly_one_rank(
    sizes: list[tuple[int, list[int]]], ranks: int, effort: Effort, whole: bool, data: st.DataObject
) -> None:
    batch = shipped(*[(p, tuple(a)) for p, a in sizes])
    drawn = data.draw(st.none() | st.lists(st.integers(0, 2), min_size=batch.n_sequences, max_size=batch.n_sequences))
    kinds = None if drawn is None else np.array(drawn, np.int64)
    shares = share_out(batch, ranks, effort, whole, kinds)
    assert len(shares.sequences) == len(shares.loads) == ranks
    assert sorted(s for share in lists(shares) for s in share) == list(range(batch.n_sequences))
    assert all(share == sorted(share) for share in lists(shares))
    assert lists(share_out(batch, ranks, effort, whole, kinds)) == lists(shares)
    owners = {(int(batch.columns["sequence_group"][s]), r) for r, share in enumerate(lists(shares)) for s in share}
    groups = [g for g, _ in owners]
    if whole:
        assert len(groups) == len(set(groups))
    if effort.shares_prompts:
        assert shares.repeated == sum(sizes[g][0] for g in groups) - sum(sizes[g][0] for g in set(groups))
    if kinds is None:
        assert shares.loads == pytest.approx([work_of(sizes, effort, share) for share in lists(shares)])


@settings(max_examples=100, deadline=None)
@given(sizes=worlds, ranks=st.integers(2, 7), effort=efforts)
def test_the_fullest_rank_is_within_the_bound_of_longest_first_and_cutting_groups_makes_it_no_fuller(
    sizes: list[tuple[int, list[int]]], ranks: int, effort: Effort
) -> None:
    batch = shipped(*[(p, tuple(a)) for p, a in sizes])
    whole = share_out(batch, ranks, effort, keeps_groups=True)
    first = np.cumsum([0, *(len(answers) for _, answers in sizes)])
    each = [work_of(sizes, effort, list(range(a, b))) for a, b in pairwise(first)]
    # Graham (1969): whoever ends last began before all others had ended
    assert max(whole.loads) <= sum(each) / ranks + (1 - 1 / ranks) * max(each, default=0) + 1e-9
    assert max(share_out(batch, ranks, effort).loads) <= (1 + SLACK) * max(whole.loads) + 1e-9


def test_the_longest_goes_first_to_the_emptiest_rank() -> None:
    batch = shipped(*((0, (n,)) for n in (2, 7, 5, 4, 4)))
    shares = share_out(batch, 2)  # 7 | 5, then 4 -> 9 on the second, 4 -> 11 on the first, 2 -> 11 on the second
    assert lists(shares) == [[1, 4], [0, 2, 3]]
    assert shares.loads == (11.0, 11.0) and shares.imbalance == 1.0 and shares.repeated == 0


def test_squares_of_lengths_count() -> None:
    """One sequence of 100 tokens weighs as much as four of 50 where attention alone costs: 100^2 = 4 * 50^2."""
    batch = shipped((0, (100,)), *((0, (50,)) for _ in range(4)))
    assert lists(share_out(batch, 2, Effort(1e6))) == [[0], [1, 2, 3, 4]]
    assert lists(share_out(batch, 2, Effort(0.0)))[0] == [0, 3]
    assert share_out(shipped((30, (10, 20))), 1, Effort(0.1)).loads == (
        pytest.approx(60 + 0.1 * (30**2 + (40**2 - 30**2) + (50**2 - 30**2))),
    )


def test_a_group_is_cut_only_where_the_ranks_have_less_to_do_then() -> None:
    """Two groups of 40 + 4 * 10 for two ranks stay whole; one of them alone is cut, and its prompt computed twice."""
    assert lists(share_out(shipped((40, (10,) * 4), (40, (10,) * 4)), 2)) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    cut = share_out(shipped((40, (10,) * 4)), 2)
    assert [len(s) for s in lists(cut)] == [2, 2] and cut.loads == (60.0, 60.0) and cut.repeated == 40
    whole = share_out(shipped((40, (10,) * 4)), 2, keeps_groups=True)
    assert lists(whole) == [[0, 1, 2, 3], []] and whole.loads == (80.0, 0.0) and whole.imbalance == 2.0


def test_groups_without_a_gradient_are_even_by_themselves() -> None:
    """They are only read, in passes of their own: a rank with all of them would let the others wait."""
    objective = ALGORITHMS["grpo"].objective
    assert isinstance(objective, TokenObjective)
    rests = (20, 20, 10, 10)
    groups = groups_of(*((0, (n,) * 2) for n in (40, 40, 40, 40, *rests)))
    batch = pack(groups)
    works = torch.tensor([1.0] * 4 + [0.0] * 4)
    update = replace(
        batch, advantages=batch.group_to_tokens(works), policy_weight=torch.ones(batch.tokens.shape[0]), kl_weight=None
    )
    update = replace(update, mask=update.mask & (update.sequence != 15))  # the last answer trains nothing
    kinds = kinds_of(Part(update, objective))
    assert kinds.tolist() == [0] * 8 + [1] * 7 + [2]
    shares = share_out(ShippedBatch.of(update), 2, kinds=kinds)
    for share in shares.sequences:
        assert (kinds[share] == 0).sum() == 4
    assert sorted(sum(rests[s // 2 - 4] for s in share if kinds[s] == 1) for share in lists(shares)) == [50, 60]
    contrast = ALGORITHMS["dpo"].objective
    assert kinds_of(Part(update, contrast)).tolist() == [0] * 16


def test_attention_against_matrix_products() -> None:
    """SmolLM2-135M: 30 layers of 3,538,944 weights and an output layer of 49,152 x 576, 9 heads of 64."""
    values = {"model_type": "llama", "num_hidden_layers": 30, "hidden_size": 576, "num_attention_heads": 9}
    values |= {"num_key_value_heads": 3, "intermediate_size": 1536, "vocab_size": 49152}
    assert Effort.of(of_values(values, "x")).squares == 30 * 576 / (30 * 3_538_944 + 49_152 * 576)
    mixture = {**values, "model_type": "mixtral", "num_local_experts": 8, "num_experts_per_tok": 2}
    met = 576 * (576 + 2 * 192 + 576) + 2 * 3 * 576 * 1536
    assert Effort.of(of_values(mixture, "x")).squares == 30 * 576 / (30 * met + 49_152 * 576)


def test_of_a_model_without_known_sizes_lengths_alone_count(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "unheard"}')
    assert Effort.of_model(str(tmp_path), shares_prompts=False) == Effort(0.0, False)
    save_tiny_model(tmp_path / "tiny", layers=1, width=32, heads=2)
    per_layer = 32 * (32 + 16 + 16) + 32 * 32 + 3 * 32 * 96
    vocabulary = len(character_tokenizer())
    assert Effort.of_model(str(tmp_path / "tiny")) == Effort(32 / (per_layer + vocabulary * 32))
