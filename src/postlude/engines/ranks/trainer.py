"""A trainer whose weights and moments lie on several ranks: it shares whole updates out, and adds up what they say."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite
from pathlib import Path
from typing import cast

import torch

from postlude.batch import Batch
from postlude.engines.local.giving_way import Cut, in_words, smaller
from postlude.engines.local.unfinite import explain
from postlude.engines.protocol import Part, Rates, Skip, Weights
from postlude.engines.ranks.crew import Counters, Outcome
from postlude.engines.ranks.shares import Effort, kinds_of, share_out
from postlude.engines.ranks.shipping import Indices, ShippedBatch, ShippedOutputs, ShippedPart, assemble
from postlude.engines.ranks.supervision import Exhausted, Supervision
from postlude.engines.ranks.unwritten import Unwritten, require_written
from postlude.errors import TrainingError
from postlude.objectives import Outputs, Want
from postlude.runs.stats import Stats

Shared = tuple[list[ShippedPart], Rates, int]
Each = list[list[Indices]]
"""[ranks][parts]: the sequences of each."""


@dataclass
class RankTrainer:
    """A `Trainer` of several processes. What is called fails by a lost rank only where it cannot be made good."""

    ranks: Supervision
    effort: Effort = field(default_factory=Effort)
    """What a sequence costs: sequences are shared out by that."""
    version: int = 0
    """How often the weights were published."""
    references: int = 0
    """How often the reference was refreshed."""
    skipped: int = 0
    """Updates left out in a row up to now."""
    skip: Skip | None = None
    on_progress: Callable[[int], None] | None = None
    on_smaller: Callable[[str], None] = lambda text: None
    _alone: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by a call: all ranks get every call, in one order."""

    @property
    def dtype(self) -> torch.dtype:
        """Of the numbers that it gives: float32, or float64 for a model in that."""
        return torch.float64 if self.ranks.facts.dtype == "float64" else torch.float32

    @property
    def size(self) -> int:
        """Ranks."""
        return self.ranks.terms.size

    # --------------------------------------------------------------------------------------------- contract

    async def forward(self, batch: Batch, want: Want) -> Outputs:
        """[T] each, without gradient: log-probs of the policy or the reference, values, or scores."""
        async with self._alone:
            while True:
                try:
                    return await _Ranks(self.ranks, self.effort).forward(batch, want)
                except Exhausted as error:
                    await self._take_less(self._read_in(batch), error)

    async def update(self, parts: Sequence[Part], rates: Rates) -> tuple[list[Stats], Stats]:
        """One optimiser step on the sum of the parts' losses: (figures of each part, figures of the step)."""
        with self.ranks.tally.timing("share"):
            shared: Shared = [ShippedPart.of(part) for part in parts], rates, _seed()
            each = self._shared_out(parts, shared[0])
        async with self._alone:
            while True:
                try:
                    taken = await self._update(parts, shared, each)
                    break
                except Exhausted as error:
                    await self._take_less(self._cuts(parts, shared[0], each), error)
        if self.on_progress:
            for part in parts:
                self.on_progress(part.batch.tokens.shape[0])
        return taken

    def leave_out(self, skip: Skip) -> Stats:
        """Count an optimiser step that is not taken."""
        self.skipped += 1
        self.skip = replace(skip, in_a_row=self.skipped)
        return Stats({"skipped_updates": 1.0})

    async def refresh_reference(self, mix: float = 1.0) -> None:
        """The reference becomes the policy as it is now, or mix x policy + (1 - mix) x reference."""
        async with self._alone:
            await self.ranks.call("refresh_reference", mix)
            self.ranks.journal.add("refresh_reference", mix)
        self.references += 1

    async def publish(self) -> Weights:
        """The next version, whose tensors are none of this process. TrainingError where a weight is not finite."""
        async with self._alone:
            await self.ranks.call("require_finite")
        self.version += 1
        return Weights(self.version, ())

    async def gather(self, file: Path) -> None:
        """Write the policy's trained weights by name, as safetensors, one tensor at a time. TrainingError where they
        cannot be written."""
        async with self._alone:
            said = cast("list[Unwritten | None]", await self.ranks.call("gather", (file, None)))
        try:
            require_written(said, file.parent)
        except OSError as error:
            raise TrainingError(
                f"the trained weights cannot be written to {file}, through which the sampler gets them "
                f"({error.strerror}). What is saved is sound: once there is room, go on with --resume.",
                code="cannot-write",
            ) from error

    async def save(self, folder: Path) -> None:
        """A checkpoint as one process writes it, and `trainer/ranks.json`. OSError where a rank cannot write: all of
        them are sound."""
        fresh = not folder.exists()
        async with self._alone:
            life = self.ranks.lives
            while True:
                said = await self.ranks.call("save", (folder, Counters(self.version, self.skipped)))
                require_written(cast("list[Unwritten | None]", said), folder.parent)
                if self.ranks.lives == life or not fresh:
                    break
                shutil.rmtree(folder, ignore_errors=True)  # half of it is of ranks that are gone
                life = self.ranks.lives
            self.ranks.journal.write(folder, self.size)

    async def load(self, folder: Path, reference: bool = True) -> None:
        """The inverse of `save`, of any number of ranks or one process; without a refreshed reference where `reference`
        is False."""
        async with self._alone:
            await self.ranks.load(folder, reference)
        facts = self.ranks.facts
        self.version, self.skipped, self.references = facts.version, facts.skipped, facts.references

    async def fingerprint(self) -> list[int]:
        """Of the policy's trained weights."""
        async with self._alone:
            return cast("list[int]", (await self.ranks.call("fingerprint"))[0])

    async def rehearse(self) -> None:
        """Try the needs of a save. EngineError where one would fail."""
        async with self._alone:
            await self.ranks.call("rehearse")

    # --------------------------------------------------------------------------------------------- updates

    def _shared_out(self, parts: Sequence[Part], shipped: Sequence[ShippedPart]) -> Each:
        """Groups stay on one rank where their objective needs all of them."""
        shares = [
            share_out(sent.batch, self.size, self.effort, not part.objective.splits_groups, kinds_of(part))
            for part, sent in zip(parts, shipped, strict=True)
        ]
        self.ranks.tally.update([share.loads for share in shares])
        return [[share.sequences[rank] for share in shares] for rank in range(self.size)]

    async def _update(self, parts: Sequence[Part], shared: Shared, each: Each) -> tuple[list[Stats], Stats]:
        """One that is not finite changes nothing; the ranks hold its gradient until it is known why."""
        while True:
            outcomes = cast("list[Outcome]", await self.ranks.call("update", shared, each))
            if all(one.sound for one in outcomes):
                self.ranks.journal.add("update", shared, each)
                self.ranks.finished()
                self.skipped, self.skip = 0, None
                return [_sum(one.figures[i] for one in outcomes) for i in range(len(parts))], outcomes[0].step
            life = self.ranks.lives
            why = await explain(_Ranks(self.ranks, self.effort), parts)
            await self.ranks.call("forget")
            if self.ranks.lives == life:  # else some of it was asked of ranks that have no gradient
                return [Stats() for _ in parts], self.leave_out(why)

    def _cuts(self, parts: Sequence[Part], shipped: Sequence[ShippedPart], each: Each) -> list[Cut]:
        """Of an update: what each rank has of each part."""
        return [
            Cut(sent.batch.share(chosen), not part.objective.splits_groups, self.effort.shares_prompts)
            for shares in each
            for part, sent, chosen in zip(parts, shipped, shares, strict=True)
        ]

    def _read_in(self, batch: Batch) -> list[Cut]:
        """Of a batch that is only read: what each rank has of it."""
        shipped = ShippedBatch.of(batch)
        shares = share_out(shipped, self.size, self.effort)
        return [Cut(shipped.share(chosen), False, self.effort.shares_prompts) for chosen in shares.sequences]

    async def _take_less(self, cuts: Sequence[Cut], error: Exhausted) -> None:
        """After memory ran out on a rank: all take less at a time from now on. TrainingError where they cannot."""
        before = self.ranks.limits
        assert before is not None
        less = smaller(before, cuts, chunked=not self.ranks.blueprint.scores)
        if less is None:
            raise TrainingError(
                f"memory ran out on a trainer, and it takes a single sequence at a time already: {error}. Take more "
                "trainers, engine.gradient_checkpointing=true or model.lora.rank=16, or shorter sequences.",
                code="out-of-memory",
            ) from error
        await self.ranks.use(*less)
        self.on_smaller(in_words(before, less, " on a trainer", ", and all trainers are started again for it"))


