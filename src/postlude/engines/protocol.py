"""The two contracts of an engine. The loop, the sources and the rewards know these and nothing concrete."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from postlude.batch import Batch
from postlude.data import Completion, Message
from postlude.engines.settings import Sampling
from postlude.objectives import Objective, Outputs, Want
from postlude.runs.stats import Stats

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class Request:
    """One completion to sample: the prompt's ids, and a seed that fixes its randomness."""

    prompt: tuple[int, ...]
    seed: int
    multi_turn: bool = False
    """Whether it is one turn of several: a sampler may then keep what it computes for the next turn to begin with, and
    take what the turn before has left. That changes no answer beyond rounding."""


@dataclass
class Progress:
    """What a sampler has done so far in one call."""

    tokens: int = 0
    finished: int = 0
    total: int = 0


@dataclass(frozen=True)
class Weights:
    """A version of the policy, and how a sampler gets it."""

    version: int
    """A number of a counter that only grows: how often the trainer has published."""
    tensors: Sequence[Tensor]
    """The trainer's own, in the order of its model's parameters: to be copied before the next update, unless the
    sampler reads them where they are."""


class Sampler(Protocol):
    """Prompts to completions, with log-probs and the policy version. Never trains.

    A turn of a conversation is a request whose prompt is every token so far.
    """

    version: int
    """Of the weights it samples from."""
    on_progress: Callable[[Progress], None] | None
    """Called now and then while sampling, for people to watch."""
    on_smaller: Callable[[str], None]
    """Called with a sentence where it takes less memory from now on, since that ran out."""

    async def load(self, weights: Weights) -> None:
        """Sample from these from now on. Nothing may be being sampled."""
        ...

    def sample(self, requests: Sequence[Request], sampling: Sampling) -> AsyncIterator[tuple[int, Completion]]:
        """(index of the request, completion), in the order they finish; batches are composed deterministically."""
        ...

    def give_way(self, requests: Sequence[Request], sampling: Sampling) -> bool:
        """Take less memory from now on, after it ran out in sampling these; False where there is nothing to give."""
        ...


@dataclass(frozen=True)
class Part:
    """What one objective learns from in an optimiser step: a batch with its weights set, and what its loss counts."""

    batch: Batch
    objective: Objective
    coef: float = 1.0


@dataclass(frozen=True)
class Rates:
    """Learning rates of an optimiser step; a rate of 0 leaves its part of the weights as it is."""

    policy: float
    critic: float | None = None
    """None is the policy's."""


@dataclass(frozen=True)
class Skip:
    """Why an optimiser step was left out: something in it was not finite. Nothing has changed."""

    figure: str
    """What: `loss`, `gradient`, `log-prob`, `advantage` and so on; the first in the order they are computed in."""
    value: float
    """NaN or infinite."""
    part: int = 0
    """Of the update: which of its parts."""
    sequence: int | None = None
    """Of that part's batch: the first it is so in; None where only all of them together are the cause."""
    parameter: str | None = None
    """The first whose gradient is not finite."""
    in_a_row: int = 1
    """Optimiser steps left out since the last that was taken, this one included."""


@dataclass(frozen=True)
class Outcome:
    """What became of an optimiser step that was tried."""

    figures: list[Stats]
    """Of each part; of one rank among several, of its share."""
    step: Stats
    """Of the step, the same on every rank."""
    sound: bool
    """Whether every number in it was finite, on every rank. If not, no weight has changed, and the gradient is there
    still."""


