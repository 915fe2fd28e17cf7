"""Choosing tokens: temperature, top-k, top-p, and a seed per completion.

The random number of token t of a completion depends on the completion's seed and t alone, so a result does not
depend on its neighbours in the batch (apart from rounding in the logits).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from postlude.engines.protocol import Sampling

_BLOCK = 64


def uniforms(seeds: np.ndarray, times: int, start: int = 0) -> np.ndarray:
    """[S, times] numbers in (0, 1] from 64-bit seeds [S]: a counter-based generator (splitmix64)."""
    with np.errstate(over="ignore"):
        counter = np.arange(start + 1, start + times + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = seeds.astype(np.uint64)[:, None] + counter[None, :]
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return ((z >> np.uint64(11)).astype(np.float64) + 0.5) / float(1 << 53)


def choose(logits: Tensor, uniform: Tensor, sampling: Sampling) -> tuple[Tensor, Tensor]:
    """[S] tokens and [S] log-probs from logits [S, V] and uniform numbers [S].

    The log-prob is that of the distribution sampled from: after temperature, top-k and top-p. At temperature 0
    the most likely token is taken, with its log-prob at temperature 1.
    """
    logits = logits.float()
    logits = logits - logits.max(-1, keepdim=True).values  # log-probs keep their digits
    if sampling.temperature == 0:
        token = logits.argmax(-1)
        return token, _logprob(logits, token)
    logits = logits / sampling.temperature
    if sampling.top_k or sampling.top_p < 1:
        logits = _truncate(logits, sampling.top_k, sampling.top_p)
    token = _inverse_cdf(torch.exp(logits), uniform)
    return token, _logprob(logits, token)


def _logprob(logits: Tensor, token: Tensor) -> Tensor:
    return logits.gather(1, token[:, None]).squeeze(1) - torch.logsumexp(logits, -1)


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


def _inverse_cdf(weights: Tensor, uniform: Tensor) -> Tensor:
    """[S] index where the running sum of weights [S, V] passes uniform * total: first a block, then within it."""
    s, v = weights.shape
    blocks = -(-v // _BLOCK)
    padded = torch.nn.functional.pad(weights, (0, blocks * _BLOCK - v)).reshape(s, blocks, _BLOCK)
    running = padded.sum(-1).double().cumsum(-1)
    goal = uniform.to(running)[:, None] * running[:, -1:]
    block = torch.searchsorted(running, goal, right=True).clamp(max=blocks - 1)
    before = torch.where(block > 0, running.gather(1, (block - 1).clamp(min=0)), 0)
    inside = padded.gather(1, block[:, :, None].expand(-1, -1, _BLOCK)).squeeze(1).double().cumsum(-1)
    within = torch.searchsorted(inside, goal - before, right=True).clamp(max=_BLOCK - 1)
    token = (block * _BLOCK + within).squeeze(1)
    # rounding at a block's edge may point at a token of weight 0: take the last possible token before it
    chosen = weights.gather(1, token.clamp(max=v - 1)[:, None]).squeeze(1)
    if bool((chosen == 0).any()):
        column = torch.arange(v, device=weights.device)
        possible = (weights > 0) & (column[None, :] <= token[:, None])
        last = torch.where(possible, column, -1).max(-1).values
        token = torch.where(last >= 0, last, weights.argmax(-1))
    return token
