"""From hidden states to log-probs and entropy, in chunks, without holding all logits."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

CHUNK_ELEMENTS = 16_000_000
"""Logits held at a time (rows x vocabulary) where memory allows: 64 MB in float32."""


def logprobs_and_entropy(logits: Tensor, targets: Tensor, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """[N] log-prob of each target and [N] entropy of each row, in nats, from logits [N, V].

    Computed in float32 or wider from logits / temperature; the entropy is over the whole vocabulary.
    """
    scaled = logits.to(torch.promote_types(logits.dtype, torch.float32)) / temperature
    normaliser = torch.logsumexp(scaled, dim=-1)
    logprobs = scaled.gather(1, targets.unsqueeze(1)).squeeze(1) - normaliser
    probabilities = (scaled - normaliser.unsqueeze(1)).exp()
    entropy = normaliser - torch.where(probabilities > 0, probabilities * scaled, 0).sum(dim=-1)
    return logprobs, entropy


def _without_entropy_gradient(logits: Tensor, targets: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    scaled = logits.to(torch.promote_types(logits.dtype, torch.float32)) / temperature
    normaliser = torch.logsumexp(scaled, dim=-1)
    logprobs = scaled.gather(1, targets.unsqueeze(1)).squeeze(1) - normaliser
    with torch.no_grad():
        log_p = scaled.detach() - normaliser.detach().unsqueeze(1)
        entropy = -torch.where(log_p > -100, log_p.exp() * log_p, 0).sum(dim=-1)
    return logprobs, entropy


def head_outputs(
    head: Callable[[Tensor], Tensor],
    hidden: Tensor,
    targets: Tensor,
    temperature: float,
    entropy_gradient: bool = False,
    size: int = 0,
) -> tuple[Tensor, Tensor]:
    """Log-probs and entropies [N] of targets [N] from hidden states [N, D], a chunk of rows at a time.

    `head` maps hidden states to final logits (cap, scale and bias included). Beyond `size` rows (0: any number) the
    chunks are recomputed in the backward pass, which keeps memory flat and costs about a fifth more head time.
    """
    compute = logprobs_and_entropy if entropy_gradient else _without_entropy_gradient

    def chunk(rows: Tensor, goal: Tensor) -> tuple[Tensor, Tensor]:
        return compute(head(rows), goal, temperature)

    n = hidden.shape[0]
    if not size or n <= size:
        return chunk(hidden, targets)
    pieces = [
        checkpoint(chunk, rows, goal, use_reentrant=False) if torch.is_grad_enabled() else chunk(rows, goal)
        for rows, goal in zip(hidden.split(size), targets.split(size), strict=True)
    ]
    logprobs, entropies = zip(*pieces, strict=True)  # type: ignore[arg-type]
    return torch.cat(logprobs), torch.cat(entropies)
