"""The contract between the trainer of several ranks and whoever runs their processes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from postlude.engines.protocol import Outcome as Outcome
from postlude.engines.settings import Local, Optimizer
from postlude.errors import EngineError
from postlude.models.spec import Critic, ModelSpec
from postlude.sizing.work import Work


@dataclass(frozen=True)
class Blueprint:
    """What every rank builds its engine from: the arguments of `LocalEngine.start`, and what stands around it."""

    spec: ModelSpec
    optimizer: Optimizer
    held: Local
    seed: int
    keep_reference: bool = False
    dropout: bool = False
    scores: bool = False
    pairs: bool = False
    critic: Critic | None = None
    checkpoint: str | None = None
    work: Work | None = None
    imports: tuple[str, ...] = ()
    """`file.py:name` and `module:name` of the user's that objectives come from, loaded before one arrives."""
    folder: Path | None = None
    """The run's, which every rank has to see."""


@dataclass(frozen=True)
class Place:
    """Of a rank among the others."""

    rank: int
    size: int
    address: str
    """Where they meet: tcp://HOST:PORT of rank 0's host, or file:///PATH that all of them see and nobody has used."""
    timeout: float = 600.0
    """Seconds that a rank waits for the others."""


@dataclass(frozen=True)
class Terms:
    """Where ranks are placed, and how long they are waited for."""

    size: int
    address: str = "local"
    timeout: float = 600.0
    """Seconds for one call of all ranks."""
    restarts: int = 3
    """Without a finished step between."""

    @classmethod
    def of(cls, held: Local) -> Terms:
        """As a recipe's `engine` has it."""
        return cls(held.trainers, held.address, held.timeout, held.restarts)


@dataclass(frozen=True)
class Facts:
    """What a rank says of itself once its engine is built, or has loaded a checkpoint (`Rank.facts`)."""

    describe: Mapping[str, Any]
    """Of its `LocalEngine`."""
    settings: Mapping[str, Any]
    """Of its `LocalEngine`: token_budget, head_chunk, cache_gib as they are now."""
    dtype: str
    """Of the numbers it gives: float32 or float64."""
    has_adapter: bool
    trained: tuple[str, ...]
    """Names of the policy's trained parameters."""
    saved_bytes: int
    """Of a whole checkpoint."""
    held_bytes: Mapping[str, int]
    """Of the whole model: what `LocalEngine.held_bytes` of one process says."""
    tied: bool = False
    """Whether servers have to be given the output layer as a matrix of its own (`tied.is_tied`)."""
    version: int = 0
    skipped: int = 0
    references: int = 0
    """Counters, as a loaded checkpoint has them."""
    adapter_rank: int | None = None
    """Of the adapter that a checkpoint holds (`adapters.rank_of`); None of whole weights."""
    ties: bool = False
    """Whether the model's config calls its output layer its embedding (`tied.ties`)."""
    host: str = ""
    """The machine it is on."""


@dataclass(frozen=True)
class Taken:
    """What a rank is and holds at the moment it is asked (`Rank.taken`)."""

    host: str
    pid: int
    resident: int | None
    """Bytes of its process; None where the system does not tell."""
    device: int | None
    """The most bytes that it held on its GPU; None on a CPU."""


@dataclass(frozen=True)
class Counters:
    """What the driver counts and a checkpoint holds: `Rank.save` is called with (folder, Counters)."""

    version: int
    skipped: int


class RankLost(EngineError):
    """A rank is dead, silent for too long, or cannot be reached: all are to be started again."""

    def __init__(self, text: str, *, code: str, rank: int | None = None, cause: str = "") -> None:
        super().__init__(text, code=code)
        self.rank = rank
        """Which; None where that is not known."""
        self.cause = cause
        """What is known of it: an exit code, a signal, memory that ran out; empty where nothing is."""


class Crew(Protocol):
    """Ranks at work. A method of `Rank` is called on all of them at once; whatever it raises there is raised here."""

    size: int

    async def call(self, method: str, shared: Any = None, each: Sequence[Any] | None = None) -> list[Any]:
        """Results of `Rank.method(shared, each[rank])`, in the order of ranks. `shared` travels once, whatever the
        number of ranks. RankLost where a rank is dead or silent; a PostludeError of a rank as it is."""
        ...

    async def close(self) -> None:
        """Leave no process of them; harmless where none is left."""
        ...


Start = Callable[[Blueprint], Awaitable[Crew]]
"""Starts all ranks and waits until each has built its engine."""


@runtime_checkable
class Lasting(Protocol):
    """A `Start` that keeps for the next crew what one ran on."""

    async def end(self) -> None:
        """Leave nothing of that; harmless where nothing is left."""
        ...
