"""A trainer, in this process or on several ranks, and vLLM servers that sample for it.

Every version of the weights goes the same way: written to a folder and into `published.jsonl`, handed to the servers,
and compared: a server samples a few tokens, whose log-probs the trainer gives too. Nothing is asked of a server whose
weights are not known to be those of a published version.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch

from postlude.engines.local.engine import LocalEngine
from postlude.engines.local.free import free
from postlude.engines.protocol import Trainer, Weights
from postlude.engines.ranks.engine import RankedEngine
from postlude.engines.servers.attended import Attended
from postlude.engines.servers.fleet import Fleet, Member
from postlude.engines.servers.handshake import Agreed, Handshake, Handshakes, Refused
from postlude.engines.servers.ledger import Ledger
from postlude.engines.servers.pool import PoolSampler
from postlude.engines.servers.publishing import Failed, Publisher
from postlude.engines.servers.shelf import Shelf
from postlude.engines.servers.turns import Apart, Turns
from postlude.errors import ConfigError, EngineError, reason
from postlude.exhausted import out_of_memory
from postlude.words import counted, size

ROOM = 1.25
"""Bytes free for each of a model's weights before one is read to be compared with: itself, and a pass."""


@dataclass
class ServedEngine:
    """An `Engine` of a trainer and a `PoolSampler`."""

    local: LocalEngine | RankedEngine
    """What trains; its own sampler is not used."""
    fleet: Fleet
    sampler: PoolSampler
    shelf: Shelf
    publisher: Publisher
    handshakes: Handshakes
    ledger: Ledger
    turns: Turns | Apart
    """Whether trainer and servers share a device, and whose it is."""
    step: Callable[[], int]
    """The run's, for the ledger."""
    say: Callable[[str], None]
    """Tells people what is no part of the run."""
    way: str = "files"
    """How weights are published."""
    probe_every: int = 1
    """Publications from one handshake to the next."""
    checkpoint: Callable[[], Path | None] = lambda: None
    """A checkpoint that was saved since the last update: its files serve for publishing, too."""
    seconds: dict[str, float] = field(default_factory=dict[str, float])
    """Of the newest publication: what writing, publishing and comparing took."""
    greetings: dict[str, Handshake] = field(default_factory=dict[str, Handshake])
    """The newest handshake of each server, by its name."""
    _folder: Path | None = None
    _trainer: Attended = field(init=False)
    _published: int = 0

    def __post_init__(self) -> None:
        self.local.work_apart()
        self._trainer = Attended(self.local.trainer, self.turns.training)
        self.fleet.turn, self.sampler.turn = self.turns.once_sampling, self.turns.sampling
        self.fleet.admit, self.fleet.newest = self._admit, self.shelf.to_start_from
        self.shelf.in_use = self.fleet.in_use

    @property
    def trainer(self) -> Trainer:
        return cast("Trainer", self._trainer)  # it passes attributes on as properties, which is no other type

    # ---------------------------------------------------------------------------------------- from start to end

    async def begin(self) -> None:
        """Write the weights as they are now under a version of their own, start the servers from them, compare."""
        published = self.step() - (self.checkpoint() is not None)  # a commit is of before its own publication
        self.ledger.go_on_from(self.local.trainer.version, published, bool(self.shelf.versions()))
        await self._place(max(self.local.trainer.version, self.ledger.newest + 1))
        await self.fleet.open()

    async def close(self) -> None:
        """Stop the servers that were started here; let the others answer again where a publication left them paused."""
        self.fleet.say = self.say  # the run is at its end: nothing is added to what is kept of it
        try:
            await self.fleet.close()
        finally:
            await self.local.close()

    # ----------------------------------------------------------------------------------------------- publishing

    async def publish(self) -> Weights:
        """The next version to every server that is ready. One that fails is restarted, and gets nothing before it has
        this version; the others go on."""
        async with self.turns.publishing() as (members, rouse), self.fleet.changing:
            started = time.monotonic()
            weights = await self.local.trainer.publish()
            await self._place(max(weights.version, self.ledger.newest + 1))
            written = time.monotonic()
            self._take_out(await self.publisher.publish(members, self.sampler.version, self._newest()))
            await rouse()
            published = time.monotonic()
            self._published += 1
            if self._published % self.probe_every == 0:
                await self._compare([member for member in members if member.state == "ready"])
        parts = (written - started, published - written, time.monotonic() - published)
        self.seconds = {**dict(zip(("write", "send", "handshake"), parts, strict=True)), **self.local.seconds}
        return Weights(self.sampler.version, weights.tensors)

    def _newest(self) -> Path:
        assert self._folder is not None
        return self._folder

    async def _place(self, version: int) -> None:
        """On the disk and in the ledger, before any server has it."""
        self.ledger.add(version, self.step())  # first: whatever a kill leaves on the shelf has a number of its own
        self.local.trainer.version = version
        self._folder = await self._shelve(version)
        self.sampler.version, self._trainer.changed = version, False

    async def _shelve(self, version: int) -> Path:
        """Ranks give their weights as files alone: where no checkpoint has them, one is saved for it."""
        checkpoint = self.checkpoint()
        if checkpoint is not None or self.shelf.policy.net is not None:
            return await asyncio.to_thread(self.shelf.place, version, checkpoint)
        with self.shelf.passing(version) as place:
            await self.local.save(place)
            return await asyncio.to_thread(self.shelf.place, version, place)

    def _take_out(self, failed: Failed) -> None:
        for member, why in failed:
            self.fleet.ailing(member, why)

    async def _compare(self, members: Sequence[Member]) -> None:
        agreed, refused = await self.handshakes.shake(members, self.sampler.version)
        self.greetings |= {member.name: handshake for member, handshake in agreed}
        self._take_out(refused)

    async def _admit(self, member: Member) -> None:
        """Bring a server that has come up to the newest version, and compare. Raises EngineError."""
        version = self.sampler.version
        for _, why in await self.publisher.welcome(member, version, self._newest()):
            raise EngineError(f"{member.name}: {why}", code="server-refused")
        agreed, refused = await self._greet(member, version)
        for _, why in refused:
            raise EngineError(why, code="server-refused")
        self.greetings[member.name] = agreed[0][1]

    async def _greet(self, member: Member, version: int) -> tuple[Agreed, Refused]:
        """Compare it with the trainer; where that has moved on, as it may with max_lag 1, with what is on the shelf."""
        async with self._trainer.idle() as unchanged:
            if unchanged:
                return await self.handshakes.shake([member], version)
        return await self.handshakes.shake([member], version, await self._from_shelf(version))

    async def _from_shelf(self, version: int) -> Trainer:
        try:
            return await asyncio.to_thread(self.shelf.read, version)
        except ConfigError as error:  # which would end the run before it is saved
            raise EngineError(
                f"version {version}, to compare with, cannot be read: {error}", code=error.code
            ) from error
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            raise EngineError(_no_room(version, reason(error)), code="out-of-memory") from error

    async def read(self, version: int) -> Trainer | None:
        """From the shelf, onto the CPU: a load of the whole model, in a thread."""
        if version not in self.shelf.versions():
            return None
        room, needed = free(torch.device("cpu")).bytes, ROOM * self.local.held_bytes()["weights"]
        if room < needed:  # before the system ends the process for it
            raise EngineError(_no_room(version, f"{size(room)} free, {size(needed)} needed"), code="out-of-memory")
        return await self._from_shelf(version)

    # ------------------------------------------------------------------------------------------------- figures

    def lag(self, version: int) -> int | None:
        """Steps from the weights of a version to those that are trained now; None of one that was never published."""
        step = self.ledger.step_of(version)
        return None if step is None else self.step() - step

    def figures(self) -> Mapping[str, float]:
        """The largest error of the newest handshakes in nats, and what was asked again since this was called last."""
        there = {member.name for member in self.fleet.members}
        errors = [handshake.largest for name, handshake in self.greetings.items() if name in there]
        handshake = {"handshake/error": max(errors)} if errors else {}
        return {**handshake, **self.sampler.counted(), **self.local.figures()}

    # ------------------------------------------------------------------------------------------------ the rest

    async def save(self, folder: Path) -> None:
        """As the local engine: servers are looked after meanwhile."""
        await self.local.save(folder)

    async def load(self, folder: Path, reference: bool = True) -> None:
        """Weights, optimiser, counters: of the trainer. Servers get them as `begin` starts them."""
        await self.local.load(folder, reference)

    async def relabel(self, version: int) -> None:
        """Of the trainer's weights, before servers have any."""
        self.local.trainer.version = version

    def saved_bytes(self) -> int:
        return self.local.saved_bytes()

    async def prints(self) -> list[int]:
        return await self.local.prints()

    def settings(self) -> Mapping[str, Any]:
        return self.local.settings()

    def describe(self) -> Mapping[str, Any]:
        """Facts of the trainer, and of the servers."""
        servers = self.fleet.describe()
        return {
            **self.local.describe(),
            "servers": servers,
            "publish": self.way,
            "topology": _topology(self.local.describe(), servers["count"], servers["vllm"], self.way),
        }


def _no_room(version: int, why: str) -> str:
    return f"version {version} cannot be read to compare answers with: memory has no room for the model beside ({why})"


def _topology(trained: Mapping[str, Any], count: int, versions: Sequence[str], way: str) -> str:
    named = f", vllm {' and '.join(versions)}" if versions else ""
    trainers = trained.get("topology", "1 trainer in this process")
    return f"{trainers}; {counted(count, 'server')}{named}, publish: {way}"
