"""Packed attention on CUDA through flex_attention: one compiled kernel that skips what no query of a block may see.

Its mask is the rule of the batch itself (`batch.py`), so there are no gathered keys and no padding. It is used where
the check at load finds its log-probs and gradients equal to those of `Packed`; on a CPU only its forward pass exists,
and tests hold that to `Packed`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

from postlude.batch import Batch
from postlude.engines.local.attention import Options, Packed


@cache
def _kernel(device: str) -> Callable[..., Any]:
    """Compiled on CUDA, where the plain function would hold all scores; as it is elsewhere."""
    return torch.compile(flex_attention, dynamic=True) if device == "cuda" else flex_attention


class FlexPacked(Packed):
    """`Packed` with flex_attention for everything it can express: windows and soft caps, but not sinks or dropout."""

    def __init__(self, batch: Batch) -> None:
        super().__init__(batch)
        self._batch = batch
        self._allowed: dict[int | None, Any] = {}

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, options: Options) -> Tensor:
        if options.sinks is not None or options.dropout > 0:
            return super().attend(layer, query, key, value, options)
        q, k, v = (x.transpose(0, 1).unsqueeze(0) for x in (query, key, value))
        out = _kernel(query.device.type)(
            q,
            k,
            v,
            score_mod=_capped(options.softcap),
            block_mask=self._blocks_seen(options.window),
            scale=options.scale,
            enable_gqa=query.shape[1] != key.shape[1],
        )
        return out[0].transpose(0, 1)

    def _blocks_seen(self, window: int | None) -> Any:
        """The block mask of a window, made once for all layers that share it."""
        if window not in self._allowed:
            rows, device = self._batch.tokens.shape[0], str(self._batch.tokens.device)
            rule = _rule(self._batch, window)
            self._allowed[window] = create_block_mask(rule, None, None, rows, rows, device=device)
        return self._allowed[window]


def _rule(batch: Batch, window: int | None) -> Callable[..., Tensor]:
    group, sequence, position = batch.group, batch.sequence, batch.position

    def seen(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        same_answer = (sequence[k] < 0) | (sequence[k] == sequence[q])
        allowed = (group[q] == group[k]) & (position[k] <= position[q]) & same_answer
        return allowed if window is None else allowed & (position[q] - position[k] < window)

    return seen


def _capped(softcap: float | None) -> Callable[..., Tensor] | None:
    if softcap is None:
        return None
    return lambda score, b, h, q, k: softcap * torch.tanh(score / softcap)
