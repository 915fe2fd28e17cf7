"""Rewards along the trained tokens of each sequence, and sums over what follows. Sizes as in `batch`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from postlude.batch import Batch
from postlude.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor


def known_reward(batch: Batch) -> Tensor:
    """[S] the reward, 0 where there is none."""
    return torch.where(batch.scored, batch.reward, torch.zeros_like(batch.reward))


def action_rows(batch: Batch) -> Tensor:
    """[S, L] rows of each sequence's trained tokens in order, -1 where a sequence is shorter than L."""
    rows = batch.mask.nonzero().squeeze(1)
    rows = rows[torch.argsort(batch.sequence[rows], stable=True)]
    owner = batch.sequence[rows]
    count = torch.bincount(owner, minlength=batch.n_sequences)
    start = torch.cumsum(count, 0) - count
    longest = int(count.max()) if count.numel() else 0
    table = rows.new_full((batch.n_sequences, longest), -1)
    table[owner, torch.arange(rows.shape[0], device=rows.device) - start[owner]] = rows
    return table


def next_action(batch: Batch, values: Tensor) -> Tensor:
    """[T] the value at the sequence's next trained token, 0 after the last."""
    table = action_rows(batch)
    result = torch.zeros_like(values)
    if table.shape[1] > 1:
        here, there = table[:, :-1], table[:, 1:]
        valid = there >= 0
        result[here[valid]] = values[there[valid]]
    return result


def token_rewards(batch: Batch, kl_coef: float) -> Tensor:
    """[T] r_t = -kl_coef (log old - log ref) + the score on the last trained token of each sequence (section 3.1).

    Where steps are rewarded, only the part of the score that is of the whole answer (`Batch.whole_reward`) stands
    there, and the reward r(x, y<=t) of each step or prefix at the step's last trained token.
    """
    table = action_rows(batch)
    length = (table >= 0).sum(dim=1)
    has = length > 0
    reward = torch.zeros(batch.tokens.shape[0], dtype=batch.dtype, device=batch.tokens.device)
    last = table[has].gather(1, (length[has] - 1).unsqueeze(1)).squeeze(1)
    score = batch.reward if batch.whole_reward is None else batch.whole_reward
    reward[last] = torch.where(batch.scored, score, torch.zeros_like(score))[has]
    if batch.whole_reward is not None and batch.step_reward is not None:
        steps = torch.where(rewarded(batch, batch.step_reward), batch.step_reward, 0)
        reward = reward + at_actions(batch, steps)
    return reward - kl_coef * reference_k1(batch) if kl_coef else reward


def rewarded(batch: Batch, step_reward: Tensor) -> Tensor:
    """[T] bool: a step of a scored completion ends here, on a trained token or on one of a tool."""
    return ~torch.isnan(step_reward) & (batch.sequence >= 0) & batch.scored[batch.sequence.clamp(min=0)]


def at_actions(batch: Batch, x: Tensor) -> Tensor:
    """[T] each number of x moved to the last trained token at or before its own in the sequence; what meets adds up.

    A number before which its sequence has no trained token is nobody's doing, and left out.
    """
    row = torch.arange(x.shape[0], device=x.device)
    last = torch.where(batch.mask, row, torch.full_like(row, -1)).cummax(0).values
    same_sequence = (last >= 0) & (batch.sequence >= 0) & (batch.sequence[last.clamp(min=0)] == batch.sequence)
    return torch.zeros_like(x).index_add(0, last[same_sequence], x[same_sequence])


def discounted(batch: Batch, x: Tensor, factor: float) -> Tensor:
    """[T] sum over l >= 0 of factor^l x_{t+l} along the trained tokens of each sequence; 0 elsewhere."""
    table = action_rows(batch)
    result = torch.zeros_like(x)
    running = x.new_zeros(batch.n_sequences)
    for column in reversed(range(table.shape[1])):
        rows = table[:, column]
        valid = rows >= 0
        running = torch.where(valid, x[rows.clamp(min=0)] + factor * running, running)
        result[rows[valid]] = running[valid]
    return result


def reference_k1(batch: Batch) -> Tensor:
    old = required(batch.old_logprobs, "old log-probs")
    reference = required(batch.ref_logprobs, "log-probs of the reference")
    return torch.where(batch.mask, old - reference, torch.zeros_like(old))


def required(value: Tensor | None, what: str) -> Tensor:
    if value is None:
        raise ValueError(f"this advantage needs {what}, and the batch has none")
    return value
