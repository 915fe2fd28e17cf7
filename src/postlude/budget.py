"""What a run may use before it ends, and what it has used: tokens and seconds, counted alike for every method."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from postlude.bounds import Bounds, hold


@dataclass(frozen=True)
class Budget:
    """A run ends with the first step at or beyond any of these; `steps` bounds it as well. The decay of the learning
    rate follows whichever is nearer to its end, so that it reaches `schedule.final` wherever the run ends."""

    tokens: Annotated[int, Bounds(1, 10**15)] | None = None
    """Of all answers that were sampled, those included that no update used, plus those that training passed through the
    model (`passed_tokens`). Evaluations are not counted."""
    seconds: Annotated[float, Bounds(0, 1e9, above=True)] | None = None
    """Of drawing and training, without evaluations and saves. Two runs of one recipe then differ in their steps."""

    def __post_init__(self) -> None:
        hold(self)


@dataclass
class Spent:
    """What the finished steps of a run have used. Part of a checkpoint: a resumed run goes on counting."""

    sampled: int = 0
    """Tokens of answers."""
    trained: int = 0
    """Tokens of batches, once for each time training passed them through the model."""
    seconds: float = 0.0
    """Where a budget counts them."""

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Spent:
        """From a checkpoint; nothing in one that an earlier version wrote."""
        return cls(**state.get("spent", {}))

    @property
    def tokens(self) -> int:
        return self.sampled + self.trained

    def add(self, sampled: float, trained: float, seconds: float) -> None:
        """A step is finished."""
        self.sampled += int(sampled)
        self.trained += int(trained)
        self.seconds += seconds

    def share(self, budget: Budget | None) -> float:
        """Of the budget that is used, from 0 on; 1 or more ends the run."""
        if budget is None:
            return 0.0
        used = self.tokens / budget.tokens if budget.tokens else 0.0
        return max(used, self.seconds / budget.seconds if budget.seconds else 0.0)


def is_finished(state: Mapping[str, Any], steps: int, stop_at: float | None, budget: Budget | None) -> bool:
    """Whether a run that was saved in this state is at its end: all steps done, budget used, or goal reached, and
    nothing of that still to be measured."""
    due = state.get("due", {})
    if due.get("evaluation") or due.get("sheet"):
        return False
    reached = state.get("reached")
    met = reached is not None and stop_at is not None and reached >= stop_at
    return met or state["step"] >= steps or Spent.of(state).share(budget) >= 1
