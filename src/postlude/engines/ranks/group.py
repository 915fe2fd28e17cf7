"""Ranks as Ray actors: placed, met, asked, and ended. With `head.py`, a script, all that imports Ray."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from socket import AF_UNIX, socket
from tempfile import gettempdir
from threading import Thread, current_thread, main_thread
from typing import TYPE_CHECKING, Any

from postlude.engines.gpus import gpus_here, visible_devices
from postlude.engines.ranks.asking import IN_WORDS, TICK, Unreached, answers_of, values_of
from postlude.engines.ranks.child import Done, Raised, Seat
from postlude.engines.ranks.crew import Blueprint, RankLost, Terms
from postlude.engines.ranks.local_cluster import LocalCluster
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

LOCAL = "local"
RANK = "postlude.engines.ranks.rank:Rank"
ROOM, ROOM_AGAIN = 60.0, 600.0
"""Seconds that are waited for room in a cluster: at first, and where ranks had their places before."""
STARTING, STARTED = ("start", "begin"), 600.0
"""What a start asks for, and the seconds that it may take at least: several processes import torch and load a model."""
PATIENT = {"RAY_gcs_rpc_server_reconnect_timeout_s": str(10**6)}
"""Else Ray's library ends this process a minute after a cluster has gone: it is for us to say so, and to go on."""
LATER = 5.0
"""Seconds that the driver waits beyond what ranks wait for each other: they know who is late."""
REACHED = 45.0
"""Seconds for a cluster to answer."""
HEED = 0.1
"""Seconds between two looks at SIGTERM while Ray begins or ends."""
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
    """Starts crews as Ray actors (`crew.Start`): on a cluster of this machine that is begun for it, or on a user's."""

    def __init__(self, terms: Terms, kind: str = RANK, room: float = ROOM) -> None:
        self._terms, self._kind, self._room = terms, kind, room

    async def __call__(self, blueprint: Blueprint) -> RayCrew:
        crew = RayCrew(self._terms, blueprint, self._kind)
        try:
            await crew.start(self._room)
        except BaseException:
            await crew.close()
            raise
        self._room = max(self._room, ROOM_AGAIN)  # whoever had room once waits for a host to come back
        return crew


@dataclass(frozen=True)
class Member:
    """One rank's place."""

    actor: ActorHandle[Any]
    host: Host

    def named(self, rank: int) -> str:
        return f"trainer rank {rank} on host {self.host.name}"


