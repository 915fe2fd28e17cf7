"""What travels to the ranks and back arrives bit for bit, and nothing of it is torch's or can be written to."""

from __future__ import annotations

import pickle
import pickletools
import warnings
from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from postlude.batch import Batch, pack, select, with_mismatched
from postlude.engines.protocol import Part
from postlude.engines.ranks.shipping import ShippedBatch, ShippedOutputs, ShippedPart, assemble
from postlude.objectives import Outputs
from tests.objectives.test_invariants import METHODS, objective_of
from tests.streaming import rolled_out


def batch_of(dtype: torch.dtype = torch.float32) -> Batch:
    """Every field there is, with numbers that arithmetic would change: signed zeros, infinities, NaN."""
    bare = with_mismatched(rolled_out(5, 3), dtype, 0.7)
    generator = torch.Generator().manual_seed(0)

    def noise(n: int) -> torch.Tensor:
        odd = torch.tensor([-0.0, float("inf"), -float("inf"), float("nan"), 5e-324], dtype=dtype)
        return torch.cat([odd, torch.randn(n - 5, generator=generator, dtype=dtype)])

    tokens, sequences = bare.tokens.shape[0], bare.n_sequences
    by_token = [
        *("step_reward", "rollout_logprobs", "old_logprobs", "old_entropy", "live_logprobs", "live_entropy"),
        *("ref_logprobs", "old_values", "advantages", "returns"),
        *("policy_weight", "kl_weight", "entropy_weight", "value_weight"),
    ]
    pairs = torch.tensor([[0, 1], [2, 1], [4, 3], [6, 8], [7, 8], [9, 10]])
    return replace(
        bare,
        **{name: noise(tokens) for name in by_token},
        whole_reward=noise(sequences),
        sequence_weight=noise(sequences),
        margin=noise(bare.n_groups),
        rows=torch.arange(tokens) * 3,
        pairs=pairs,
        pair_weight=noise(pairs.shape[0]),
        offset=0.1,
        report={"x": 1.0},
    )


def same(ours: Batch, theirs: Batch, *, but: tuple[str, ...] = ()) -> None:
    """Equal in every bit, type and shape."""
    for f in fields(Batch):
        a, b = getattr(ours, f.name), getattr(theirs, f.name)
        if f.name in but:
            continue
        if isinstance(a, torch.Tensor):
            assert a.dtype == b.dtype and a.shape == b.shape, f.name
            assert a.contiguous().numpy().tobytes() == b.contiguous().numpy().tobytes(), f.name
        else:
            assert type(a) is type(b) and a == b, f.name


def sent(value: object) -> object:
    """As through Ray's object store: what is large beside the pickle, in memory that cannot be written to."""
    buffers: list[pickle.PickleBuffer] = []
    small = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    assert b"torch" not in small
    return pickle.loads(small, buffers=[bytes(b.raw()) for b in buffers])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_batch_with_every_field_arrives_bit_for_bit(dtype: torch.dtype) -> None:
    batch = batch_of(dtype)
    assert all(getattr(batch, f.name) is not None for f in fields(Batch))
    shipped = sent(ShippedBatch.of(batch))
    assert isinstance(shipped, ShippedBatch)
    same(shipped.whole(), replace(batch, report={}))


def test_what_is_not_there_is_not_there_when_it_arrives() -> None:
    batch = pack(rolled_out(2, 2), torch.float64)
    shipped = ShippedBatch.of(batch)
    same(shipped.whole(), batch)
    assert shipped.n_tokens == batch.tokens.shape[0] and shipped.n_sequences == 4


@pytest.mark.parametrize("sequences", [[], [1], [0, 3, 4, 5, 29], list(range(30))], ids=len)
def test_a_share_is_what_select_cuts_out_of_the_batch_and_in_memory_of_its_own(sequences: list[int]) -> None:
    batch = batch_of()
    shipped = sent(ShippedBatch.of(batch))
    assert isinstance(shipped, ShippedBatch)
    before = {name: column.tobytes() for name, column in shipped.columns.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # torch warns of an array that cannot be written to
        share = shipped.share(np.array(sequences, np.int64))
    same(share, select(replace(batch, rows=torch.arange(batch.tokens.shape[0])), torch.tensor(sequences).long()))
    for f in fields(share):
        value = getattr(share, f.name)
        if isinstance(value, torch.Tensor) and value.numel():
            value.zero_()
    assert {name: column.tobytes() for name, column in shipped.columns.items()} == before


def test_columns_are_sent_as_they_lie_in_memory() -> None:
    batch = batch_of()
    shipped = ShippedBatch.of(batch)
    assert np.shares_memory(shipped.columns["tokens"], batch.tokens.numpy())
    buffers: list[pickle.PickleBuffer] = []
    small = pickle.dumps(shipped, protocol=5, buffer_callback=buffers.append)
    assert sum(b.raw().nbytes for b in buffers) == shipped.nbytes
    names = {str(arg) for _, arg, _ in pickletools.genops(small) if isinstance(arg, str)}
    assert not any(name.startswith("torch") for name in names)


def test_an_update_of_grpo_is_57_bytes_a_token() -> None:
    batch = pack(rolled_out(4, 3))
    none = torch.zeros(batch.tokens.shape[0])
    weighed = replace(batch, rollout_logprobs=none, old_logprobs=none, advantages=none, policy_weight=none)
    by_sequence = batch.n_sequences * (8 + 4 + 8 + 1 + 1)
    assert ShippedBatch.of(weighed).nbytes == 57 * batch.tokens.shape[0] + by_sequence


@pytest.mark.parametrize("method", METHODS)
def test_every_objective_travels_as_it_is(method: str) -> None:
    part = Part(pack(rolled_out(2, 2)), objective_of(method), 0.25)
    shipped = sent(ShippedPart.of(part))
    assert isinstance(shipped, ShippedPart)
    arrived = shipped.whole()
    assert arrived.objective == part.objective and arrived.coef == 0.25
    share = shipped.share(np.array([1]))
    assert (share.batch.n_sequences, share.objective, share.coef) == (1, part.objective, 0.25)


def test_numbers_of_the_ranks_are_put_together_as_one_process_gives_them() -> None:
    batch = batch_of()
    shipped = ShippedBatch.of(batch)
    shares = [shipped.share(np.array(s, np.int64)) for s in ([0, 2, 29], list(set(range(30)) - {0, 2, 29}), [])]
    logprobs = torch.arange(batch.tokens.shape[0], dtype=torch.float32) + 0.1
    entropy = logprobs.double() * 2
    answers: list[ShippedOutputs | None] = []
    for share in shares:
        assert share.rows is not None
        answers.append(ShippedOutputs.of(Outputs(logprobs[share.rows], entropy[share.rows]), share))
    arrived = sent([*answers, None])
    assert isinstance(arrived, list)
    together = assemble(arrived, batch)
    zero = torch.zeros(())
    assert together.logprobs is not None and torch.equal(together.logprobs, torch.where(batch.mask, logprobs, zero))
    assert together.entropy is not None and torch.equal(together.entropy, torch.where(batch.mask, entropy, zero))
    assert together.entropy.dtype == torch.float64 and together.values is None and together.scores is None


def test_a_number_that_numpy_does_not_have_is_refused() -> None:
    batch = pack(rolled_out(2, 2))
    batch = replace(batch, reward=batch.reward.bfloat16())
    with pytest.raises(TypeError, match="BFloat16"):
        ShippedBatch.of(batch)