@dataclass(frozen=True)
class _Ranks:
    """What the ranks say of a batch, or of an update that is not finite (a `Witness`)."""

    ranks: Supervision
    effort: Effort

    @property
    def scores(self) -> bool:
        return self.ranks.blueprint.scores

    async def forward(self, batch: Batch, want: Want) -> Outputs:
        shipped = ShippedBatch.of(batch)
        shares = share_out(shipped, self.ranks.terms.size, self.effort)
        answers = await self.ranks.call("forward", (shipped, want), shares.sequences)
        return assemble(cast("list[ShippedOutputs | None]", answers), batch)

    async def spoilt(self) -> str | None:
        said = cast("list[str | None]", await self.ranks.call("spoilt"))
        return next((name for name in said if name is not None), None)

    async def tried(self, part: Part) -> tuple[float, float]:
        """The first rank's loss that is not finite; the norm of all."""
        shipped = ShippedPart.of(part)
        whole = not part.objective.splits_groups
        shares = share_out(shipped.batch, self.ranks.terms.size, self.effort, whole, kinds_of(part))
        said = cast("list[tuple[float, float]]", await self.ranks.call("tried", shipped, shares.sequences))
        return next((loss for loss, _ in said if not isfinite(loss)), 0.0), said[0][1]


def _seed() -> int:
    """What dropout draws from: the next number of the generator that each step seeds."""
    return int(torch.randint(2**31, ()))


def _sum(figures: Iterable[Stats]) -> Stats:
    total = Stats()
    for one in figures:
        total += one
    return total