class RayCrew:
    """Ranks at work on Ray (`crew.Crew`)."""

    def __init__(self, terms: Terms, blueprint: Blueprint, kind: str = RANK) -> None:
        self.size = terms.size
        self._terms, self._blueprint, self._kind = terms, blueprint, kind
        self._cluster: LocalCluster | None = None
        self._group: PlacementGroup | None = None
        self._actors: list[ActorHandle[Any]] = []
        self._members: list[Member] = []
        self._raylet: socket | None = None
        self._attached = self._closed = self._broken = False

    async def start(self, room: float) -> None:
        """Have a cluster, places in it for all, and a rank in each. `room`: seconds that places are waited for."""
        await _heeding_sigterm(self._join)
        self._raylet = _to_raylet()
        await self._place(room)
        await self._meet()
        await self._begin()

    async def call(self, method: str, shared: Any = None, each: Sequence[Any] | None = None) -> list[Any]:
        """As `crew.Crew.call`."""
        if self._closed or self._broken:
            raise RankLost("the trainer ranks were ended, or are out of step since one failed", code="rank-lost")
        self._look()
        if self._raylet is not None and _is_closed(self._raylet):  # to put something would end this process silently
            raise RankLost("Ray's raylet on this machine has ended", code="rank-lost", cause="Ray: its raylet ended")
        import ray

        common = ray.put(packed(shared))
        apart = [packed(each[rank] if each else None) for rank in range(self.size)]
        asked = [self._members[rank].actor.call.remote(method, common, apart[rank]) for rank in range(self.size)]
        return await self._values([_outcome(ref) for ref in asked], method)

    async def close(self) -> None:
        """As `crew.Crew.close`."""
        if not self._closed:
            self._closed = True
            await _heeding_sigterm(self._end)

    # having a cluster

    def _join(self) -> None:
        """Reach a cluster, which is begun here where it is to be a local one."""
        local = self._terms.address == LOCAL
        if local:
            self._cluster = LocalCluster(self.size, self._devices(), self._logs)
        with _variables(PATIENT | (self._cluster.surroundings if self._cluster else {})):
            import ray
            from ray._private import ray_constants

            if ray.is_initialized() and local:
                raise EngineError(
                    "Ray is at work in this process already: end that (ray.shutdown()), or set engine.address to auto, "
                    "which places trainers on its cluster.",
                    code="process-busy",
                    key="engine.address",
                )
            if ray.is_initialized():
                return
            ray_constants.ENABLE_RAY_CLUSTER = not local  # read once, as it is imported: False is 127.0.0.1 alone
            if self._cluster is not None:
                self._cluster.start()
            self._attach(self._cluster.address if self._cluster else self._terms.address)

    def _attach(self, address: str) -> None:
        import ray
        from ray.exceptions import RayError

        failed: list[Exception] = []

        def attach() -> None:
            more: dict[str, Any] = {"_node_ip_address": "127.0.0.1"} if self._cluster else {}
            try:
                ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **more)
            except (ConnectionError, RuntimeError, ValueError, OSError, RayError) as error:
                failed.append(error)

        if not _within(REACHED, attach):
            failed.append(TimeoutError(f"no answer within {REACHED:.0f} s"))
        if failed:
            why = reason(failed[0]).rstrip(".")
            raise EngineError(
                f"no Ray cluster can be reached (engine.address: {self._terms.address}): {why}. Start "
                "one (ray start --head), or leave engine.address out: Ray then runs on this machine for this run "
                "alone. A cluster with a token is reached with the same: RAY_AUTH_MODE=token, RAY_AUTH_TOKEN_PATH.",
                code="no-cluster",
                key="engine.address",
            ) from failed[0]
        self._attached = True

    @property
    def _longest(self) -> float:
        """Seconds for a start."""
        return max(self._terms.timeout, STARTED)

    @property
    def _logs(self) -> Path | None:
        folder = self._blueprint.folder
        return None if folder is None else folder.absolute() / RANKS

    def _devices(self) -> tuple[str, ...]:
        """The GPUs of this machine that ranks get; none where they are on the CPU."""
        held = self._blueprint.held
        return () if held.device == "cpu" else tuple(visible_devices(gpus_here())[: self.size])

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
        logs = str(self._logs or (self._cluster.folder if self._cluster else Path(gettempdir()) / "postlude-ranks"))
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

    async def _values(self, asked: Sequence[Awaitable[Any]], method: str) -> list[Any]:
        names = [member.named(rank) for rank, member in enumerate(self._members)]
        what = IN_WORDS.get(method, method)
        self._broken = True  # until all have answered
        seconds = self._longest if method in STARTING else self._terms.timeout + LATER
        answers = await answers_of(asked, names, what, seconds, self._look)
        self._broken = None in answers
        return values_of(answers, names, what)

    def _look(self) -> None:
        """Raise RankLost where Ray itself has ended on this machine: its own calls would wait for a minute, and then
        end this process."""
        if self._cluster is not None and (ended := self._cluster.ended()) is not None:
            raise RankLost(f"Ray has ended on this machine ({ended})", code="rank-lost", cause=f"Ray: {ended}")

    # ending

    def _end(self) -> None:
        """A cluster of ours goes with everything in it; in another's, what is ours."""
        if self._raylet is not None:
            self._raylet.close()
        if self._cluster is None:
            _within(CLOSING, self._leave)
        if self._attached:
            _within(CLOSING, _disconnect)
        if self._cluster is not None:
            self._cluster.end()

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


def _disconnect() -> None:
    import ray

    ray.shutdown()


def _to_raylet() -> socket | None:
    """A connection to the process of Ray that this one talks to, which says nothing, and is closed with that."""
    from ray._private import worker

    node = worker._global_node  # pyright: ignore[reportPrivateUsage]
    connection = socket(AF_UNIX)
    try:
        connection.connect(node.raylet_socket_name if node else "")
    except OSError:  # where it cannot be looked at, what is asked of Ray says it
        connection.close()
        return None
    connection.setblocking(False)
    return connection


def _is_closed(connection: socket) -> bool:
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


async def _heeding_sigterm(work: Callable[[], None]) -> None:
    """Have it done in a thread, and SIGTERM do all the while what it did: Ray's library takes it for a crash from its
    start on, prints a stack and aborts; and after its end leaves it to the system, which ends this process."""
    done = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        while not done.done():
            await asyncio.wait({done}, timeout=HEED)
            _heed_sigterm()
    finally:
        done.cancel()  # where nobody waits any more; the thread goes on
    done.result()


def _heed_sigterm() -> None:
    if current_thread() is main_thread() and (handler := signal.getsignal(signal.SIGTERM)) is not None:
        signal.signal(signal.SIGTERM, handler)


def _within(seconds: float, work: Callable[[], None]) -> bool:
    """Have it done in a thread, which is left to itself where it takes longer: Ray waits for hosts that are gone.
    Whether it was done in time."""
    thread = Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    return not thread.is_alive()


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


@contextmanager
def _variables(those: Mapping[str, str]) -> Iterator[None]:
    """Set in this process within the block; after it `breakpoint()` is what it was, too, which Ray takes for itself."""
    before = {name: os.environ.get(name) for name in (*those, "PYTHONBREAKPOINT")}
    os.environ.update(those)
    try:
        yield
    finally:
        for name, text in before.items():
            os.environ.pop(name, None)
            if text is not None:
                os.environ[name] = text
