"""Attention over packed rows for unmodified Hugging Face models, as a registered attention function.

A model whose attention implementation is `postlude` calls `attention` for every layer; which rows belong together
is said by the layout that is active (`with attending(layout): model(...)`), never by a mask argument.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface

from postlude.batch import Batch
from postlude.engines.local.spans import Spans, ranges, similar
from postlude.errors import EngineError

NAME = "postlude"
_HARMLESS = {
    "position_ids",
    "use_cache",
    "cache_position",
    "output_attentions",
    "output_hidden_states",
    "is_causal",
}


@dataclass(frozen=True)
class Options:
    """What a layer asks of its attention beyond q, k and v."""

    scale: float
    window: int | None = None
    """Sliding window in positions: a query sees keys less than this far back."""
    softcap: float | None = None
    """Scores become cap tanh(score/cap) (Gemma 2)."""
    dropout: float = 0.0
    sinks: Tensor | None = None
    """[H] logits of a key that takes part in the softmax and has no value (gpt-oss)."""


class Layout(Protocol):
    """Knows which rows attend to which."""

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, options: Options) -> Tensor:
        """[T, H, D] from query [T, H, D], key and value [T, Hkv, D]."""
        ...


class _Active(threading.local):
    """The layouts in force, innermost last; one stack per thread, since a sampler may run beside the trainer."""

    def __init__(self) -> None:
        self.stack: list[Layout] = []


_active = _Active()


@contextmanager
def attending(layout: Layout) -> Iterator[None]:
    """Make `layout` the one in force; hold it through the backward pass, where checkpointed layers run again."""
    _active.stack.append(layout)
    try:
        yield
    finally:
        _active.stack.pop()


def active() -> Layout:
    """The layout in force."""
    if not _active.stack:
        raise EngineError("packed attention was called outside of a layout", code="not-supported")
    return _active.stack[-1]


def attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """The function transformers calls. Refuses every argument it does not know rather than ignore it."""
    unknown = sorted(k for k, v in others.items() if v is not None and v is not False and k not in _HARMLESS)
    if unknown or attention_mask is not None:
        seen = unknown or ["attention_mask"]
        raise EngineError(
            f"packed attention does not know how to honour {', '.join(seen)} of {type(module).__name__}",
            code="not-supported",
        )
    scale = 1 / math.sqrt(query.shape[-1]) if scaling is None else scaling
    options = Options(scale, sliding_window, softcap, dropout, s_aux)
    layer: Any = module.layer_idx
    q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))
    out = active().attend(layer, q, k, v, options)
    return out.unsqueeze(0), None


def _no_mask(*args: Any, **kwargs: Any) -> None:
    return None


AttentionInterface.register(NAME, attention)
AttentionMaskInterface.register(NAME, _no_mask)


# ----------------------------------------------------------------------------------------------- packed layout


FOLDED = 32_000_000
"""Entries of a mask up to which heads are folded: it has four bytes for each."""


@dataclass(frozen=True)
class Block:
    """Queries that attend in one call: rows [N, Q] and keys [N, K] of the packed row, -1 padded."""

    queries: Tensor
    keys: Tensor
    query_position: Tensor
    key_position: Tensor
    plain: bool
    """Queries are the keys: plain causal attention, which needs no mask."""
    reach: int
    """Longest distance between a query and a key it may see."""

    def may_fold(self, repeat: int, window: int | None) -> bool:
        """Whether the heads that share keys may stand under one another: where there is a mask, and it stays small."""
        masked = not self.plain or window is not None
        return masked and repeat * self.queries.numel() * self.keys.shape[1] <= FOLDED

    def allowed(self, window: int | None) -> Tensor:
        """[N, 1, Q, K] bool. A padded query sees everything, so that no softmax is over nothing."""
        distance = self.query_position[:, :, None] - self.key_position[:, None, :]
        seen = (distance >= 0) & (self.keys >= 0)[:, None, :]
        if window is not None:
            seen &= distance < window
        return (seen | (self.queries < 0)[:, :, None]).unsqueeze(1)


class Packed:
    """Prompts attend to themselves; every sequence attends to its group's prompt and to itself.

    Sequences are gathered into a few blocks of similar length, so padding exists inside attention only.
    """

    def __init__(self, batch: Batch, blocks: list[Block] | None = None) -> None:
        self._blocks = _blocks(batch) if blocks is None else blocks
        self._masks: dict[tuple[int, int | None, int, torch.dtype], Tensor] = {}
        order = torch.cat([b.queries[b.queries >= 0] for b in self._blocks] or [batch.tokens[:0]])
        self._inverse = torch.empty_like(order).scatter(0, order, torch.arange(order.shape[0], device=order.device))

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, options: Options) -> Tensor:
        pieces = [self._attend(i, query, key, value, options) for i in range(len(self._blocks))]
        return torch.cat(pieces).index_select(0, self._inverse)

    def _attend(self, i: int, query: Tensor, key: Tensor, value: Tensor, options: Options) -> Tensor:
        """[rows, H, D] for the real queries of block i, in order."""
        block = self._blocks[i]
        q = query[block.queries.clamp(min=0)]
        keys = block.keys.clamp(min=0)
        repeat = query.shape[1] // key.shape[1]
        k, v = (x[keys].transpose(1, 2) for x in (key, value))
        window = options.window if options.window is not None and block.reach >= options.window else None
        special = options.softcap is not None or options.sinks is not None
        if repeat > 1 and not special and block.may_fold(repeat, window) and not q.is_cuda:
            mask = self._added(i, window, repeat, q.dtype)
            folded = F.scaled_dot_product_attention(_fold(q, repeat), k, v, mask, options.dropout, scale=options.scale)
            return _unfold(folded, repeat)[block.queries >= 0]
        q = q.transpose(1, 2)
        if repeat > 1:
            k, v = k.repeat_interleave(repeat, 1), v.repeat_interleave(repeat, 1)
        if options.softcap is not None or options.sinks is not None:
            out = _explicit(q, k, v, self._allowed(i, window), options)
        elif block.plain and window is None:
            out = F.scaled_dot_product_attention(q, k, v, None, options.dropout, True, scale=options.scale)
        else:
            mask = self._added(i, window, 1, q.dtype)
            out = F.scaled_dot_product_attention(q, k, v, mask, options.dropout, scale=options.scale)
        return out.transpose(1, 2)[block.queries >= 0]

    def _allowed(self, i: int, window: int | None) -> Tensor:
        """[N, 1, Q, K] bool: the block's mask, made once for all layers that share a window."""
        key = (i, window, 0, torch.bool)
        if key not in self._masks:
            self._masks[key] = self._blocks[i].allowed(window)
        return self._masks[key]

    def _added(self, i: int, window: int | None, repeat: int, dtype: torch.dtype) -> Tensor:
        """The same as numbers that are added to scores, 0 or -inf; `repeat` times, one under the other.

        The kernels make these of a bool mask, anew in every layer, and keep all of them for the backward pass.
        """
        key = (i, window, repeat, dtype)
        if key not in self._masks:
            allowed = self._blocks[i].allowed(window)
            added = torch.zeros_like(allowed, dtype=dtype).masked_fill_(~allowed, -float("inf"))
            self._masks[key] = added.repeat(1, 1, repeat, 1) if repeat > 1 else added
        return self._masks[key]


