"""What happens in a run. The first group is written to events.jsonl; the second is for whoever watches, and never kept.

No wall-clock values: a resumed run repeats its events exactly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

from postlude.credentials import veiled_in

SCHEMA = 1
"""Of the rows; a reader refuses later ones."""
FRAME = ("schema", "kind", "step")
"""Keys of every row; a figure that a user's function gives one of these names stands under `logged/`."""


@dataclass(frozen=True)
class Event:
    """Something that happened once so many steps were finished. No text in it holds a key of a service."""

    kind: ClassVar[str] = ""
    step: int

    def __post_init__(self) -> None:
        for one in fields(self):
            object.__setattr__(self, one.name, veiled_in(getattr(self, one.name)))

    def row(self) -> dict[str, Any]:
        """The line of events.jsonl, as JSON: fields under their names, empty ones left out."""
        held = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "step"}
        return self._frame() | {name: value for name, value in held.items() if value not in ((), {}, None)}

    def _frame(self) -> dict[str, Any]:
        return {"schema": SCHEMA, "kind": self.kind, "step": self.step}


@dataclass(frozen=True)
class Start(Event):
    """A run begins, with what it is made of."""

    kind: ClassVar[str] = "start"
    method: str
    steps: int
    """How many there will be."""
    sizes: str
    counts: Mapping[str, int]
    data: Sequence[str]
    """What the rows of each file were recognised as."""
    engine: Mapping[str, Any]


@dataclass(frozen=True)
class Figures(Event):
    """Numbers by name; `runs.figures` says what they mean. In a row they stand beside its frame."""

    figures: Mapping[str, float]

    def row(self) -> dict[str, Any]:
        taken = [name for name in self.figures if name in FRAME]
        ours = {name: value for name, value in self.figures.items() if name not in taken}
        return self._frame() | ours | {f"logged/{name}": self.figures[name] for name in taken}


@dataclass(frozen=True)
class Step(Figures):
    """A step of training is finished."""

    kind: ClassVar[str] = "step"


@dataclass(frozen=True)
class Eval(Figures):
    """Held-out prompts were answered, or the loss on held-out rows measured."""

    kind: ClassVar[str] = "eval"


@dataclass(frozen=True)
class Note(Event):
    """What a user should hear of."""

    kind: ClassVar[str] = "note"
    text: str
    code: str = "note"
    """What it is about, for programs."""
    data: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True)
class Reference(Event):
    """The reference has become the policy, for the `refreshed`-th time."""

    kind: ClassVar[str] = "reference"
    refreshed: int


@dataclass(frozen=True)
class Publish(Event):
    """The sampler has taken the weights."""

    kind: ClassVar[str] = "publish"
    version: int


@dataclass(frozen=True)
class Checkpoint(Event):
    """The state after this step was saved."""

    kind: ClassVar[str] = "checkpoint"
    name: str
    """Of its folder in checkpoints/."""


@dataclass(frozen=True)
class End(Event):
    """Nothing follows: `done`, `interrupted` or `error`."""

    kind: ClassVar[str] = "end"
    reason: str
    code: str | None = None
    """Of the error (docs/errors.md)."""
    text: str | None = None
    """What the error said. A run that goes on takes its end back, and this with it."""


KINDS: dict[str, type[Event]] = {c.kind: c for c in (Start, Step, Eval, Note, Reference, Publish, Checkpoint, End)}
"""Kind of a row -> its event."""


def from_row(row: Mapping[str, Any]) -> Event:
    """The event of a line. ValueError where it was written under a later schema, or is no event."""
    schema, kind = row.get("schema", 1), row.get("kind")  # rows of 0.1 had none
    if not isinstance(schema, int) or schema > SCHEMA:
        raise ValueError(f"schema {schema!r} is later than {SCHEMA}, the newest that this postlude reads: update it")
    if kind not in KINDS:
        raise ValueError(f"there is no event {kind!r}")
    rest = {name: value for name, value in row.items() if name not in FRAME}
    event = KINDS[kind]
    return event(row["step"], figures=rest) if issubclass(event, Figures) else event(row["step"], **rest)  # type: ignore[call-arg]


# ------------------------------------------------------------------------------------------- for whoever watches


@dataclass(frozen=True)
class Opened(Event):
    """A run, new or resumed, is about to train."""

    kind: ClassVar[str] = "opened"
    start: Start
    folder: str
    source: str
    """Where its groups come from: file, rollout, preference."""
    lr: float | None
    stop_at: float | None
    resumed: bool


@dataclass(frozen=True)
class Used(Event):
    """A run that has a budget finished a step."""

    kind: ClassVar[str] = "used"
    share: float
    """Of the budget, from 0 on; 1 or more ends the run."""


@dataclass(frozen=True)
class Timed(Event):
    """Seconds of the finished step, by what took them: as in timings.jsonl, of a run whose policy servers sample."""

    kind: ClassVar[str] = "timed"
    seconds: Mapping[str, float]


@dataclass(frozen=True)
class Phase(Event):
    """What is being done now: compare, load, servers, sample, score, train, publish, evaluate, save."""

    kind: ClassVar[str] = "phase"
    phase: str
    steps: int | None = None
    """How many the run will have, once that is known."""


@dataclass(frozen=True)
class Progress(Event):
    """How far a phase is; numbers where they are known."""

    kind: ClassVar[str] = "progress"
    text: str
    done: int | None = None
    total: int | None = None


@dataclass(frozen=True)
class Waiting(Event):
    """Who has been waited for, for some time: it says so again while that lasts."""

    kind: ClassVar[str] = "waiting"
    text: str


@dataclass(frozen=True)
class Alive(Event):
    """What is waited for ends by itself: the run is no silent one."""

    kind: ClassVar[str] = "alive"


@dataclass(frozen=True)
class Said(Event):
    """A line for people that is no part of the run: it depends on how, or how fast, the run was started."""

    kind: ClassVar[str] = "said"
    text: str


@dataclass(frozen=True)
class Stopping(Event):
    """Somebody asked for an end: this step is finished, then all is saved."""

    kind: ClassVar[str] = "stopping"
    by: str = ""
    """The signal, where it is another than that of Ctrl-C: SIGTERM."""


@dataclass(frozen=True)
class Finished(Event):
    """The run to be resumed was at its end already."""

    kind: ClassVar[str] = "finished"
    steps: int
