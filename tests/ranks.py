"""Crews for tests: a rank in this process, and several as plain processes that meet over gloo."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing import connection, get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from postlude.engines.ranks.crew import Blueprint, Place, RankLost
from postlude.engines.ranks.rank import Rank
from postlude.errors import PostludeError
from tests.ranks_work import work

_context = get_context("forkserver")
_context.set_forkserver_preload(["tests.ranks_work"])  # torch is imported once, whatever the number of ranks


class Single:
    """A crew of one rank, in this process."""

    size = 1

    def __init__(self, blueprint: Blueprint, kind: type[Rank] = Rank) -> None:
        self.rank = kind(blueprint)

    @classmethod
    async def start(cls, blueprint: Blueprint) -> Single:
        return cls(blueprint)

    async def call(self, method: str, shared: Any = None, each: Sequence[Any] | None = None) -> list[Any]:
        mine = None if each is None else each[0]
        travelled = pickle.loads(pickle.dumps((shared, mine)))
        return [pickle.loads(pickle.dumps(getattr(self.rank, method)(*travelled)))]

    async def close(self) -> None:
        pass


class Processes:
    """A crew of `size` processes of this machine. They end with this process, however that ends.

    One start may serve a whole module of tests: `build` gives the ranks another engine without starting them anew.
    """

    def __init__(self, size: int, timeout: float = 120.0, kind: type[Rank] = Rank) -> None:
        self.size, self.timeout = size, timeout
        self._serial = 0
        self._pipes: list[Connection] = []
        self.workers: list[Any] = []
        folder = Path(tempfile.mkdtemp(prefix="ranks-"))
        for rank in range(size):
            place = Place(rank, size, f"file://{folder}/meet", timeout)
            ours, theirs = _context.Pipe()
            worker = _context.Process(target=work, args=(theirs, place, kind), daemon=True)
            worker.start()
            theirs.close()
            self._pipes.append(ours)
            self.workers.append(worker)

    @classmethod
    async def start(cls, blueprint: Blueprint, size: int = 2, timeout: float = 120.0) -> Processes:
        """Ranks that have built their engines."""
        crew = cls(size, timeout)
        try:
            await crew.build(blueprint)
        except BaseException:
            await crew.close()
            raise
        return crew

    async def build(self, blueprint: Blueprint) -> None:
        """Build another engine on each rank; the one it had is let go."""
        await self.call("build", blueprint)

    async def call(self, method: str, shared: Any = None, each: Sequence[Any] | None = None) -> list[Any]:
        return await asyncio.to_thread(self._call, method, shared, each)

    def _call(self, method: str, shared: Any, each: Sequence[Any] | None) -> list[Any]:
        self._serial += 1
        for rank, pipe in enumerate(self._pipes):
            with suppress(OSError):  # a rank that is gone is found below
                pipe.send_bytes(pickle.dumps((self._serial, method, shared, None if each is None else each[rank])))
        answers: dict[int, Any] = {}
        end = time.monotonic() + self.timeout
        while len(answers) < self.size:
            waited = {pipe: rank for rank, pipe in enumerate(self._pipes) if rank not in answers}
            ready = connection.wait(list(waited), max(0.0, end - time.monotonic()))
            if not ready:
                raise RankLost(f"ranks {sorted(waited.values())} are silent in {method}", code="rank-lost")
            for pipe in ready:
                self._hear(waited[pipe], method, answers)  # type: ignore[index]
        return [answers[rank] for rank in range(self.size)]

    def _hear(self, rank: int, method: str, answers: dict[int, Any]) -> None:
        """Take one message of a rank; of an earlier call, which another rank ended, it is forgotten."""
        try:
            serial, fine, result = pickle.loads(self._pipes[rank].recv_bytes())
        except (EOFError, ConnectionError) as error:
            self.workers[rank].join(10)
            raise self._lost(rank, method) from error
        if serial != self._serial:
            return
        if not fine:
            if not isinstance(result, PostludeError):
                self._require_alive(method)  # or it is but what a rank says whose neighbour is gone
            raise result
        answers[rank] = result

    def _lost(self, rank: int, method: str) -> RankLost:
        code = self.workers[rank].exitcode
        cause = f"signal {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit code {code}"
        return RankLost(f"rank {rank} died in {method} ({cause})", code="rank-lost", rank=rank, cause=cause)

    def _require_alive(self, method: str) -> None:
        gone = connection.wait([worker.sentinel for worker in self.workers], 2.0)
        for rank, worker in enumerate(self.workers):
            if worker.sentinel in gone:
                worker.join(10)
                raise self._lost(rank, method)

    def kill(self, rank: int) -> None:
        """As the kernel would where memory runs out."""
        os.kill(self.workers[rank].pid, signal.SIGKILL)

    async def close(self) -> None:
        self.end()

    def end(self) -> None:
        for pipe in self._pipes:
            pipe.close()
        for worker in self.workers:
            worker.kill()
            worker.join(10)
