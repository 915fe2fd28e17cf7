"""Ranks as Ray actors: placed, met, asked, and ended. With `attached.py`, and `head.py`,
a script, all that imports Ray."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import gettempdir
from typing import TYPE_CHECKING, Any

from postlude.engines.gpus import gpus_here, visible_devices
from postlude.engines.ranks.asking import IN_WORDS, TICK, Unreached, answers_of, values_of
from postlude.engines.ranks.attached import Attached, heeding_sigterm, within
from postlude.engines.ranks.child import Done, Raised, Seat
from postlude.engines.ranks.crew import Blueprint, RankLost, Terms
from postlude.engines.ranks.messages import packed
from postlude.engines.ranks.places import Host, Offer, no_room, noted, require_alike, threads_of
from postlude.engines.ranks.supervisor import Ended, Supervisor
from postlude.errors import EngineError, reason
from postlude.runs.files import RANKS
from postlude.waits import waiting
from postlude.words import counted

if TYPE_CHECKING:
    from ray import ObjectRef
    from ray.actor import ActorHandle
    from ray.util.placement_group import PlacementGroup

RANK = "postlude.engines.ranks.rank:Rank"
ROOM, ROOM_AGAIN = 60.0, 600.0
"""Seconds that are waited for room in a cluster: at first, and where ranks had their places before."""
STARTING, STARTED = ("start", "begin"), 600.0
"""What a start asks for, and the seconds that it may take at least: several processes import torch and load a model."""
LATER = 5.0
"""Seconds that the driver waits beyond what ranks wait for each other: they know who is late."""
FAILURES = 2
"""In a row, a lost crew and starts that failed: the next has a cluster of its own."""
CLOSING = 10.0
"""Seconds for each part of ending."""
DEATHS = {
    "running low on memory": "Ray ended it, since the host's memory ran out",
    "node was terminated": "its host is gone",
    "node has died": "its host is gone",
    "temporarily unavailable": "the Ray worker that kept it cannot be reached",
    "worker process has died": "the Ray worker that kept it was killed",
    "killed via ray.kill": "it was ended by ray.kill",
}
"""What Ray says of an actor's end -> the same in short."""
LACKING = re.compile(r"No module named '([\w.]+)'")


class OnRay:
    """Starts crews as Ray actors (`crew.Start`, `crew.Lasting`): on a user's cluster, or on one of this machine that is
    begun for the run, serves one crew after another, and ends with `end`."""

    def __init__(self, terms: Terms, kind: str = RANK, room: float = ROOM) -> None:
        self._terms, self._kind, self._room = terms, kind, room
        self._attached: Attached | None = None
        self._failures = 0
        """In a row, on the cluster as it is."""

    async def __call__(self, blueprint: Blueprint) -> RayCrew:
        attached = await self._cluster(blueprint)
        crew = RayCrew(self._terms, blueprint, attached, self._kind)
        try:
            await crew.start(self._room)
        except BaseException:
            self._failures += 1
            await crew.close()
            raise
        self._room = max(self._room, ROOM_AGAIN)  # whoever had room once waits for a host to come back
        self._failures = 1  # whoever asks again has lost these
        return crew

    async def end(self) -> None:
        """As `crew.Lasting.end`."""
        attached, self._attached, self._failures = self._attached, None, 0
        if attached is not None:
            await heeding_sigterm(attached.end)

    async def _cluster(self, blueprint: Blueprint) -> Attached:
        """The one of before, where it is sound and nobody is left there; else another."""
        before = self._attached
        if before is not None and self._failures < FAILURES and await before.is_free():
            return before
        await self.end()
        self._attached = attached = Attached(self._terms, _devices(blueprint, self._terms.size), _logs(blueprint))
        try:
            await attached.start()
        except BaseException:
            await self.end()
            raise
        return attached


def _devices(blueprint: Blueprint, size: int) -> tuple[str, ...]:
    """The GPUs of this machine that ranks get; none where they are on the CPU."""
    return () if blueprint.held.device == "cpu" else tuple(visible_devices(gpus_here())[:size])


