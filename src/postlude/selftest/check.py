"""A check as a value: what it compares, how it measures, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from postlude.selftest.subject import Subject
from postlude.selftest.tolerance import Kind

Differences = Mapping[Kind, float]
"""The largest difference of each kind that a check looked at."""
On = Literal["model", "adapter"]
"""What a check is made on: the model with all its weights trained, or with a LoRA adapter on it."""
Status = Literal["ok", "FAILED", "skipped"]


class Skipped(Exception):
    """A check does not apply to this model; the reason is the message."""


class Broken(Exception):
    """What a check needs before it can compare is not so; what was seen is the message."""


@dataclass(frozen=True)
class Check:
    """A promise of the engine: two ways to the same numbers."""

    name: str
    """For `--only`."""
    compares: str
    """What equals what."""
    kinds: tuple[Kind, ...]
    """Of the differences it measures: each has a tolerance of its own."""
    measure: Callable[[Subject], Differences]
    """Raises Skipped, Broken, or an error of the engine."""
    on: On = "model"


@dataclass(frozen=True)
class Result:
    """What a check found. Difference and tolerance are of the kind that came nearest to its limit."""

    check: Check
    status: Status
    seconds: float
    differences: Differences
    tolerances: Mapping[Kind, float]
    reason: str = ""
    """Why it was skipped, or what is wrong where that is no difference."""

    @property
    def worst(self) -> Kind | None:
        """The kind whose difference is the largest share of its tolerance; None where nothing was compared."""
        return max(self.differences, key=self._share, default=None)

    def _share(self, kind: Kind) -> float:
        difference, tolerance = self.differences[kind], self.tolerances[kind]
        return difference / tolerance if tolerance else float(difference > 0) * 1e9

    def row(self) -> dict[str, object]:
        """As plain JSON values."""
        return {
            "check": self.check.name,
            "compares": self.check.compares,
            "status": self.status,
            "differences": dict(self.differences),
            "tolerances": {kind: self.tolerances[kind] for kind in self.differences},
            "reason": self.reason,
            "seconds": round(self.seconds, 2),
        }
