"""Packing and cutting against their definitions (`tests/plain_batch.py`), bit for bit, on random batches."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from postlude import batch as ours
from postlude.batch import Batch
from postlude.data import Completion, Group, Prompt
from tests import plain_batch as plain

TOKENS = st.lists(st.integers(0, 2**40), max_size=5).map(tuple)


@st.composite
def completions(draw: st.DrawFn) -> Completion:
    """Ragged, some empty, unscored, with tokens of a tool, with the sampler's log-probs or rewards of steps."""
    tokens = draw(TOKENS)
    n = len(tokens)
    number = st.floats(-5, 0)
    return Completion(
        tokens,
        sampled=draw(st.sampled_from([(), draw(st.tuples(*[st.booleans()] * n))])),
        logprobs=draw(st.none() | st.tuples(*[number] * n)),
        reward=draw(st.none() | number),
        correct=draw(st.none() | st.booleans()),
        stop=draw(st.sampled_from(["eos", "length"])),
        steps=tuple((t, draw(number)) for t in range(n) if draw(st.integers(0, 3)) == 0),
        whole=draw(st.none() | number),
    )


@st.composite
def groups(draw: st.DrawFn) -> list[Group]:
    """Prompts, some without tokens, without an answer, or with a margin."""
    prompt = st.builds(
        lambda tokens, margin: Prompt("p", "p", tokens=tokens, columns={} if margin is None else {"margin": margin}),
        TOKENS,
        st.none() | st.sampled_from([0.5, 1, "none"]),
    )
    return draw(
        st.lists(st.builds(Group, prompt, st.lists(completions(), min_size=0, max_size=4).map(tuple)), max_size=6)
    )


@st.composite
def updates(draw: st.DrawFn) -> Batch:
    """Packed groups with columns that are set later, each there or not."""
    bare = ours.with_mismatched(draw(groups().filter(lambda drawn: any(g.completions for g in drawn))), torch.float64)
    generator = torch.Generator().manual_seed(draw(st.integers(0, 9)))
    tokens, sequences = bare.tokens.shape[0], bare.n_sequences
    column = torch.randn(tokens, generator=generator, dtype=torch.float64)
    by_token = ("old_logprobs", "advantages", "policy_weight", "old_values", "rows")
    there = {name: column * (i + 1) for i, name in enumerate(by_token) if draw(st.booleans())}
    if draw(st.booleans()):
        there["sequence_weight"] = torch.randn(sequences, generator=generator, dtype=torch.float64)
    if draw(st.booleans()):
        number = draw(st.integers(0, 8))
        there["pairs"] = torch.randint(sequences, (number, 2), generator=generator)
        there["pair_weight"] = torch.randn(number, generator=generator)
    return replace(bare, **there, report={"figure": 1.0})


def same(a: Batch, b: Batch) -> None:
    """Equal in every bit."""
    for f in fields(Batch):
        x, y = getattr(a, f.name), getattr(b, f.name)
        if isinstance(x, torch.Tensor):
            assert x.dtype == y.dtype and x.shape == y.shape, f.name
            assert x.contiguous().numpy().tobytes() == y.contiguous().numpy().tobytes(), f.name
        else:
            assert type(x) is type(y) and x == y, f.name


def all_same(a: list[Batch], b: list[Batch]) -> None:
    assert len(a) == len(b)
    for one, other in zip(a, b, strict=True):
        same(one, other)


MANY = settings(max_examples=25, deadline=None)


@MANY
@given(drawn=groups(), dtype=st.sampled_from([torch.float32, torch.float64]), temperature=st.floats(0.1, 2))
def test_packing_is_what_it_is_defined_as(drawn: list[Group], dtype: torch.dtype, temperature: float) -> None:
    same(ours.pack(drawn, dtype, temperature), plain.pack(drawn, dtype, temperature))


@MANY
@given(update=updates(), data=st.data())
def test_a_selection_is_what_it_is_defined_as(update: Batch, data: st.DataObject) -> None:
    chosen = data.draw(st.lists(st.booleans(), min_size=update.n_sequences, max_size=update.n_sequences))
    sequences = torch.tensor(chosen, dtype=torch.bool).nonzero().squeeze(1)
    same(ours.select(update, sequences), plain.select(update, sequences))


@MANY
@given(update=updates(), budget=st.integers(1, 40), whole=st.booleans(), shares=st.booleans())
def test_micro_batches_are_what_they_are_defined_as(update: Batch, budget: int, whole: bool, shares: bool) -> None:
    parts = list(ours.split(update, budget, whole, shares))
    all_same(parts, list(plain.split(update, budget, whole, shares)))
    assert ours.count_parts(update, budget, whole, shares) == len(parts)


@MANY
@given(update=updates(), number=st.integers(1, 6), whole=st.booleans(), seed=st.integers(0, 3))
def test_minibatches_are_what_they_are_defined_as(update: Batch, number: int, whole: bool, seed: int) -> None:
    a, b = (torch.Generator().manual_seed(seed) for _ in range(2))
    all_same(ours.minibatches(update, number, whole, a), plain.minibatches(update, number, whole, b))
    assert torch.equal(a.get_state(), b.get_state())


def test_of_no_answers_there_are_no_parts() -> None:
    for drawn in ([], [Group(Prompt("p", "p", tokens=(1, 2)), ())]):
        batch = ours.pack(drawn)
        assert list(ours.split(batch, 1, keeps_groups=False, shares_prompts=False)) == []
        assert ours.minibatches(batch, 2, keeps_groups=True, generator=None) == []
        part = ours.select(batch, torch.tensor([], dtype=torch.long))
        assert (part.n_sequences, part.n_groups, part.tokens.shape[0]) == (0, 0, 0)


@pytest.mark.parametrize("field", ["logprobs", "sampled"])
def test_a_completion_with_another_number_of_them_than_of_tokens_is_refused(field: str) -> None:
    """Too many in one and too few in the next would otherwise go by unseen."""
    pair = [replace(Completion((1, 2, 3), reward=1.0), **{field: (True,) * n}) for n in (2, 4)]
    with pytest.raises(ValueError, match="a completion of 3 tokens has 2"):
        ours.pack([Group(Prompt("p", "p", tokens=(1,)), tuple(pair))])