def _logs(blueprint: Blueprint) -> Path | None:
    return None if blueprint.folder is None else blueprint.folder.absolute() / RANKS


@dataclass(frozen=True)
class Member:
    """One rank's place."""

    actor: ActorHandle[Any]
    host: Host

    def named(self, rank: int) -> str:
        return f"trainer rank {rank} on host {self.host.name}"


class RayCrew:
    """Ranks at work on Ray (`crew.Crew`)."""

    def __init__(self, terms: Terms, blueprint: Blueprint, attached: Attached, kind: str = RANK) -> None:
        self.size = terms.size
        self._terms, self._blueprint, self._kind = terms, blueprint, kind
        self._attached, self._look = attached, attached.look
        self._group: PlacementGroup | None = None
        self._actors: list[ActorHandle[Any]] = []
        self._members: list[Member] = []
        self._closed = self._broken = False

    async def start(self, room: float) -> None:
        """Have places for all, and a rank in each. `room`: seconds that places are waited for."""
        await self._place(room)
        await self._meet()
        await self._begin()

    async def call(self, method: str, shared: Any = None, each: Sequence[Any] | None = None) -> list[Any]:
        """As `crew.Crew.call`."""
        if self._closed or self._broken:
            raise RankLost("the trainer ranks were ended, or are out of step since one failed", code="rank-lost")
        self._look()
        if not self._attached.answers():  # to put something without it would end this process, with no word of it
            raise RankLost("Ray's raylet on this machine has ended", code="rank-lost", cause="Ray: its raylet ended")
        return await self._values(self._asked(method, shared, each), method)

    async def close(self) -> None:
        """As `crew.Crew.close`."""
        if not self._closed:
            self._closed = True
            await heeding_sigterm(self._end)

    @property
    def _longest(self) -> float:
        """Seconds for a start."""
        return max(self._terms.timeout, STARTED)

    # having places

    async def _place(self, room: float) -> None:
        import ray
        from ray.util.placement_group import placement_group

        gpus = self._blueprint.held.device != "cpu" and ray.cluster_resources().get("GPU", 0) > 0
        bundle = {"CPU": 1.0} | ({"GPU": 1.0} if gpus else {})
        what = counted(self.size, "GPU" if gpus else "CPU")
        self._group = group = placement_group([bundle] * self.size, strategy="PACK")
        started = time.monotonic()
        with waiting("Ray", f"{what} to be free", verb="asked", link="for", doing=f"placing {what}", limit=room):
            while not await asyncio.to_thread(group.wait, TICK):
                self._look()
                if (waited := time.monotonic() - started) >= room:
                    free = ray.available_resources()
                    left = (free.get("CPU", 0.0), free.get("GPU", 0.0))
                    raise no_room(self.size, gpus, _offers(), left, waited)
        self._actors = [_actor(group, place, gpus) for place in range(self.size)]

    async def _meet(self) -> None:
        """Know every place, and that all see one folder and are made of the same. Those of one host become neighbours,
        beginning with this one."""
        folder = self._blueprint.folder
        with noted(folder) as (note, nonce):
            hosts = await self._places_of(note)
        require_alike(hosts, nonce, folder)
        here = _address()
        order = sorted(range(self.size), key=lambda i: (hosts[i].address != here, hosts[i].address, i))
        self._members = [Member(self._actors[i], hosts[i]) for i in order]

    async def _places_of(self, note: Path | None) -> list[Host]:
        names = [f"the place of a trainer rank ({i + 1} of {self.size})" for i in range(self.size)]
        asked = [_told(actor.host.remote(note)) for actor in self._actors]
        return values_of(await answers_of(asked, names, "its host", ROOM, self._look), names, "its host")

    async def _begin(self) -> None:
        """Start every rank's process, let them meet at the first, and have each build its engine."""
        hosts = [member.host for member in self._members]
        logs = str(_logs(self._blueprint) or self._attached.folder or Path(gettempdir()) / "postlude-ranks")
        seats = [Seat(rank, self.size, self._kind) for rank in range(self.size)]
        starts = [
            member.actor.start.remote(seat, threads, os.getcwd(), logs)
            for member, seat, threads in zip(self._members, seats, threads_of(hosts), strict=True)
        ]
        await self._values([_told(ref) for ref in starts], "start")
        none = packed(None)
        first = self._members[0].actor.call.remote("listen", packed(hosts[0].address), none)
        (port,) = await self._values([_outcome(first)], "start")
        await self.call("begin", (self._blueprint, hosts[0].address, port, self._terms.timeout))

    # asking

    def _asked(self, method: str, shared: Any, each: Sequence[Any] | None) -> list[Awaitable[Any]]:
        """What is shared is held by the tasks alone: an error has no frame that keeps it in Ray's memory."""
        import ray

        common = ray.put(packed(shared))
        apart = [packed(each[rank] if each else None) for rank in range(self.size)]
        return [
            _outcome(member.actor.call.remote(method, common, one))
            for member, one in zip(self._members, apart, strict=True)
        ]

    async def _values(self, asked: Sequence[Awaitable[Any]], method: str) -> list[Any]:
        names = [member.named(rank) for rank, member in enumerate(self._members)]
        what = IN_WORDS.get(method, method)
        self._broken = True  # until all have answered
        seconds = self._longest if method in STARTING else self._terms.timeout + LATER
        answers = await answers_of(asked, names, what, seconds, self._look)
        self._broken = None in answers
        return values_of(answers, names, what)

    # ending

    def _end(self) -> None:
        """What is ours goes; where the cluster has gone, all went with it."""
        if self._attached.answers():
            within(CLOSING, self._leave)

    def _leave(self) -> None:
        import ray
        from ray.util.placement_group import remove_placement_group

        stopped: list[ObjectRef[Any]] = [actor.stop.remote() for actor in self._actors]
        if stopped:
            ray.wait(stopped, num_returns=len(stopped), timeout=CLOSING / 2)
        for actor in self._actors:
            ray.kill(actor, no_restart=True)
        if self._group is not None:
            remove_placement_group(self._group)


