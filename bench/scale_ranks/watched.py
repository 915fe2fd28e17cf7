"""A rank whose gradient can be looked at, at weights that are the same on any number of ranks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from postlude.engines.ranks.rank import Rank
from postlude.engines.ranks.shipping import Indices, ShippedPart
from postlude.runs.stats import Stats

SPREAD = 0.02
"""Of the noise that moves weights."""


@dataclass(frozen=True)
class Gathered:
    """What a rank says of a gradient."""

    gradient: dict[str, NDArray[np.float64]]
    """By parameter, whole; of rank 0 alone."""
    norms: dict[str, float]
    figures: list[Stats]
    """Of each part, of this rank's share."""
    passes: tuple[int, int]
    """With and without a gradient, empty ones included."""
    sound: bool


class Watched(Rank):
    """A rank that also tells its gradient."""

    @torch.no_grad()
    def shake(self, shared: int, sequences: None = None) -> None:
        """Move every trained weight by noise of this seed, the same on any number of ranks."""
        generator = torch.Generator().manual_seed(shared)
        for _, p, owned in self._trainer.named:
            noise = SPREAD * torch.randn(p.shape, generator=generator, dtype=torch.float64)
            moved = self._ranks.whole(owned.detach()) + noise.to(owned.dtype)
            self._ranks.put(owned, moved)
        self._trainer.copy_master()

    def gradient(self, shared: tuple[Sequence[ShippedPart], int], sequences: Sequence[Indices]) -> Gathered:
        """Of these sequences of each part, and of those of the other ranks. It is forgotten then."""
        parts, seed = shared
        torch.manual_seed(seed + self._ranks.rank)
        shares = [part.share(chosen) for part, chosen in zip(parts, sequences, strict=True)]
        trainer = self._trainer
        with trainer.workplace:
            passed, figures, norms = trainer._pass_through(shares)()
            sound = trainer._sound(shares, passed, norms)
        whole = {
            name: self._ranks.whole(owned.grad).double().cpu().numpy()
            for name, _, owned in trainer.named
            if owned.grad is not None
        }
        passes = (trainer._passes[True], trainer._passes[False])
        trainer.forget()
        return Gathered(whole if self._ranks.rank == 0 else {}, norms, figures, passes, sound)
