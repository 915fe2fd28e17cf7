"""A pool of processes that can be killed. Nothing here depends on the thread, event loop or process that asks."""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from postlude.waits import waiting

_START = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from postlude.maths.worker import main; main()"
START_LIMIT = 120.0
"""Seconds a process may take to import sympy on a busy machine."""
POSIX = os.name == "posix"
"""Elsewhere no limit can be enforced by the kernel, so there are no workers."""


class WorkerError(Exception):
    """The worker, not its job, is at fault: it died, did not start, or got no processor time."""


@dataclass(frozen=True)
class Limits:
    """Of one worker: seconds of processor time per job, bytes of memory. `size`: how many there are at most."""

    seconds: float = 2.0
    memory: int = 1 << 30
    size: int = 2

    @property
    def wall(self) -> float:
        """Seconds after which a job that has not used its processor time is given up."""
        return 3 * self.seconds + 1


class Worker:
    """One process and the pipes to it."""

    def __init__(self, limits: Limits) -> None:
        words = [str(limits.memory), str(limits.seconds), str(os.getpid())]
        paths = json.dumps([os.path.abspath(p or ".") for p in sys.path])
        pipe, quiet = subprocess.PIPE, subprocess.DEVNULL
        self.process = subprocess.Popen(
            [sys.executable, "-s", "-P", "-c", _START, paths, *words],
            stdin=pipe, stdout=pipe, stderr=quiet, bufsize=0, start_new_session=True,
            env={"PATH": os.defpath, "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"},
        )  # fmt: skip
        self.limits, self.ready, self.buffer = limits, False, b""

    def ask(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """The reply; {"limit": ...} where the job used up its time. Raises WorkerError."""
        if not self.ready:
            self._read(START_LIMIT, "did not start")
            self.ready = True
        try:
            assert self.process.stdin
            data = json.dumps(job).encode() + b"\n"
            while data:
                data = data[os.write(self.process.stdin.fileno(), data) :]
        except OSError as error:
            raise WorkerError(f"a worker died: {error}") from error
        return self._read(self.limits.wall, f"got no answer within {self.limits.wall:g} s")

    def _read(self, limit: float, failure: str) -> dict[str, Any]:
        assert self.process.stdout
        place, deadline = self.process.stdout.fileno(), time.monotonic() + limit
        waiting = select.poll()
        waiting.register(place, select.POLLIN)
        while b"\n" not in self.buffer:
            left = deadline - time.monotonic()
            if left <= 0 or not waiting.poll(left * 1000):
                raise WorkerError(f"a worker {failure}; is the machine overloaded?")
            data = os.read(place, 1 << 16)
            if not data:
                return self._end()
            self.buffer += data
        line, _, self.buffer = self.buffer.partition(b"\n")
        return json.loads(line)

    def _end(self) -> dict[str, Any]:
        """What its death means: out of time is the job's doing, anything else is not."""
        code = self.process.wait()
        if code == -signal.SIGPROF and self.ready:
            return {"limit": f"{self.limits.seconds:g} s of processor time"}
        raise WorkerError(f"a worker died with exit status {code}")

    def kill(self) -> None:
        with suppress(OSError):
            self.process.kill()
        self.process.wait()
        self.drop()

    def drop(self) -> None:
        """Close our ends of its pipes."""
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                with suppress(OSError):
                    pipe.close()


class Pool:
    """Up to `limits.size` workers, started when they are first needed and replaced when they die."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._reset()

    def _reset(self) -> None:
        self._free = threading.Condition()
        self._idle: list[Worker] = []
        self._all: set[Worker] = set()

    def ask(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """The reply of a worker. A worker that died is replaced and the job given once more. Raises WorkerError."""
        try:
            return self._once(job)
        except WorkerError as error:
            if "died" not in str(error):
                raise
            return self._once(job)

    def _once(self, job: Mapping[str, Any]) -> dict[str, Any]:
        worker, sound = self._take(), False
        try:
            with waiting(f"a worker for maths (process {worker.process.pid})", verb="at work"):
                reply = worker.ask(job)
            sound = worker.process.poll() is None and "limit" not in reply
            return reply
        finally:
            self._give_back(worker, sound)

    def _take(self) -> Worker:
        with self._free:
            while not self._idle and len(self._all) >= self.limits.size:
                self._free.wait()
            return self._idle.pop() if self._idle else self._start()

    def _start(self) -> Worker:
        worker = Worker(self.limits)
        self._all.add(worker)
        return worker

    def _give_back(self, worker: Worker, sound: bool) -> None:
        """Put it back; in the place of a dead one a new one starts at once, so that it is warm when it is needed."""
        if not sound:
            worker.kill()
        with self._free:
            if not sound:
                self._all.discard(worker)
                worker = self._start()
            self._idle.append(worker)
            self._free.notify()

    def close(self) -> None:
        """Kill all workers; the next job starts new ones."""
        with self._free:
            for worker in self._all:
                worker.kill()
            self._idle.clear()
            self._all.clear()

    def forget(self) -> None:
        """In a forked child: the workers are the parent's, and the lock may be held by a thread that is not here."""
        for worker in self._all:
            worker.drop()
            worker.process.returncode = 0  # not ours to wait for
        self._reset()


_pools: dict[Limits, Pool] = {}
_lock = threading.Lock()


def pool(limits: Limits) -> Pool:
    """The pool of this process with these limits."""
    with _lock:
        return _pools.setdefault(limits, Pool(limits))


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()
    for one in _pools.values():
        one.forget()


def close_all() -> None:
    for one in list(_pools.values()):
        one.close()


atexit.register(close_all)
if POSIX:
    os.register_at_fork(after_in_child=_after_fork)