async def _outcome(ref: ObjectRef[Any]) -> bytes | Ended | Unreached | Raised:
    """What a rank gave through its actor, or why it never will."""
    from ray.exceptions import RayError, RayTaskError

    try:
        return await asyncio.wrap_future(ref.future())
    except RayTaskError as error:
        return Raised(EngineError(f"a host of trainer ranks: {reason(error)}", code="rank-raised"), ours=True)
    except RayError as error:
        return _of_ray(str(error))


async def _told(ref: ObjectRef[Any]) -> Done | Unreached | Raised:
    """What an actor itself gave."""
    answer = await _outcome(ref)
    return answer if isinstance(answer, Unreached | Raised) else Done(answer)


def _of_ray(text: str) -> Unreached | Raised:
    """What Ray says of the end of an actor, without its advice."""
    lacking = LACKING.search(text)
    if lacking is not None:
        sentence = (
            f"a host of the Ray cluster has no module {lacking[1]!r}: every host needs the same Python environment, "
            "with postlude[ray] in it."
        )
        return Raised(EngineError(sentence, code="hosts-differ", key="engine.address"), ours=True)
    return Unreached(next((words for mark, words in DEATHS.items() if mark in text), text.strip().splitlines()[0]))


def _actor(group: PlacementGroup, place: int, gpus: bool) -> Any:
    import ray
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    options = ray.remote(Placed).options(
        num_cpus=1,
        num_gpus=1 if gpus else 0,
        max_restarts=0,
        max_concurrency=2,  # to stop it while it is at work
        scheduling_strategy=PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=place),
    )
    return options.remote()


class Placed(Supervisor):
    """A supervisor that knows where Ray has put it."""

    def __init__(self) -> None:
        super().__init__(_address())


def _address() -> str:
    """Of this host, as Ray knows it."""
    import ray

    return ray.util.get_node_ip_address()


def _offers() -> list[Offer]:
    import ray

    there = [node for node in ray.nodes() if node["Alive"]]
    return [
        Offer(node["NodeManagerHostname"], node["Resources"].get("CPU", 0.0), node["Resources"].get("GPU", 0.0))
        for node in there
    ]
