"""What waits in tests, without a clock: requests that are under way at a server, events, processes."""

from __future__ import annotations

import asyncio
import selectors
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

HANGS = 120.0
"""Seconds after which something hangs. No test is decided by them: what works is done long before on any machine."""

LONG = 20.0
"""Seconds of processor time. What is tried takes milliseconds, or a second or two: it would come to as many only if it
grew faster than what it is given. Other processes, collected garbage and a cold start do not make up the rest."""


@contextmanager
def in_little_time(what: object = "") -> Iterator[None]:
    """The block takes less processor time than LONG."""
    started = time.process_time()
    yield
    assert time.process_time() - started < LONG, what


def eventually(holds: Callable[[], object]) -> bool:
    """Whether it comes to hold; it is looked at until it does, or hangs."""
    end = time.monotonic() + HANGS
    while not (true := bool(holds())) and time.monotonic() < end:
        time.sleep(0.01)
    return true


class UnderWay:
    """Requests that a server is busy with: how many there are, and were at most."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self._changed = threading.Condition()

    @contextmanager
    def one(self, until: threading.Event | None = None, together: int = 0, delay: float = 0.0) -> Iterator[None]:
        """A request, which waits for an event, and until so many were under way together, before it is worked on.

        It is over before anything is sent: a client that has its answer may ask for the next at once.
        """
        with self._changed:
            self.now += 1
            self.most = max(self.most, self.now)
            self._changed.notify_all()
            self._changed.wait_for(lambda: self.most >= together, HANGS)
        try:
            if until is not None:
                until.wait(HANGS)
            time.sleep(delay)
            yield
        finally:
            with self._changed:
                self.now -= 1


class _Jumping(selectors.SelectSelector):
    """Instead of waiting it lets the time pass at once."""

    passed = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.passed += timeout or 0.0
        return super().select(timeout and 0.0)


class OwnClock(asyncio.SelectorEventLoop):
    """An event loop whose seconds pass only where all of its tasks wait: then those until the next one goes on, at
    once. A machine that is busy takes none of them. For code without threads."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.passed

    def be_busy(self, seconds: float) -> None:
        """So much time passes as if the task that runs had used it."""
        self._jumping.passed += seconds
