"""Whose turn a device is that trainer and servers share (`engine.servers.colocate`).

A server that sleeps keeps what it is asked and never answers: nothing may reach one. So there is one gate. Whoever has
something of the servers (an answer, a publication, a handshake, a restart) does it within `sampling`, `once_sampling`
or `publishing`; the trainer works within `training`, for which everybody else has left. Turns change only where the
other side comes in: two optimiser steps in a row put nobody to sleep twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from postlude.engines.local.free import give_back
from postlude.engines.servers.fleet import Fleet, Member
from postlude.engines.servers.shares import Level
from postlude.engines.servers.wire import ServerFailure
from postlude.errors import EngineError
from postlude.waits import waiting

Rouse = Callable[[], Awaitable[None]]
"""Called once weights are there: whoever slept takes memory for keys and values too, and can be asked."""
WEIGHTS = ("weights",)
"""What a server that sleeps gets room for first, so that weights can be published to it."""


class Apart:
    """Servers with a device of their own: nobody waits for anybody."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    @asynccontextmanager
    async def sampling(self) -> AsyncGenerator[None]:
        yield

    once_sampling = training = sampling

    @asynccontextmanager
    async def publishing(self) -> AsyncGenerator[tuple[Sequence[Member], Rouse]]:
        async def rouse() -> None: ...

        yield self._fleet.ready(), rouse


class Turns:
    """Servers that sleep while a trainer works on their device, and wake before anybody asks them.

    The trainer's cached blocks go back to the device before servers wake. A server that does not fall
    asleep or wake is `Fleet.ailing`: it is killed, and started again once it is the servers' turn.
    """

    def __init__(self, fleet: Fleet, level: Level) -> None:
        self._fleet = fleet
        self.level: Level = level
        self._gate = asyncio.Lock()
        """Held while turns change, while weights are published, and by a trainer for as long as it works."""
        self._users = 0
        """Who is in `sampling` or `once_sampling`."""
        self._nobody, self._up = asyncio.Event(), asyncio.Event()
        self._nobody.set()
        self._up.set()

    @property
    def awake(self) -> bool:
        """Whether it is the servers' turn."""
        return self._up.is_set()

    @asynccontextmanager
    async def sampling(self) -> AsyncGenerator[None]:
        """Servers are awake within, with the weights that were published last. Any number may be in it at once."""
        async with self._gate:
            if not self.awake:
                await self._wake()
            self._enter()
        try:
            yield
        finally:
            self._leave()

    @asynccontextmanager
    async def once_sampling(self) -> AsyncGenerator[None]:
        """The same for one who can wait, such as a restart: begins once servers are awake, and never wakes them."""
        while True:
            await self._up.wait()
            async with self._gate:
                if self.awake:
                    self._enter()
                    break
        try:
            yield
        finally:
            self._leave()

    @asynccontextmanager
    async def publishing(self) -> AsyncGenerator[tuple[Sequence[Member], Rouse]]:
        """The servers to publish to, which can take weights; nobody else begins meanwhile.

        Where they slept there is room for weights alone at first: the old ones, the new ones as they come and keys and
        values together may be too much. Nothing is asked of them before the second value was called. Where that did
        not happen, they sleep on.
        """
        async with self._gate:
            slept = not self.awake
            if slept:
                give_back()
                await self._each("wake up", lambda one: one.server.wake(WEIGHTS))

            async def rouse() -> None:
                if slept:
                    await self._each("wake up", self._rouse)
                    self._up.set()

            yield self._up_or_asleep(), rouse

    @asynccontextmanager
    async def training(self) -> AsyncGenerator[None]:
        """Servers sleep within, and nobody else begins."""
        while True:
            with waiting("what servers are still asked", verb="awaited, before the trainer takes over,"):
                await self._nobody.wait()
            async with self._gate:
                if self._users:  # somebody came in between
                    continue
                if self.awake:
                    await self._sleep()
                yield
                return

    def _enter(self) -> None:
        self._users += 1
        self._nobody.clear()

    def _leave(self) -> None:
        self._users -= 1
        if not self._users:
            self._nobody.set()

    # ------------------------------------------------------------------------------------------- changes of turn

    async def _sleep(self) -> None:
        self._up.clear()
        await self._each("fall asleep", self._lull)

    async def _wake(self) -> None:
        give_back()
        await self._each("wake up", self._rouse)
        if self.level == 2:  # nothing was published meanwhile: they have no weights yet
            async with self._fleet.changing:
                await self._each("take its weights again", self._fleet.admit)
        self._up.set()

    async def _lull(self, member: Member) -> None:
        member.state = "asleep"  # first: nothing is sent from here on
        await member.server.sleep(self.level)
        if not await member.server.is_sleeping():
            raise ServerFailure("answer", "it was told to sleep, and says that it does not")

    async def _rouse(self, member: Member) -> None:
        await member.server.wake()
        if await member.server.is_sleeping():
            raise ServerFailure("answer", "it was told to wake up, and says that it sleeps")
        member.state = "ready"

    def _up_or_asleep(self) -> list[Member]:
        return [one for one in self._fleet.members if one.state in ("ready", "asleep")]

    async def _each(self, what: str, call: Callable[[Member], Awaitable[object]]) -> None:
        """Call for each server that is up, all at once; who fails is taken out, and dead before this ends."""
        members = self._up_or_asleep()
        results = await asyncio.gather(*map(call, members), return_exceptions=True)
        for member, result in zip(members, results, strict=True):
            if isinstance(result, ServerFailure | EngineError):
                self._fleet.ailing(member, f"it did not {what}: {result}")
                if member.process is not None:
                    await member.process.stop(at_once=True)  # what it holds of the device is free from here on
            elif isinstance(result, BaseException):
                raise result
