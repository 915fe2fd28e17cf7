"""Weights that are trained together, as the model and the optimiser hold them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from postlude.engines.local.ranks import Ranks


@dataclass(frozen=True)
class Params:
    """Parameters that share a learning rate and a gradient norm: the policy, the critic."""

    names: list[str]
    params: list[Tensor]
    """As the model holds them."""
    owned: list[Tensor]
    """As the optimiser holds them: the same, or an fp32 master copy of half-precision ones."""

    @classmethod
    def of(cls, named: Iterable[tuple[str, Tensor]]) -> Params:
        trained = [(n, p) for n, p in named if p.requires_grad]
        params = [p for _, p in trained]
        low = (torch.bfloat16, torch.float16)
        owned = [p.detach().float().clone().requires_grad_() if p.dtype in low else p for p in params]
        return cls([n for n, _ in trained], params, owned)

    def groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """Groups for the optimiser: matrices decay, vectors do not."""
        decayed = [p for p in self.owned if p.ndim > 1]
        other = [p for p in self.owned if p.ndim <= 1]
        return [{"params": decayed, "weight_decay": weight_decay}, {"params": other, "weight_decay": 0.0}]

    def norm(self, ranks: Ranks | None = None) -> float:
        """Of the gradient; of several ranks, of what this one holds of it."""
        return _norm([ranks.part(p.grad) if ranks else p.grad for p in self.owned if p.grad is not None])

    def forget(self) -> None:
        """Drop the accumulated gradient."""
        for p in (*self.owned, *self.params):
            p.grad = None


def _norm(grads: Sequence[Tensor]) -> float:
    if not grads:
        return 0.0
    return float(torch.stack([g.to(torch.promote_types(g.dtype, torch.float32)).norm() for g in grads]).norm())
