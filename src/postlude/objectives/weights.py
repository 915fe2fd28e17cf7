"""Aggregation as a weight per token, and importance corrections. A loss is sum(weight * term), nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from postlude.batch import Batch
from postlude.bounds import Count, NotNegative, Positive, hold
from postlude.lazy import torch
from postlude.objectives.terms import CLAMP

if TYPE_CHECKING:
    from torch import Tensor

Mode = Literal[
    "token_mean",
    "group_token_mean",
    "seq_mean_token_mean",
    "seq_mean_token_sum",
    "seq_mean_token_sum_norm",
    "accepted_mean_token_mean",
    "group_mean_seq_sum",
    "seq_mean_first_token",
]


def _inverse(count: Tensor) -> Tensor:
    """1/count where count > 0, else 0: an empty denominator makes a zero loss, never NaN."""
    return torch.where(count > 0, 1 / count.clamp(min=1), torch.zeros_like(count))


def _token_mean(batch: Batch, lengths: Tensor) -> Tensor:
    return batch.to_tokens(_inverse(lengths.sum()).expand(batch.n_sequences))


def _group_token_mean(batch: Batch, lengths: Tensor) -> Tensor:
    per_group = batch.by_group(lengths)
    return batch.group_to_tokens(_inverse(per_group) * _inverse((per_group > 0).sum().to(batch.dtype)))


def _seq_mean_token_mean(batch: Batch, lengths: Tensor) -> Tensor:
    return batch.to_tokens(_inverse(lengths) * _inverse((lengths > 0).sum().to(batch.dtype)))


def _seq_mean_token_sum(batch: Batch, lengths: Tensor) -> Tensor:
    return batch.to_tokens(_inverse((lengths > 0).sum().to(batch.dtype)).expand(batch.n_sequences))


def _accepted_mean_token_mean(batch: Batch, lengths: Tensor) -> Tensor:
    accepted = (indicator(batch) > 0) & (lengths > 0)
    return batch.to_tokens(torch.where(accepted, _inverse(lengths), 0) * _inverse(accepted.sum().to(batch.dtype)))


def _group_mean_seq_sum(batch: Batch, lengths: Tensor) -> Tensor:
    return batch.to_tokens(_inverse(lengths) / max(batch.n_groups, 1))


def _seq_mean_first_token(batch: Batch, lengths: Tensor) -> Tensor:
    rows = batch.mask.nonzero().squeeze(1)
    sequence = batch.sequence[rows]
    first = torch.ones_like(rows, dtype=torch.bool)
    first[1:] = sequence[1:] != sequence[:-1]
    weight = torch.zeros(batch.tokens.shape[0], dtype=batch.dtype, device=rows.device)
    weight[rows[first]] = _inverse((lengths > 0).sum().to(batch.dtype))
    return weight


_MODES: dict[str, Callable[[Batch, Tensor], Tensor]] = {
    "token_mean": _token_mean,
    "group_token_mean": _group_token_mean,
    "seq_mean_token_mean": _seq_mean_token_mean,
    "seq_mean_token_sum": _seq_mean_token_sum,
    "accepted_mean_token_mean": _accepted_mean_token_mean,
    "group_mean_seq_sum": _group_mean_seq_sum,
    "seq_mean_first_token": _seq_mean_first_token,
}


def indicator(batch: Batch) -> Tensor:
    """[S] 1 for an accepted completion: known correct, or with a positive reward where correctness is unknown."""
    by_reward = torch.where(batch.scored, batch.reward, 0) > 0
    return torch.where(batch.correct >= 0, batch.correct > 0, by_reward).to(batch.dtype)


@dataclass(frozen=True)
class Aggregate:
    """How per-token terms become one number: `Batch -> [T]` weights with global denominators.

    With n_i trained tokens in sequence i, S sequences that have any, G groups that have any (specification 0.4):
    `token_mean` 1/sum n; `group_token_mean` 1/(G n_g); `seq_mean_token_mean` 1/(S n_i);
    `seq_mean_token_sum` 1/S; `seq_mean_token_sum_norm` 1/(B length), B counting empty sequences too
    (Dr. GRPO, 2503.20783); `accepted_mean_token_mean` 1/(S+ n_i) with S+ accepted sequences (RFT);
    `group_mean_seq_sum` 1/(P n_i) with all P groups (DRPO, 2510.04474); `seq_mean_first_token` 1/S on the first
    token only (a value of the prompt).
    """

    mode: Mode = "token_mean"
    length: Count | None = None
    """L_max of `seq_mean_token_sum_norm`, in tokens; filled with the generation limit where it is None."""

    def __post_init__(self) -> None:
        hold(self)

    def __call__(self, batch: Batch) -> Tensor:
        if self.mode != "seq_mean_token_sum_norm":
            return _MODES[self.mode](batch, batch.lengths)
        if self.length is None:
            raise ValueError("seq_mean_token_sum_norm needs `length`, the generation limit in tokens")
        each = 1 / (max(batch.n_sequences, 1) * self.length)
        return batch.to_tokens(torch.full_like(batch.reward, each))


CorrectionKind = Literal[
    "token_truncate",
    "token_mask",
    "sequence_truncate",
    "sequence_mask",
    "geo_mean_mask",
    "geo_mean_mask_token_tis",
    "k3_mask",
]


@dataclass(frozen=True)
class Correction:
    """Detached weight pi_old/mu on policy terms: the trainer's against the sampler's log-probs (section 12).

    `token_truncate` clip(e^d, low, high); `token_mask` e^d inside [low, high], else 0; `sequence_*` the same with
    the sum over the sequence; `geo_mean_mask` keeps a sequence whose mean d lies in range (weight 1), or with
    `_token_tis` the untruncated token weight; `k3_mask` keeps a sequence whose mean k3 is at most `high`.
    Denominators stay those of the unmasked batch.
    """

    mode: CorrectionKind = "token_truncate"
    low: NotNegative = 0.0
    high: Positive = 2.0

    def __post_init__(self) -> None:
        hold(self)
        if not self.low < self.high:
            raise ValueError(f"need 0 <= low < high, got {self.low:g} and {self.high:g}")

    def __call__(self, batch: Batch, old: Tensor) -> Tensor:
        """[T] weights from old log-probs [T] (detached) and `batch.rollout_logprobs`."""
        d = mismatch(batch, old)
        token = d.clamp(-CLAMP, CLAMP).exp()
        if self.mode == "token_truncate":
            return token.clamp(self.low, self.high)
        if self.mode == "token_mask":
            return torch.where(self._inside(token), token, 0)
        if self.mode == "k3_mask":
            below = batch.mean_by_sequence(token - d - 1) <= self.high
            return batch.to_tokens(below.to(d.dtype))
        total = self.mode.startswith("sequence")
        level = (batch.sum_by_sequence(d) if total else batch.mean_by_sequence(d)).clamp(-CLAMP, CLAMP).exp()
        if self.mode == "sequence_truncate":
            return batch.to_tokens(level.clamp(self.low, self.high))
        below = self._inside(level)
        if self.mode == "sequence_mask":
            return batch.to_tokens(torch.where(below, level, 0))
        kept_token = batch.to_tokens(below.to(d.dtype))
        return kept_token if self.mode == "geo_mean_mask" else kept_token * token

    def _inside(self, weight: Tensor) -> Tensor:
        return (weight >= self.low) & (weight <= self.high)


def mismatch(batch: Batch, old: Tensor) -> Tensor:
    """[T] d = log pi_old - log mu on trained tokens; 0 elsewhere and where the sampler gave no log-prob."""
    mu = batch.rollout_logprobs
    if mu is None:
        return torch.zeros_like(old)
    known = batch.mask & torch.isfinite(mu) & torch.isfinite(old)
    return torch.where(known, old - mu, torch.zeros_like(old))


@dataclass(frozen=True)
class OffPolicyMask:
    """Drops a sequence iff A < 0 and the mean of log mu - log pi_theta exceeds `delta` (DeepSeek-V3.2, 2512.02556)."""

    delta: NotNegative = 0.5

    def __call__(self, batch: Batch, live: Tensor, advantages: Tensor) -> Tensor:
        """[T] of 1 and 0, from the current policy's detached log-probs [T]."""
        drift = batch.mean_by_sequence(-mismatch(batch, live))
        dropped = batch.to_tokens((drift > self.delta).to(live.dtype)) * (advantages < 0)
        return 1 - dropped