def _fold(q: Tensor, repeat: int) -> Tensor:
    """[N, H / repeat, repeat * Q, D] of queries [N, Q, H, D]: heads that share keys become further queries, so that
    keys and values need no copies, forth or back."""
    return q.unflatten(2, (-1, repeat)).permute(0, 2, 3, 1, 4).flatten(2, 3)


def _unfold(out: Tensor, repeat: int) -> Tensor:
    """[N, Q, H, D], the inverse of `_fold`."""
    return out.unflatten(2, (repeat, -1)).permute(0, 3, 1, 2, 4).flatten(2, 3)


def _blocks(batch: Batch) -> list[Block]:
    """Prompts first, then sequences, each among those of similar length."""
    spans = Spans.of(batch)
    blocks: list[Block] = []
    prompts = (spans.prompt_length > 0).nonzero().squeeze(1)
    for part in similar(spans.prompt_length[prompts], 2.0):
        g = prompts[part]
        rows = ranges(spans.prompt_start[g], spans.prompt_length[g])
        blocks.append(block_of(batch.position, rows, rows, plain=True))
    sequences = (spans.length > 0).nonzero().squeeze(1)
    owner = batch.sequence_group[sequences]
    for part in similar(spans.length[sequences], 1.5, spans.prompt_length[owner]):
        s, g = sequences[part], owner[part]
        columns_of_own = ranges(spans.start[s], spans.length[s])
        prompt = ranges(spans.prompt_start[g], spans.prompt_length[g])
        blocks.append(
            block_of(batch.position, columns_of_own, torch.cat([prompt, columns_of_own], 1), plain=not prompt.numel())
        )
    return blocks


def block_of(position: Tensor, queries: Tensor, keys: Tensor, plain: bool) -> Block:
    """Queries and keys as a block; `position` is that of every row they point at."""
    query_position, key_position = (position[x.clamp(min=0)] for x in (queries, keys))
    reach = int(query_position.max()) if queries.numel() else 0
    return Block(queries, keys, query_position, key_position, plain, reach)


def _explicit(q: Tensor, k: Tensor, v: Tensor, allowed: Tensor, options: Options) -> Tensor:
    """Attention with a soft cap or sinks, which the fused kernels do not offer."""
    scores = q @ k.transpose(-1, -2)
    scores = cap(scores.to(torch.promote_types(scores.dtype, torch.float32)) * options.scale, options.softcap)
    scores = scores.masked_fill(~allowed, -float("inf"))
    return F.dropout(softmax_with_sinks(scores, options.sinks), options.dropout).to(v.dtype) @ v


def cap(scores: Tensor, softcap: float | None) -> Tensor:
    """cap tanh(scores/cap), or the scores where there is no cap."""
    return scores if softcap is None else softcap * torch.tanh(scores / softcap)


def softmax_with_sinks(scores: Tensor, sinks: Tensor | None) -> Tensor:
    """Softmax over the last axis of [N, H, Q, K], with one more logit per head where there are sinks [H]."""
    if sinks is None:
        return torch.softmax(scores, -1)
    extra = sinks.to(scores.dtype).reshape(1, -1, 1, 1).expand(scores.shape[0], -1, scores.shape[2], 1)
    return torch.softmax(torch.cat([scores, extra], -1), -1)[..., :-1]
