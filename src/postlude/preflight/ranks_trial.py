"""Trainer ranks tried out: a pass, two updates, gathered weights and a save, each with its seconds; and, where it is
asked for, one of them killed."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from postlude.batch import Batch
from postlude.data import Group
from postlude.engines.protocol import Engine, Part, Rates
from postlude.engines.ranks.crew import Taken
from postlude.engines.ranks.engine import RankedEngine
from postlude.errors import EngineError
from postlude.objectives import Want
from postlude.preflight.invariants import Differences, sampler_against_trainer, tolerance_of
from postlude.preflight.update import with_signal
from postlude.prepared import Prepared
from postlude.recipe import Recipe
from postlude.streaming import build_streams

RATE = 1e-2
"""Of the second update: what is published must be seen to be other weights. Nothing of them is kept."""
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Restart:
    """A rank that was killed on purpose."""

    rank: int
    seconds: float
    """Until the pass that it was missing from was done."""
    same: bool
    """Whether the pass then said the same as before it, to the last bit."""


@dataclass(frozen=True)
class RanksTried:
    """What a trial of trainer ranks measured. Bytes and seconds."""

    topology: str
    address: str
    """Of the Ray cluster."""
    ranks: list[Taken]
    started: float
    """Until every rank had its model."""
    tokens: int
    """Of the pass and of the update, prompts included."""
    forward: float
    update: float
    imbalance: float
    """Work of the fullest rank over the mean."""
    gather: float | None
    """Weights from the ranks to the sampler; None where this process has none."""
    sampler: Differences | None
    """Its log-probs against the ranks', after new weights were gathered; None where nothing was sampled here."""
    allowed: float
    """Nats per token that these may differ by on average."""
    save: float
    checkpoint: int
    restart: Restart | None


class RankTrial:
    """Works on ranks that are up, on answers or rows."""

    def __init__(
        self,
        prepared: Prepared,
        engine: Engine,
        ranked: RankedEngine,
        tell: Tell,
        started: float,
        folder: Path,
        kill: bool,
    ) -> None:
        """`started`: seconds that the ranks took. `folder`: for a checkpoint. `kill`: whether to kill one at last."""
        self.prepared, self.engine, self.ranked, self.tell = prepared, engine, ranked, tell
        self.started, self.folder, self.kills = started, folder, kill
        self.batch: Batch | None = None
        self.tokens, self.forward, self.update, self.imbalance = 0, 0.0, 0.0, 1.0

    @property
    def recipe(self) -> Recipe:
        return self.prepared.recipe

    @property
    def want(self) -> Want:
        """What a pass is asked for."""
        return "scores" if self.ranked.trainer.ranks.blueprint.scores else "policy"

    async def move(self, groups: Sequence[Group]) -> None:
        """A pass, an update that changes no weight, and one that does, on these answers, or on written ones where the
        method learns from those."""
        recipe, trainer = self.recipe, self.engine.trainer
        few, _ = with_signal(recipe, groups if recipe.algorithm.source == "rollout" else self.prepared.items)
        if not few:
            raise EngineError("none of the answers that were tried is one to learn from.", code="no-signal")
        (stream, *_) = build_streams(self.prepared, self.engine, lambda phase: None)
        self.tell("a pass without a gradient")
        batch = await stream.prepare(self.engine, few)
        self.forward = await _timed(trainer.forward(batch, self.want))
        self.tell("an update")
        for rate in (0.0, RATE):
            weighed = await stream.weigh(self.engine, batch, True)
            part = Part(weighed, stream.objective, stream.coef)
            self.update = await _timed(trainer.update([part], Rates(rate, rate if recipe.critic else None)))
        self.imbalance = self.ranked.figures().get("ranks/imbalance", 1.0)
        self.batch, self.tokens = batch, int(batch.tokens.shape[0])

    async def compare(self, groups: Sequence[Group]) -> Differences | None:
        """What the sampler says of its own new answers against the ranks. EngineError where they are too far apart."""
        recipe = self.recipe
        if recipe.sampling.truncates:  # its log-probs are then of the tokens that are kept
            return None
        scored = [replace(g, completions=tuple(replace(c, reward=0.0) for c in g.completions)) for g in groups]
        apart = await sampler_against_trainer(self.engine.trainer, scored, recipe.sampling.temperature)
        if apart is not None and not apart.mean <= tolerance_of(recipe).most:
            raise EngineError(
                f"after new weights were gathered, the sampler's log-probs are {apart.mean:.2g} nats per token away "
                f"from the ranks' (at most {apart.largest:.2g}): it did not get all of them. Tell us, with the recipe.",
                code="sampler-differs",
            )
        return apart

    async def end(self, gather: float | None, sampler: Differences | None) -> RanksTried:
        """Save, look at what all hold, and kill one where that is asked for; `gather` and `sampler` as `RanksTried`."""
        place = self.folder / "checkpoint"
        self.tell("a checkpoint")
        saving = await _timed(self.engine.save(place))
        ranks = cast("list[Taken]", await self.ranked.trainer.ranks.call("taken"))
        return RanksTried(
            topology=str(self.ranked.describe()["topology"]),
            address=self.recipe.engine.address,
            ranks=ranks,
            started=self.started,
            tokens=self.tokens,
            forward=self.forward,
            update=self.update,
            imbalance=self.imbalance,
            gather=gather,
            sampler=sampler,
            allowed=tolerance_of(self.recipe).most,
            save=saving,
            checkpoint=sum(file.stat().st_size for file in place.rglob("*") if file.is_file()),
            restart=await self._kill(ranks) if self.kills else None,
        )

    async def _kill(self, ranks: Sequence[Taken]) -> Restart:
        """Kill the last rank of this host, as the kernel does where memory runs out, and wait until all are back."""
        here = [rank for rank, one in enumerate(ranks) if one.host == socket.gethostname()]
        if not here:
            raise EngineError(
                "--kill ends a rank of this host, and none is here: all are on "
                f"{', '.join(sorted({one.host for one in ranks}))}. Leave it out, or start postlude on one of them.",
                code="not-supported",
            )
        before = await self._said()
        self.tell(f"killing rank {here[-1]}, and waiting until all are back")
        began = time.monotonic()
        os.kill(ranks[here[-1]].pid, signal.SIGKILL)
        after = await self._said()
        return Restart(here[-1], time.monotonic() - began, torch.equal(before, after))

    async def _said(self) -> Tensor:
        """[N] of the trained tokens, by all ranks."""
        assert self.batch is not None
        outputs = await self.engine.trainer.forward(self.batch, self.want)
        numbers = outputs.logprobs if outputs.logprobs is not None else outputs.scores
        assert numbers is not None
        return numbers[self.batch.mask]


async def _timed(work: Awaitable[object]) -> float:
    """Seconds until it is done."""
    began = time.monotonic()
    await work
    return time.monotonic() - began
