"""Faults inside the library that no setting can plant: broken on purpose for as long as a run goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

BREAKS = 5
"""The step at which the sampler's settings change: a run whose first answers show it is refused."""
HOT = 1.6
"""Temperature at which answers are sampled, while the trainer knows of 1."""


@contextmanager
def too_hot() -> Iterator[None]:
    """The sampler takes another temperature than the trainer is told, and says log-probs of that."""
    from postlude.rollouts.rollout import RolloutSource

    drawn = RolloutSource.draw

    async def draw(self: RolloutSource, step: int, steps: int) -> Any:
        if step >= BREAKS:
            self.sampling = replace(self.sampling, temperature=HOT)
        return await drawn(self, step, steps)

    RolloutSource.draw = draw
    try:
        yield
    finally:
        RolloutSource.draw = drawn


@contextmanager
def never_ending() -> Iterator[None]:
    """The sampler does not know the token that ends an answer, as under another model's template."""
    from postlude.engines.local.decode import LocalSampler

    made = LocalSampler.__init__

    def without_stops(self: LocalSampler, *args: Any, **more: Any) -> None:
        made(self, *args, **more)
        self.stop_ids = frozenset()

    LocalSampler.__init__ = without_stops
    try:
        yield
    finally:
        LocalSampler.__init__ = made
