"""A bounded number of workers, leased one at a time."""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Iterable, Iterator
from dataclasses import replace

from postlude.sandbox.settings import Backend, Limits
from postlude.sandbox.worker import SandboxFault, Worker


class Pool:
    """At most `size` workers, made when needed. Safe to use from many threads."""

    def __init__(self, backend: Backend, limits: Limits, size: int) -> None:
        self.backend, self.limits, self._size = backend, limits, size
        self._free: list[Worker] = []
        self._slots = threading.BoundedSemaphore(size)
        self._lock = threading.Lock()
        self._finalizer = weakref.finalize(self, _close_all, self._free)
        self._others: dict[Limits, Pool] = {}

    def having(self, packages: Iterable[str], most: float | None = None) -> Pool:
        """This pool, or one like it whose programs may import these packages too, and take at most so many seconds."""
        seconds = self.limits.seconds if most is None else min(most, self.limits.seconds)
        limits = replace(self.limits, packages=tuple(sorted({*packages, *self.limits.packages})), seconds=seconds)
        if limits == self.limits:
            return self
        with self._lock:
            if limits not in self._others:
                self._others[limits] = Pool(self.backend, limits, self._size)
            return self._others[limits]

    @contextlib.contextmanager
    def lease(self) -> Iterator[Worker]:
        """A worker for this block alone. After a fault, or where programs leave files, it is not used again."""
        with self._slots:
            worker = self._take()
            try:
                yield worker
                worker.settle()
            except BaseException:
                worker.close()
                raise
            if self.limits.scratch:
                worker.close()
            else:
                with self._lock:
                    self._free.append(worker)

    def _take(self) -> Worker:
        with self._lock:
            if self._free:
                return self._free.pop()
        return Worker(self.backend, self.limits)

    def close(self) -> None:
        """End the workers that are free; a leased one ends with its lease at the latest when this process does."""
        with self._lock:
            _close_all(self._free)
            others = list(self._others.values())
        for other in others:
            other.close()


def _close_all(workers: list[Worker]) -> None:
    while workers:
        workers.pop().close()


__all__ = ["Pool", "SandboxFault"]
