"""What the loop needs to know beyond its streams."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from postlude.best import Best
from postlude.budget import Budget, Spent
from postlude.data import Group
from postlude.doctor.track import Track
from postlude.doctor.watching import Watch
from postlude.learning import Learning
from postlude.sources.source import Drawn


class Measured(Protocol):
    """What an evaluation gives: figures, the answers behind them, and what their rewards noted."""

    @property
    def figures(self) -> dict[str, float]: ...
    @property
    def groups(self) -> list[Group]: ...
    @property
    def notes(self) -> list[str]: ...
    @property
    def each(self) -> Mapping[str, Sequence[float | None]]: ...


class Kept(Protocol):
    """What a checkpoint keeps, as JSON."""

    def state(self) -> dict[str, Any]: ...


@dataclass
class Due:
    """What is still to be measured after the last finished step. Part of a checkpoint: where a reward or metric fails
    in an evaluation, the run that goes on makes it up."""

    evaluation: bool = False
    sheet: bool = False
    reached: float | None = None
    """The accuracy that reached the goal."""

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Due:
        """From a checkpoint."""
        return cls(**state.get("due", {}))


class EachDraw(Protocol):
    """Whether answers are of the weights that are trained. Both raise TrainingError; `step` counts from 0."""

    async def require_same_weights(self, groups: Sequence[Group], step: int) -> Sequence[str]:
        """Before any update. Notes on what could not be compared."""
        ...

    def require_agreed(self, groups: Sequence[Group], step: int, largest: float) -> None:
        """After it: `largest` is how far apart sampler and trainer were about any token, in nats."""
        ...


@dataclass(frozen=True)
class Plan:
    """What the loop needs to know beyond its streams."""

    steps: int
    seed: int
    rate: Callable[[int, float], tuple[float, float]]
    """Step, and share of the budget that is used -> learning rates of the policy and of the critic."""
    budget: Budget | None = None
    evaluate: Callable[[], Awaitable[Measured]] | None = None
    """Measures the policy on held-out prompts."""
    evaluate_every: int = 0
    answer_sheet: Callable[[], Awaitable[list[str]]] | None = None
    """Has the policy answer the fixed sheet; gives notes."""
    sheet_every: int = 0
    first_measured: Kept | None = None
    """What evaluations compare with: their first; part of a checkpoint."""
    stop_at: float | None = None
    checkpoint_every: int = 0
    keep_checkpoints: int = 2
    commit_every: int = 0
    """Steps from one checkpoint that is saved before weights are published to the next, for servers or for ranks that
    are lost; 0 where there are neither."""
    served: bool = False
    """Whether servers sample."""
    max_lag: int = 0
    """Steps that the weights an answer was sampled from may be behind those that learn from it."""
    look_at: Callable[[Mapping[str, float]], Sequence[str]] = lambda figures: ()
    """Notes on the figures of a step."""
    refresh_every: int = 0
    """Steps after which the reference becomes the policy; 0 leaves it what it was at the start."""
    refresh_mix: float = 1.0
    """The policy's share in the new reference."""
    first: Callable[[Drawn], Awaitable[list[str]]] | None = None
    """Looks at the first draw of the lead before any update: notes, or an error where the run is broken."""
    each_draw: EachDraw | None = None
    """Holds what servers answered against the trainer, in every step."""
    learning: Learning = field(default_factory=Learning)
    """What the steps before this part of the run have taught."""
    best: Best = field(default_factory=Best)
    """The step that was best so far, by a held-out figure."""
    watch: Watch = field(default_factory=lambda: Watch(Track()))
    """The rules that look at the run after every step, and what they say of its end."""
    go_on: Callable[[Sequence[str]], str] = " ".join
    """`KEY=VALUE` pairs -> the command that goes on with them."""
    anew: Callable[[Sequence[str]], str] = " ".join
    """The same, to begin anew in another folder."""
    spent: Spent = field(default_factory=Spent)
    """What the steps so far have used."""
    due: Due = field(default_factory=Due)
    noted: list[str] = field(default_factory=list[str])
    """Names of the notes that a run gives once, and that were given."""
    began: Sequence[int] = ()
    """The fingerprint of the weights that the run began with; of one that begins now it is yet to be taken."""

    @property
    def timed(self) -> bool:
        """Whether seconds are counted: else a repeated run has the same state."""
        return self.budget is not None and self.budget.seconds is not None

    def is_done(self, step: int) -> bool:
        """Whether so many steps are all, or have used the budget up."""
        return step >= self.steps or self.spent.share(self.budget) >= 1

    def find_due(self, step: int) -> None:
        """Say what is to be measured after a step, unless something of it is left to do already."""
        due, last = self.due, self.is_done(step)
        if not due.evaluation and not due.sheet:
            due.reached = None
            due.evaluation = last or bool(self.evaluate_every and step % self.evaluate_every == 0)
            due.sheet = last or bool(self.sheet_every and step % self.sheet_every == 0)