class Trainer(Protocol):
    """Owns weights and optimiser; knows no algorithm. How a batch is cut into passes is its own matter."""

    version: int
    """How often the weights were published."""
    on_progress: Callable[[int], None] | None
    """Called with the number of tokens of every pass of an update, for people to watch."""
    on_smaller: Callable[[str], None]
    """Called with a sentence where micro-batches are smaller from now on, since memory ran out."""
    skip: Skip | None
    """Why the last update was left out; None where it was taken."""

    @property
    def references(self) -> int:
        """How often the reference was refreshed: what was computed under an earlier one is out of date."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """Of the numbers that it gives and that a batch for it holds: float32, or float64 for a model in that."""
        ...

    async def forward(self, batch: Batch, want: Want) -> Outputs:
        """Without gradient, [T] each: log-probs of the `policy` or the `reference`, `values`, or `scores`."""
        ...

    async def update(self, parts: Sequence[Part], rates: Rates) -> tuple[list[Stats], Stats]:
        """One optimiser step on the sum of the parts' losses: (figures of each part, figures of the step).

        Where a loss or a gradient is not finite nothing changes, neither weights nor moments nor step counters: the
        figures are those of none, `skipped_updates` is 1 and `skip` says why.
        """
        ...

    def leave_out(self, skip: Skip) -> Stats:
        """Count an optimiser step that is not taken: `update` does, and whoever knows before it that it must not be."""
        ...

    async def refresh_reference(self, mix: float = 1.0) -> None:
        """The reference becomes the policy as it is now, or mix x policy + (1 - mix) x reference."""
        ...

    async def publish(self) -> Weights:
        """The weights as they are now, under the next version. TrainingError where one is not finite."""
        ...

    async def save(self, folder: Path) -> None:
        """The weights as a Hugging Face folder, with what the optimiser and the counters are in `trainer/`."""
        ...

    async def load(self, folder: Path, reference: bool = True) -> None:
        """The inverse of `save`; without a refreshed reference where `reference` is False."""
        ...


class Scorer(Protocol):
    """A model that gives numbers to answers. It reads text, which it turns into its own tokens."""

    def score(self, prompts: Sequence[Any], answers: Sequence[str]) -> list[float]:
        """A number for each answer, in logits; prompts are text or lists of messages."""
        ...

    def prefer(self, prompts: Sequence[Any], pairs: Sequence[tuple[str, str]]) -> list[tuple[float, float]]:
        """Of a model that reads two answers: logits that its first one is better, in the order given and swapped."""
        ...

    def score_steps(self, prompts: Sequence[Any], answers: Sequence[str]) -> list[list[float]]:
        """A number for each step of each answer, in logits."""
        ...


Talk = str | Sequence[Message]
"""What a language model is asked: text as it is, or chat messages."""


@dataclass(frozen=True)
class Reply:
    """What a language model said; or why it said nothing."""

    text: str = ""
    cut: bool = False
    """Whether the length limit ended it."""
    problem: str | None = None
    """Why there is no text; the question has then failed for good."""


@dataclass(frozen=True)
class Likely:
    """Log-probs, in nats, of each option as the whole answer; or why there are none."""

    values: tuple[float, ...] = ()
    floored: int = 0
    """Options that the model did not report: they are put a nat below the least likely that it did."""
    problem: str | None = None


@dataclass
class Usage:
    """Tokens of one request: an estimate before it is sent, the truth after."""

    read: int
    written: int


Meter = Callable[[int, int], AbstractContextManager[Usage]]
"""(tokens read, tokens written, both at most) -> a context for one request; raises where it would pass a cap."""
Tell = Callable[[int, Any], None]
"""(place of the question, Reply or Likely): hears of each answer at once, so that none is lost where the rest fails."""


@contextmanager
def unmetered(read: int, written: int) -> Iterator[Usage]:
    """A meter that counts nothing."""
    yield Usage(read, written)


class Chat(Protocol):
    """A language model that is asked in words, and never trained."""

    @property
    def name(self) -> str:
        """For records: a path, a hub id, or the name on the server."""
        ...

    @property
    def talks(self) -> bool:
        """Whether it takes chat messages; else everything is one text."""
        ...

    @property
    def special(self) -> frozenset[str]:
        """Texts that its tokenizer reads as control tokens."""
        ...

    async def identify(self) -> str:
        """What verdicts are kept under: another model, another text."""
        ...

    async def replies(
        self, talks: Sequence[Talk], sampling: Sampling, seeds: Sequence[int], tell: Tell, meter: Meter = unmetered
    ) -> None:
        """Tell one Reply to each."""
        ...

    async def likelihoods(
        self, talks: Sequence[Talk], options: Sequence[str], tell: Tell, meter: Meter = unmetered
    ) -> None:
        """Tell one Likely to each."""
        ...


class Engine(Protocol):
    """A sampler and a trainer that share a policy."""

    @property
    def sampler(self) -> Sampler: ...
    @property
    def trainer(self) -> Trainer: ...

    async def begin(self) -> None:
        """Make the sampler ready, with the trainer's weights as they are now; servers are started, and stopped again
        where that fails. EngineError where one does not come up, or samples from something else."""
        ...

    async def close(self) -> None:
        """Leave nothing running; after it, nothing is sampled. Harmless where it never began."""
        ...

    async def publish(self) -> Weights:
        """The sampler takes the trainer's weights, under a version of their own; nothing may be being sampled."""
        ...

    async def read(self, version: int) -> Trainer | None:
        """The weights of a version that the trainer has left, for passes without a gradient; None where they are not on
        the disk. EngineError where they cannot be read, or memory has no room for them now (`out-of-memory`)."""
        ...

    def lag(self, version: int) -> int | None:
        """Steps from the weights of a version to those that are trained now; None of one that was never published."""
        ...

    def figures(self) -> Mapping[str, float]:
        """Of the newest publication, and of what was sampled since this was asked last: a step's event holds them."""
        ...

    @property
    def seconds(self) -> Mapping[str, float]:
        """Of the newest publication, by what took them."""
        ...

    async def save(self, folder: Path) -> None:
        """A checkpoint folder that any Hugging Face tool can open: weights and tokenizer, `trainer/` inside."""
        ...

    async def load(self, folder: Path, reference: bool = True) -> None:
        """The inverse of `save`: weights, optimiser, version, and the reference where that was refreshed (unless
        `reference` is False)."""
        ...

    async def relabel(self, version: int) -> None:
        """The weights as they are now have this version from here on."""
        ...

    def saved_bytes(self) -> int:
        """Bytes of one checkpoint, but for its small files."""
        ...

    async def prints(self) -> list[int]:
        """Of the policy's trained weights: another list where any of them is another number."""
        ...

    def settings(self) -> Mapping[str, Any]:
        """What was chosen where the recipe left it open, as keys of its `engine`: they decide how sums are rounded."""
        ...

    def describe(self) -> Mapping[str, Any]:
        """Facts for the manifest: parameters, paths taken, device."""
        ...
