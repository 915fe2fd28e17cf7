"""What a reward function may do to the process it runs in, and for how long: seen, put right, or refused.

A reward is a user's own code and no enemy. It is not locked up, but what would make the run another one in silence is
undone: a changed default dtype or folder, closed output, a child process that comes back, an exit nobody asked for.

Who takes long is said by a watchdog (`waits`), which has a thread of its own. Code that never lets another thread run,
such as the match of a pattern that backtracks without end, is caught by a timer of processor time, whose signal Python
handles in the main thread.
"""

from __future__ import annotations

import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn
from weakref import WeakSet

from postlude import waits
from postlude.process import Interrupted, end_child
from postlude.rewards.surroundings import Streams, Surroundings
from postlude.words import Once


class TooLong(BaseException):
    """Raised inside a plain function at its time limit; no `except Exception` of a user's takes it for its own."""


@contextmanager
def limited(seconds: float | None) -> Iterator[None]:
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
        with suppress(RuntimeError, OSError):  # the function is printing at this very moment, or its folder is gone
            waits.look()

    tick = waits.SHOWN_AFTER if seconds is None else min(waits.TICK, seconds / 4)
    waker = None if seconds is None else _Waker(seconds)
    before = signal.signal(signal.SIGVTALRM, alarm)
    signal.setitimer(signal.ITIMER_VIRTUAL, tick, tick)
    try:
        yield
    finally:
        signal.signal(signal.SIGVTALRM, signal.SIG_IGN)  # one may still be on its way, and would end the process
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        if waker is not None:
            waker.end()
        if before is not None:  # set by other means than Python's, which could not be set again
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
                wait = waits.TICK

        self._thread = threading.Thread(target=wake, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Send none any more: once this returns, the signal may mean something else again."""
        self.done.set()
        self._thread.join()


def interrupted(error: BaseException) -> bool:
    """Whether somebody stops the process: a KeyboardInterrupt that the function itself raised is an error of its own.

    One that a signal brought about comes from its handler: Python's own leaves no line in the stack, ours and
    asyncio's do.
    """
    if not isinstance(error, KeyboardInterrupt):
        return False
    pythons = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    in_main = threading.current_thread() is threading.main_thread()
    last = traceback.extract_tb(error.__traceback__)[-1].filename
    return isinstance(error, Interrupted) or (pythons and in_main) or Path(last).parent.name == "asyncio"


@dataclass(eq=False)
class Guard:
    """Around every call of a run's rewards. Asynchronous ones overlap: what they share is that of before the first."""

    notes: list[str] = field(default_factory=list[str])
    """What was put right since they were taken; a run gives each once."""
    _under_way: int = 0
    _before: Surroundings | None = None
    _streams: Streams | None = None

    @contextmanager
    def over(self, label: str, who: str, what: str) -> Iterator[None]:
        """One call of this reward; `who` and `what` say to a watchdog who is waited for, and on what."""
        owner = os.getpid()
        if not self._under_way:
            self._before, self._streams = Surroundings.now(), Streams()
            _refuse_ends(self, owner)
        self._under_way += 1
        try:
            with waits.waiting(who, what):
                yield
        finally:
            if os.getpid() != owner:
                end_child(f"reward {label}")
            self._under_way -= 1
            if not self._under_way:
                _allow_ends(self)
            self._put_back(label)

    def take_notes(self) -> list[str]:
        """The notes since the last time."""
        notes, self.notes = self.notes, []
        return notes

    def _put_back(self, label: str) -> None:
        assert self._before is not None and self._streams is not None
        changed = self._before.restore()
        if not self._under_way:
            changed += self._streams.restore()
            self._streams.close()
        for what in changed:
            text = f"reward {label} changed {what}; it is put back after each call, since the run depends on it"
            if text not in self.notes:
                self.notes.append(Once(text, text))


_ENDS = (
    (os, "_exit"), (os, "execv"), (os, "execve"), (os, "abort"),
    (os, "kill"), (os, "killpg"), (signal, "raise_signal"),
)  # fmt: skip
"""Functions that end the process as it is; the other `exec...` go through `execv` and `execve`."""
_REALLY = tuple((module, name, getattr(module, name)) for module, name in _ENDS)
_at_work: WeakSet[Guard] = WeakSet()
"""The guards that refuse them now: several may overlap, and the last to end puts back what they are."""
_ASKED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals by which somebody else asks for an end."""
_HARMLESS = (0, signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH)


def _refuse_ends(guard: Guard, owner: int) -> None:
    _at_work.add(guard)
    for module, name, really in _REALLY:
        setattr(module, name, _refused(owner, module, name, really))


def _allow_ends(guard: Guard) -> None:
    _at_work.discard(guard)
    if not _at_work:
        for module, name, really in _REALLY:
            setattr(module, name, really)


def _refused(owner: int, module: Any, name: str, really: Callable[..., Any]) -> Callable[..., Any]:
    """One of _ENDS while a reward runs: of this process an error, of a child it forked what it always is."""

    def end(*args: Any, **kwargs: Any) -> Any:
        if os.getpid() != owner or not _ends_us(name, args):
            return really(*args, **kwargs)
        shown = ", ".join(repr(arg) for arg in args[: 1 + (name in ("kill", "killpg"))])
        _leave(f"{module.__name__}.{name}({shown})")

    return end


def _leave(what: str) -> NoReturn:
    raise SystemExit(f"{what} was called, which would end the run without a word")


def _ends_us(name: str, args: tuple[Any, ...]) -> bool:
    """Whether such a call would end this process. A signal that the function has a handler of its own for does not."""
    if name not in ("kill", "killpg", "raise_signal"):
        return True
    signum = args[-1] if args else 0
    if name == "kill" and args[:1] not in ((os.getpid(),), (0,), (-1,), (-os.getpgrp(),)):
        return False
    if name == "killpg" and args[:1] not in ((os.getpgrp(),), (0,)):
        return False
    if signum in _HARMLESS:
        return False
    try:
        handler = signal.getsignal(signum)
    except ValueError:  # no signal: the call itself says so
        return False
    return signum in _ASKED or handler == signal.SIG_DFL
