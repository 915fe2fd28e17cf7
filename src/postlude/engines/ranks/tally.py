"""What a step of several trainers took beside the training itself, and how evenly it was shared out."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

Spent = Literal["share", "gather", "restart"]
"""What takes time: sharing updates out, gathering weights, starting ranks again."""


def _nothing() -> dict[Spent, float]:
    return {"share": 0.0, "gather": 0.0, "restart": 0.0}


@dataclass
class Tally:
    """Counts until a step is published, then begins anew."""

    _ratios: list[float] = field(default_factory=list[float])
    """Of each update: work of the fullest rank over the mean."""
    _seconds: dict[Spent, float] = field(default_factory=_nothing)
    restarting: float = 0.0
    """Seconds of all restarts that are over, ever."""

    @contextmanager
    def timing(self, what: Spent) -> Iterator[None]:
        """Seconds of the block are counted under this, however it ends; those of a restart within it under that."""
        began, restarted = time.monotonic(), self._seconds["restart"]
        try:
            yield
        finally:
            apart = 0.0 if what == "restart" else self._seconds["restart"] - restarted
            took = time.monotonic() - began - apart
            self._seconds[what] += took
            self.restarting += took if what == "restart" else 0.0

    def update(self, parts: Sequence[Sequence[float]]) -> None:
        """An update of so many parts: the work of each rank in each of them."""
        loads = [sum(work) for work in zip(*parts, strict=True)]
        mean = sum(loads) / max(len(loads), 1)
        self._ratios.append(max(loads) / mean if mean else 1.0)

    def figures(self) -> dict[str, float]:
        """Of the updates since this was last asked; none where there was none."""
        ratios, self._ratios = self._ratios, []
        return {"ranks/imbalance": sum(ratios) / len(ratios)} if ratios else {}

    def take(self) -> dict[str, float]:
        """Seconds since this was last asked."""
        spent, self._seconds = self._seconds, _nothing()
        return {**spent}
