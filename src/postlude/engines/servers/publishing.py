"""New weights to servers that go on sampling: through files, as an adapter, or straight from memory.

A server that fails any call is not what it was and not what it should be: it is returned with the reason, and whoever
keeps the servers starts it again. No other is held up by it. What is paused is resumed, or returned as failed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from weakref import WeakKeyDictionary

from torch import Tensor

from postlude.engines.servers.deadline import QUICK
from postlude.engines.servers.shelf import stored_weights
from postlude.engines.servers.stream import Link, described
from postlude.engines.servers.wire import ServerFailure, VllmServer, adapter_name, adapter_version
from postlude.engines.settings import Publishing
from postlude.waits import waiting

if TYPE_CHECKING:
    from postlude.engines.servers.fleet import Member

GRACE = 30.0
"""Seconds that our part of a transfer may take once the server has said that its own is over."""
Failed = list[tuple["Member", str]]
"""Servers that do not serve what they should, each with why."""


class Publisher(Protocol):
    """A way to bring servers to a version of the weights."""

    async def publish(self, members: Sequence[Member], version: int, folder: Path) -> Failed:
        """They serve `version`, whose folder is on the shelf, but for those that failed. Members that are (re)started
        come by `welcome` first."""
        ...

    async def welcome(self, member: Member, version: int, folder: Path) -> Failed:
        """The same for a server that has just been started, of which nothing is known but what it was started with."""
        ...


async def each(members: Sequence[Member], bring: Callable[[Member], Awaitable[None]]) -> Failed:
    """Do it to one after the other, so that the rest go on sampling; who failed and why."""
    failed: Failed = []
    for member in members:
        try:
            await bring(member)
        except ServerFailure as failure:
            failed.append((member, str(failure)))
    return failed


async def while_paused(server: VllmServer, change: Callable[[], Awaitable[None]]) -> None:
    """Freeze its answers, change its weights, let them go on with the new ones. ServerFailure where a call fails: its
    answers stay frozen, for half of the change may be done, and none of them may be finished with that."""
    try:
        await server.pause()
        await change()
    except asyncio.CancelledError:  # whoever started it may go on using it: it does what it was asked in order
        with suppress(ServerFailure, TimeoutError):
            async with asyncio.timeout(QUICK):  # whoever stopped us waits for it
                await server.resume()
        raise
    await server.resume()


@dataclass
class Files:
    """Each server reads the version's folder while it is paused, and is then told its label."""

    async def publish(self, members: Sequence[Member], version: int, folder: Path) -> Failed:
        async def change(server: VllmServer) -> None:
            await server.reload(folder)
            await server.label(version)

        return await each(members, lambda member: while_paused(member.server, lambda: change(member.server)))

    async def welcome(self, member: Member, version: int, folder: Path) -> Failed:
        return await self.publish([member], version, folder)


@dataclass
class Adapters:
    """Each server loads the version's adapter under a name of its own, which requests name from then on; answers under
    way end with the one that they were begun with, so nothing is paused. The version before stays for them."""

    _loaded: WeakKeyDictionary[Member, list[int]] = field(default_factory=WeakKeyDictionary["Member", list[int]])
    """Versions that each has, the oldest first."""

    async def publish(self, members: Sequence[Member], version: int, folder: Path) -> Failed:
        return await each(members, lambda member: self._bring(member, version, folder))

    async def _bring(self, member: Member, version: int, folder: Path) -> None:
        loaded = self._loaded.setdefault(member, [])
        if version not in loaded:
            await member.server.load_adapter(adapter_name(version), folder)
            loaded.append(version)
        member.model = adapter_name(version)
        for old in loaded[:-2]:
            await member.server.unload_adapter(adapter_name(old))
            loaded.remove(old)

    async def welcome(self, member: Member, version: int, folder: Path) -> Failed:
        async def forget(member: Member) -> None:
            for listed in await member.server.models():
                if adapter_version(listed.name) is not None:  # of an earlier run, on a server that was there before
                    await member.server.unload_adapter(listed.name)
            self._loaded[member] = []

        return await each([member], forget) or await self.publish([member], version, folder)


@dataclass
class Stream:
    """Each server takes the trainer's tensors out of memory while it is paused, in a group that is made once; one that
    has been started those of the version's folder."""

    tensors: Callable[[Path], Mapping[str, Tensor]]
    """Of the trainer now, under the names of a version's folder."""
    connect: Callable[[Member], Link]
    """This process's end of a new group with a server."""
    _links: WeakKeyDictionary[Member, Link] = field(default_factory=WeakKeyDictionary["Member", Link])

    async def publish(self, members: Sequence[Member], version: int, folder: Path) -> Failed:
        return await self._bring(members, version, self.tensors(folder))

    async def welcome(self, member: Member, version: int, folder: Path) -> Failed:
        self._leave(member)  # the trainer may have moved on since: its tensors are another version's
        return await self._bring([member], version, await asyncio.to_thread(stored_weights, folder))

    async def _bring(self, members: Sequence[Member], version: int, tensors: Mapping[str, Tensor]) -> Failed:
        async def bring(member: Member) -> None:
            try:
                link = self._links.get(member) or await self._join(member)
                await while_paused(member.server, lambda: self._send(member, link, tensors, version))
            except ServerFailure:
                self._leave(member)
                raise

        return await each(members, bring)

    async def _join(self, member: Member) -> Link:
        link = await asyncio.to_thread(self.connect, member)
        self._links[member] = link
        await both(member, member.server.init_transfer(link.info()), link.meet, "joining a group of processes")
        return link

    async def _send(self, member: Member, link: Link, tensors: Mapping[str, Tensor], version: int) -> None:
        await member.server.start_update()
        await both(member, member.server.update(described(tensors)), lambda: link.send(tensors), "taking weights")
        await member.server.finish_update(version)

    def _leave(self, member: Member) -> None:
        link = self._links.pop(member, None)
        if link is not None:
            link.close()


async def both(member: Member, asked: Awaitable[None], ours: Callable[[], None], what: str) -> None:
    """Ask a server to take part, and take part. The request has its limit of time, and where it is over our part has
    GRACE to end; a thread that waits longer is left behind."""
    with waiting(member.name, verb=what):
        request, work = asyncio.ensure_future(asked), asyncio.ensure_future(asyncio.to_thread(ours))
        work.add_done_callback(lambda task: task.cancelled() or task.exception())  # nobody may be there to hear it
        try:
            await asyncio.wait({request, work}, return_when=asyncio.FIRST_COMPLETED)
            if request.done() or work.exception() is None:
                await request
                await asyncio.wait({work}, timeout=GRACE)
        finally:
            request.cancel()
        if not work.done():
            raise ServerFailure("timeout", f"{what}: the server says it took part, and nothing of that came here")
        try:
            work.result()
        except RuntimeError as error:  # of torch, where the other end is gone or silent
            raise ServerFailure("connection", f"{what}: {str(error).splitlines()[0]}") from None


def publisher_for(
    way: Publishing, tensors: Callable[[Path], Mapping[str, Tensor]], connect: Callable[[Member], Link]
) -> Publisher:
    """The publisher of a way that `way_of` chose; `tensors` and `connect` are for `stream` (see there)."""
    return {"files": Files, "lora": Adapters}.get(way, lambda: Stream(tensors, connect))()


def way_of(publish: Publishing, adapter: bool) -> Publishing:
    """What `auto` stands for. Never stream: files are written anyway, and NCCL knows no limit of time."""
    if publish != "auto":
        return publish
    return "lora" if adapter else "files"
