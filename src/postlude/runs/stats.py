"""Sums of figures, the means they are reported as, and seconds. Needs no torch."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, SupportsFloat


def mean(values: Sequence[float]) -> float:
    """The mean of finite numbers, which is finite even where their sum is not."""
    total = sum(values)
    return total / len(values) if math.isfinite(total) else sum(v / len(values) for v in values)


def beside(ours: Mapping[str, float], theirs: Mapping[str, float]) -> dict[str, float]:
    """Figures of ours with those whose names a user's function chose; where two have one name, theirs stands under
    `logged/`."""
    return {**ours, **{name if name not in ours else f"logged/{name}": value for name, value in theirs.items()}}


@dataclass
class Stats:
    """Figures that add up over micro-batches, updates and ranks; `summary` turns them into means."""

    sums: dict[str, float] = field(default_factory=dict[str, float])
    largest: dict[str, float] = field(default_factory=dict[str, float])
    updates: int = 0

    @classmethod
    def of(cls, loss: Any) -> Stats:
        """From an objective's `Loss`."""
        return cls(_floats(loss.sums), _floats(loss.largest))

    def __iadd__(self, other: Stats) -> Stats:
        for name, value in other.sums.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        for name, value in other.largest.items():
            self.largest[name] = max(self.largest.get(name, value), value)
        self.updates += other.updates
        return self

    def summary(self) -> dict[str, float]:
        """Token figures per trained token, pair and sequence figures per one, losses and gradient norms per update."""
        tokens = self.sums.get("token/trained", 0.0)
        pairs = self.sums.get("pair/count", 0.0)
        sequences = self.sums.get("sequence/count", 0.0)
        result: dict[str, float] = {}
        for name, value in self.sums.items():
            kind, _, rest = name.partition("/")
            if kind == "token" and tokens:
                result[rest] = value / tokens
            elif kind == "pair" and pairs:
                result[rest] = value / pairs
            elif kind == "sequence" and sequences:
                result[rest] = value / sequences
            elif kind in ("loss", "update"):
                result[name if kind == "loss" else rest] = value / max(self.updates, 1)
            elif kind not in ("token", "pair", "sequence"):
                result[name] = value
        _effective_sample_size(result)
        result.pop("trained", None)
        result.pop("count", None)
        return {**result, **self.largest, "trained_tokens": tokens}


def _effective_sample_size(result: dict[str, float]) -> None:
    """(sum w)^2 / (N sum w^2) of the untruncated token weights, from their means."""
    w, w2 = result.pop("mismatch/w", None), result.pop("mismatch/w2", None)
    if w is not None and w2:
        result["mismatch/ess"] = w * w / w2


def _floats(values: Mapping[str, SupportsFloat]) -> dict[str, float]:
    return {name: float(value) for name, value in values.items()}


class Clock:
    """Seconds of the parts of a step. `apart`: seconds so far that are no part of any, such as those of a restart."""

    def __init__(self, apart: Callable[[], float] = lambda: 0.0) -> None:
        self.laps: dict[str, float] = {}
        self._apart, self._before = apart, apart()
        self._last = time.monotonic() - self._before

    @property
    def apart(self) -> float:
        """Since the clock began."""
        return self._apart() - self._before

    def lap(self, name: str) -> None:
        now = time.monotonic() - self._apart()
        self.laps[name] = now - self._last
        self._last = now
