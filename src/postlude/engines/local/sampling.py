"""Choosing tokens: temperature, top-k, top-p, and a seed per completion.

The random number of token t of a completion depends on the completion's seed and t alone, so a result does not
depend on its neighbours in the batch (apart from rounding in the logits).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from postlude.engines.settings import Sampling

_BLOCK = 64
_FLAT = 1024


def uniforms(seeds: np.ndarray, times: int, start: np.ndarray | int = 0) -> np.ndarray:
    """[S, times] numbers in (0, 1] from 64-bit seeds [S], from number `start` (of each seed) on.

    A counter-based generator (splitmix64).
    """
    with np.errstate(over="ignore"):
        first = np.broadcast_to(np.asarray(start, dtype=np.uint64), seeds.shape)[:, None]
        counter = (first + np.arange(1, times + 1, dtype=np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        z = seeds.astype(np.uint64)[:, None] + counter
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return ((z >> np.uint64(11)).astype(np.float64) + 0.5) / float(1 << 53)


def choose(logits: Tensor, uniform: Tensor, sampling: Sampling) -> tuple[Tensor, Tensor]:
    """[S] tokens and [S] log-probs from logits [S, V] and uniform numbers [S].

    The log-prob is that of the distribution sampled from: after temperature, top-k and top-p. At temperature 0
    the most likely token is taken, with its log-prob at temperature 1.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if sampling.temperature not in (0, 1):
        logits = logits / sampling.temperature
    if sampling.temperature and (sampling.top_k or sampling.top_p < 1):
        logits = _truncate(logits, sampling.top_k, sampling.top_p)
    highest, likeliest = logits.max(-1, keepdim=True)
    weights = torch.exp(logits - highest)
    if sampling.temperature == 0:
        token, total = likeliest, weights.sum(-1, keepdim=True, dtype=torch.float64)
    else:
        token, total = _inverse_cdf(weights, uniform)
    return token.squeeze(1), (weights.gather(1, token) / total).log_().squeeze(1).to(logits.dtype)


def _truncate(logits: Tensor, top_k: int, top_p: float) -> Tensor:
    """-inf on every token outside the top-k, then outside the smallest set with probability top_p."""
    ordered, index = logits.sort(-1, descending=True)
    drop = torch.zeros_like(ordered, dtype=torch.bool)
    if top_k:
        drop[:, top_k:] = True
    if top_p < 1:
        before = torch.softmax(ordered.masked_fill(drop, -float("inf")), -1).cumsum(-1)
        drop[:, 1:] |= before[:, :-1] >= top_p
    return logits.masked_fill(torch.zeros_like(drop).scatter(1, index, drop), -float("inf"))


def _inverse_cdf(weights: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """[S, 1] index where the running sum of weights [S, V] passes uniform * total, and [S, 1] the total.

    Beyond `_FLAT` columns the sum runs over blocks first, then within the one that was hit.
    """
    uniform, v = uniform.double(), weights.shape[1]
    if v <= _FLAT:
        running = weights.cumsum(-1, dtype=torch.float64)
        total = running[:, -1:]
        token = torch.searchsorted(running, uniform[:, None] * total, right=True)
    else:
        blocks = -(-v // _BLOCK)
        padded = torch.nn.functional.pad(weights, (0, blocks * _BLOCK - v)).unflatten(1, (blocks, _BLOCK))
        running = padded.sum(-1, dtype=torch.float64).cumsum(-1)
        total = running[:, -1:]
        goal = uniform[:, None] * total
        block = torch.searchsorted(running, goal, right=True).clamp(max=blocks - 1)
        before = torch.where(block > 0, running.gather(1, (block - 1).clamp(min=0)), 0)
        hit = padded.gather(1, block[:, :, None].expand(-1, -1, _BLOCK)).squeeze(1)
        inside = hit.cumsum(-1, dtype=torch.float64)
        token = block * _BLOCK + torch.searchsorted(inside, goal - before, right=True).clamp(max=_BLOCK - 1)
    token.clamp_(max=v - 1)
    # rounding at an edge may point at a token of weight 0: take the last possible token before it
    if float(weights.gather(1, token).min()) == 0:
        column = torch.arange(v, device=weights.device)
        possible = (weights > 0) & (column[None, :] <= token)
        last = torch.where(possible, column, -1).max(-1, keepdim=True).values
        token = torch.where(last >= 0, last, weights.argmax(-1, keepdim=True))
    return token, total
