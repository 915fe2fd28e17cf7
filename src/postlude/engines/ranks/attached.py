"""A Ray cluster that this process is attached to: a user's, or one of this machine that is begun for a run."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from socket import AF_UNIX, socket
from threading import Thread, current_thread, main_thread
from typing import Any

from postlude.engines.ranks.asking import TICK
from postlude.engines.ranks.crew import RankLost, Terms
from postlude.engines.ranks.local_cluster import LocalCluster
from postlude.errors import EngineError, reason
from postlude.waits import waiting

LOCAL = "local"
PATIENT = {"RAY_gcs_rpc_server_reconnect_timeout_s": str(10**6)}
"""Else Ray's library ends this process a minute after a cluster has gone: it is for us to say so, and to go on."""
HEED = 0.1
"""Seconds between two looks at SIGTERM while Ray begins or ends."""
REACHED = 45.0
"""Seconds for a cluster to answer at first."""
CLOSING = 10.0
"""Seconds for each part of ending."""
ANSWERS = 10.0
"""Seconds for one that was sound to answer."""
FREE = 20.0
"""Seconds in which a cluster is to have nobody left of the ranks of before; a new one takes about as long."""


class Attached:
    """Reached once `start` has returned, until `end`."""

    def __init__(self, terms: Terms, devices: tuple[str, ...], logs: Path | None) -> None:
        self._address = terms.address
        self.cluster = LocalCluster(terms.size, devices, logs) if terms.address == LOCAL else None
        """Where it is of this run alone."""
        self._ours = False
        """Whether this process was not attached before."""
        self._raylet: socket | None = None

    @property
    def folder(self) -> Path | None:
        """That goes with the cluster."""
        return self.cluster.folder if self.cluster else None

    async def start(self) -> None:
        """Reach it; a local one is begun first."""
        await heeding_sigterm(self._join)
        self._raylet = _to_raylet()

    def ended(self) -> str | None:
        """How a local one ended by itself; None while it is there, and of others."""
        return self.cluster.ended() if self.cluster else None

    def look(self) -> None:
        """Raise RankLost where Ray itself has ended on this machine: its own calls would wait for a minute, and then
        end this process."""
        if (ended := self.ended()) is not None:
            raise RankLost(f"Ray has ended on this machine ({ended})", code="rank-lost", cause=f"Ray: {ended}")

    def answers(self) -> bool:
        """Whether the process of Ray on this machine that this one talks to is there."""
        return self.ended() is None and not (self._raylet is not None and _is_closed(self._raylet))

    async def is_free(self) -> bool:
        """Whether ranks can be placed where others were: a local one that answers in time, where no process of the
        others is left, and all that it has is free."""
        if self.cluster is None:
            return False
        ends = time.monotonic() + FREE
        what = "the processes of the trainer ranks that were lost"
        with waiting("Ray", what, verb="ending", link="", doing=f"ending {what}", limit=FREE):
            if not self.answers() or not await asyncio.to_thread(within, ANSWERS, _touch):
                return False
            while self.answers() and (left := ends - time.monotonic()) > 0:
                if not self.cluster.ranks_left() and await asyncio.to_thread(_is_idle, left):
                    return True
                await asyncio.sleep(TICK / 5)
        return False

    def end(self) -> None:
        """Leave it; a local one ends with everything in it."""
        if self._raylet is not None:
            self._raylet.close()
        if self._ours:
            within(CLOSING, _disconnect)
        if self.cluster is not None:
            self.cluster.end()

    def _join(self) -> None:
        with _variables(PATIENT | (self.cluster.surroundings if self.cluster else {})):
            import ray
            from ray._private import ray_constants

            if ray.is_initialized() and self.cluster is not None:
                raise EngineError(
                    "Ray is at work in this process already: end that (ray.shutdown()), or set engine.address to auto, "
                    "which places trainers on its cluster.",
                    code="process-busy",
                    key="engine.address",
                )
            if ray.is_initialized():
                return
            ray_constants.ENABLE_RAY_CLUSTER = self.cluster is None  # read once, at import: False is 127.0.0.1 alone
            if self.cluster is not None:
                self.cluster.start()
            self._attach(self.cluster.address if self.cluster else self._address)

    def _attach(self, address: str) -> None:
        import ray
        from ray.exceptions import RayError

        failed: list[Exception] = []

        def attach() -> None:
            more: dict[str, Any] = {"_node_ip_address": "127.0.0.1"} if self.cluster else {}
            try:
                ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **more)
            except (ConnectionError, RuntimeError, ValueError, OSError, RayError) as error:
                failed.append(error)

        if not within(REACHED, attach):
            failed.append(TimeoutError(f"no answer within {REACHED:.0f} s"))
        if failed:
            why = reason(failed[0]).rstrip(".")
            raise EngineError(
                f"no Ray cluster can be reached (engine.address: {self._address}): {why}. Start "
                "one (ray start --head), or leave engine.address out: Ray then runs on this machine for this run "
                "alone. A cluster with a token is reached with the same: RAY_AUTH_MODE=token, RAY_AUTH_TOKEN_PATH.",
                code="no-cluster",
                key="engine.address",
            ) from failed[0]
        self._ours = True


def within(seconds: float, work: Callable[[], None]) -> bool:
    """Have it done in a thread, which is left to itself where it takes longer: Ray waits for hosts that are gone.
    Whether it was done in time."""
    thread = Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    return not thread.is_alive()


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


def _touch() -> None:
    """Write and read shared memory, which is the raylet's: what a cluster has, another process tells."""
    import ray

    ray.get(ray.put(b""))


def _is_idle(seconds: float) -> bool:
    """Whether Ray says in time that all CPUs, GPUs and shared memory of the cluster are free."""
    import ray

    said: list[bool] = []

    def ask() -> None:
        free, whole = ray.available_resources(), ray.cluster_resources()
        said.append("CPU" in whole and all(free.get(name, 0.0) >= most for name, most in whole.items()))

    return within(seconds, ask) and said == [True]


def _disconnect() -> None:
    import ray

    ray.shutdown()


async def heeding_sigterm(work: Callable[[], None]) -> None:
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
