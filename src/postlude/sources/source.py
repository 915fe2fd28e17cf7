"""The contract of a source: what gives the loop groups to train on, step by step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from postlude.data import Group


@dataclass
class Drawn:
    """The groups of a step, everything that was sampled for it, and figures about both."""

    groups: list[Group]
    sampled: list[Group] = field(default_factory=list[Group])
    report: dict[str, float] = field(default_factory=dict[str, float])
    notes: list[str] = field(default_factory=list[str])
    extra: dict[str, list[Any]] = field(default_factory=dict[str, "list[Any]"])
    """Columns that rewards logged, one entry per sampled completion."""
    logged: dict[str, float] = field(default_factory=dict[str, float])
    """Figures whose names reward functions chose."""
    name: str = ""
    """The stream's name; figures of a second stream carry it."""


class Source(Protocol):
    """Groups for one step after another: from a file, or from a policy that answers prompts."""

    async def draw(self, step: int, steps: int) -> Drawn:
        """The groups of step `step` of `steps`. Raises RewardError where a reward stops the run; `state` is then that
        of before the draw, with what was sampled in it."""
        ...

    async def settle(self) -> None:
        """Wait until nothing is being sampled: the policy is about to be published."""
        ...

    def state(self) -> dict[str, Any]:
        """What `restore` takes, as JSON. Nothing may be being sampled."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken."""
        ...

    def close(self) -> None:
        """Stop what nobody will train on."""
        ...
