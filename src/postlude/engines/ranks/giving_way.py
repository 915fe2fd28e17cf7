"""What gives way where memory runs out on a rank: micro-batches, then the output layer's chunk, on all of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from postlude.batch import Batch
from postlude.sizing.work import LEAST_CHUNK

Limits = tuple[int, int]
"""(token budget, chunk of the output layer)."""


def smaller(limits: Limits, batches: Sequence[Batch]) -> tuple[Limits, str] | None:
    """Half of what a pass takes at a time, and what is to be said; None where that is as small as it gets.

    A budget beyond all tokens there are is halved from those: each try costs a start of all ranks.
    """
    budget, chunk = limits
    tokens = max((batch.tokens.shape[0] for batch in batches), default=0)
    alone = max((_longest(batch) for batch in batches), default=0)
    if min(budget, tokens) > alone:
        half = max(alone, min(budget, tokens) // 2)
        return (half, chunk), _said("micro-batches have at most", "token_budget", half, budget)
    half = min(chunk, alone) // 2
    if half < LEAST_CHUNK:
        return None
    return (budget, half), _said("the output layer takes at most", "head_chunk", half, chunk)


def _longest(batch: Batch) -> int:
    """Tokens of the longest sequence with its prompt."""
    shared = batch.sequence < 0
    prompts = torch.bincount(batch.group[shared], minlength=batch.n_groups)
    answers = torch.bincount(batch.sequence[~shared], minlength=batch.n_sequences)
    return int((prompts[batch.sequence_group] + answers).max()) if batch.n_sequences else 0


def _said(what: str, key: str, now: int, before: int) -> str:
    return (
        f"memory ran out on a trainer: {what} {now:,} tokens from here on (before: {before:,}), and all trainers are "
        f"started again for it. Nothing is lost; engine.{key}={now} begins with that"
    )
