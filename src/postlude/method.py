"""What a method is: an entry of the catalogue in `algorithms.py`, or one of a user's own file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from postlude.objectives import Need, Objective
from postlude.rollouts.filters import Filter
from postlude.rollouts.shaping import Shaping


@dataclass(frozen=True)
class Algorithm:
    """A method: objective + source defaults + citation.

    `source`: `file` trains on written answers, `rollout` on the policy's own, `preference` on compared answers.
    """

    name: str
    summary: str
    cite: str
    objective: Objective
    source: Literal["file", "rollout", "preference"] = "rollout"
    group_size: int = 8
    keep: Filter | None = None
    shaping: tuple[Shaping, ...] = ()
    updates: int = 1
    epochs: int = 1
    lr: float = 1e-6
    """Learning rate for full fine-tuning; LoRA runs use ten times as much (specification section 11)."""
    pretrain: bool = False
    """Whether it needs a second stream of plain text."""

    @property
    def needs(self) -> frozenset[Need]:
        return self.objective.needs
