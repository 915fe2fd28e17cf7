"""How long calls of rewards have been running: said while they run, and ended where a plain function may not go on.

A thread looks at the calls under way. Code that never lets another thread run, such as the match of a pattern that
backtracks without end, is caught by a timer of processor time, whose signal Python handles in the main thread.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

TICK = 1.0
"""Seconds between two looks at what is under way."""
SAID_AFTER = 5.0
"""Seconds after which a call that is still running is shown."""
NOTED = (10.0, 60.0, 600.0, 3600.0)
"""Seconds after which it is noted, once for each reward: one that always takes long says so once."""


class TooLong(BaseException):
    """Raised inside a plain function at its time limit; no `except Exception` of a user's takes it for its own."""


@dataclass
class _Call:
    label: str
    answers: int
    since: float = field(default_factory=time.monotonic)


@dataclass
class Waits:
    """The calls under way, and who hears of those that take long: `tell(text, whether it is worth a note)`."""

    tell: Callable[[str, bool], None] = lambda text, noted: None
    _calls: dict[int, _Call] = field(default_factory=dict[int, _Call])
    _noted: dict[str, int] = field(default_factory=dict[str, int])
    """Reward -> how many of NOTED its calls have reached."""
    _done: threading.Event | None = None
    """Of the thread that looks; None where no call is under way."""

    @contextmanager
    def over(self, label: str, answers: int) -> Iterator[None]:
        """A call of this reward is under way."""
        one = _Call(label, answers)
        self._calls[id(one)] = one
        if self._done is None:
            self._done = threading.Event()
            threading.Thread(target=self._look_on, args=(self._done,), daemon=True).start()
        try:
            yield
        finally:
            del self._calls[id(one)]
            if not self._calls and self._done is not None:
                self._done.set()
                self._done = None

    def _look_on(self, done: threading.Event) -> None:
        while not done.wait(TICK):
            self.look()

    def look(self) -> None:
        """Say which calls take long."""
        now = time.monotonic()
        for one in list(self._calls.values()):
            seconds = now - one.since
            if seconds < SAID_AFTER:
                continue
            reached = sum(seconds >= limit for limit in NOTED)
            noted = reached > self._noted.get(one.label, 0)
            if noted:
                self._noted[one.label] = reached
            self.tell(f"reward {one.label} has been running for {seconds:.0f} s on {one.answers} answers", noted)

    @contextmanager
    def limited(self, seconds: float | None) -> Iterator[None]:
        """A plain call: heard of even where it lets no thread run, and left by TooLong after so many seconds.

        Outside the main thread, where Python handles no signals, the block is not limited.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        end = None if seconds is None else time.monotonic() + seconds

        def alarm(signum: int, frame: object) -> None:
            if end is not None and time.monotonic() >= end:
                raise TooLong
            with suppress(RuntimeError):  # the function is printing at this very moment
                self.look()

        tick = SAID_AFTER if seconds is None else min(TICK, seconds / 4)
        waker = None if seconds is None else _Waker(seconds)
        before = signal.signal(signal.SIGVTALRM, alarm)
        signal.setitimer(signal.ITIMER_VIRTUAL, tick, tick)
        try:
            yield
        finally:
            signal.signal(signal.SIGVTALRM, signal.SIG_IGN)  # one may still be on its way, and would end the process
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            if waker is not None:
                waker.done.set()
            if callable(before):
                signal.signal(signal.SIGVTALRM, before)


class _Waker:
    """Sends the main thread its signal once the time is up, again and again: a wait takes no processor time."""

    def __init__(self, seconds: float) -> None:
        self.done = threading.Event()
        main = threading.main_thread().ident
        assert main is not None

        def wake() -> None:
            wait = seconds
            while not self.done.wait(wait):
                signal.pthread_kill(main, signal.SIGVTALRM)
                wait = TICK

        threading.Thread(target=wake, daemon=True).start()
