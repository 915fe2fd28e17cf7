"""One of several processes that train a model together: an engine of its own, and what it is asked to do with it.

Every method is called on all ranks, as `Rank.method(shared, sequences)`, in one order. What is wrong with numbers is a
flag that all agree on. Any other error of one rank leaves the others in the middle of a common effort: it ends them.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Collection, Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from postlude.engines.local.engine import LocalEngine
from postlude.engines.local.ranks import Alone, Ranks
from postlude.engines.local.saving import gather
from postlude.engines.local.trainer import LocalTrainer
from postlude.engines.local.unfinite import try_alone
from postlude.engines.protocol import Outcome, Rates
from postlude.engines.ranks.crew import Blueprint, Counters, Facts, Place, Taken
from postlude.engines.ranks.mesh import Mesh
from postlude.engines.ranks.shipping import Indices, ShippedBatch, ShippedOutputs, ShippedPart
from postlude.engines.ranks.unwritten import Unwritten, written
from postlude.engines.resident import resident
from postlude.errors import EngineError
from postlude.exhausted import out_of_memory
from postlude.models import adapters
from postlude.models.load import device_of, inspect
from postlude.models.quiet import quiet
from postlude.models.spread import LeftOff
from postlude.models.tied import is_tied, ties
from postlude.objectives import Want
from postlude.objects import load_object


class Rank:
    """A `LocalEngine` among others."""

    def __init__(self, blueprint: Blueprint, place: Place | None = None) -> None:
        """Join the others at their place, and load what is trained. Without a place there are no others."""
        for path in blueprint.imports:
            load_object(path, "method")
        self._ranks: Ranks = Mesh(place, device_of(blueprint.held).type) if place else Alone()
        torch.manual_seed(blueprint.seed)  # a fresh adapter's weights: the same on every rank
        with _within_memory():
            self.engine = _start(blueprint, self._ranks)

    @property
    def _trainer(self) -> LocalTrainer:
        return self.engine.trainer

    def facts(self, shared: None = None, sequences: None = None) -> Facts:
        """What the driver has to know of it."""
        engine, trainer = self.engine, self._trainer
        return Facts(
            engine.describe(),
            engine.settings(),
            str(trainer.dtype).removeprefix("torch."),
            trainer.has_adapter,
            tuple(trainer.parts["policy"].names),
            engine.saved_bytes(),
            engine.held_bytes(),
            is_tied(engine.model.net),
            trainer.version,
            trainer.skipped,
            trainer.references,
            adapters.rank_of(engine.model.net),
            ties(engine.model.net),
            socket.gethostname(),
        )

    def taken(self, shared: None = None, sequences: None = None) -> Taken:
        """Where it is, and what it holds."""
        device = torch.cuda.max_memory_allocated() if self.engine.model.device.type == "cuda" else None
        return Taken(socket.gethostname(), os.getpid(), resident(os.getpid()), device)

    def use(self, shared: tuple[int, int], sequences: None = None) -> None:
        """Take so many tokens at a time, and of the output layer so many."""
        self._trainer.use(*shared)

    def forward(self, shared: tuple[ShippedBatch, Want], sequences: Indices) -> ShippedOutputs | None:
        """What a model gives for these sequences; None where there are none."""
        batch, want = shared
        share = batch.share(sequences)
        with _within_memory():
            outputs = self._trainer.outputs(share, want)
        return ShippedOutputs.of(outputs, share) if len(sequences) else None

    def update(self, shared: tuple[Sequence[ShippedPart], Rates, int], sequences: Sequence[Indices]) -> Outcome:
        """An optimiser step on these sequences of each part, and those of the other ranks."""
        parts, rates, seed = shared
        torch.manual_seed(seed + self._ranks.rank)  # dropout, where a method keeps it
        shares = [part.share(chosen) for part, chosen in zip(parts, sequences, strict=True)]
        with _within_memory(), self._trainer.workplace:
            return self._trainer.attempt(shares, rates)

    def spoilt(self, shared: None = None, sequences: None = None) -> str | None:
        """The first parameter whose gradient is not finite, after an update that was not sound."""
        return self._trainer.spoilt()

    def tried(self, shared: ShippedPart, sequences: Indices) -> tuple[float, float]:
        """(loss, norm) of these sequences of a part by themselves: the loss is this rank's, 0 where it is finite, the
        norm of the gradient is that of all ranks. Whatever gradient was there is gone."""
        with _within_memory(), self._trainer.workplace:
            return try_alone(self._trainer, shared.share(sequences))

    def forget(self, shared: None = None, sequences: None = None) -> None:
        """Drop the gradient that was gathered."""
        self._trainer.forget()

    def refresh_reference(self, shared: float, sequences: None = None) -> None:
        """The reference becomes the policy as it is now, or so much of it."""
        self._trainer.reference.refresh(shared)

    def require_finite(self, shared: None = None, sequences: None = None) -> None:
        """TrainingError, on all ranks, where a trained weight is not finite on any."""
        self._trainer.require_finite()

    def save(self, shared: tuple[Path, Counters], sequences: None = None) -> Unwritten | None:
        """A checkpoint as one process writes it, with what the driver counts."""
        folder, counters = shared
        self._trainer.version, self._trainer.skipped = counters.version, counters.skipped
        return written(self._ranks.rank, lambda: self.engine.write(folder))

    def load(self, shared: tuple[Path, bool], sequences: None = None) -> None:
        """Take up a checkpoint of one process or any number of ranks; with a refreshed reference where it is True."""
        self.engine.take_up(*shared)

    def gather(self, shared: tuple[Path, Collection[str] | None], sequences: None = None) -> Unwritten | None:
        """Write the policy's trained weights, or those with these names, to one file."""
        file, names = shared
        return written(self._ranks.rank, lambda: gather(self._trainer, file, names))

    def fingerprint(self, shared: None = None, sequences: None = None) -> list[int]:
        """Of the policy's trained weights: the same on every rank, and in one process."""
        return self.engine.fingerprint()

    def rehearse(self, shared: None = None, sequences: None = None) -> None:
        """Try the needs of a save. EngineError where one would fail."""
        with suppress(LeftOff):  # another rank says why
            self.engine.rehearse()


def _start(blueprint: Blueprint, ranks: Ranks) -> LocalEngine:
    facts = inspect(blueprint.spec)
    with quiet():
        return LocalEngine.start(
            blueprint.spec,
            facts,
            blueprint.optimizer,
            blueprint.held,
            keep_reference=blueprint.keep_reference,
            dropout=blueprint.dropout,
            checkpoint=blueprint.checkpoint,
            scores=blueprint.scores,
            critic=blueprint.critic,
            pairs=blueprint.pairs,
            work=blueprint.work,
            ranks=ranks,
        )


@contextmanager
def _within_memory() -> Generator[None]:
    """An error of memory that ran out says so by its code, wherever it is read."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        raise EngineError(f"memory ran out on a trainer: {error}", code="out-of-memory") from error
