"""What a reward function may do to the process it runs in, and for how long: seen, put right, or refused.

A reward is a user's own code and no enemy. It is not locked up, but what would make the run another one in silence is
undone: a changed default dtype or folder, a child process that comes back, an exit that nobody asked for.

A thread looks at the calls under way. Code that never lets another thread run, such as the match of a pattern that
backtracks without end, is caught by a timer of processor time, whose signal Python handles in the main thread.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field, fields
from typing import Any, NoReturn

from postlude.lazy import torch
from postlude.process import end_child

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
                wait = TICK

        self._thread = threading.Thread(target=wake, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Send none any more: once this returns, the signal may mean something else again."""
        self.done.set()
        self._thread.join()


@dataclass(frozen=True)
class Surroundings:
    """What the whole process shares and a run depends on. Random generators are not among it: every seed of a run is
    counted from its own."""

    folder: str | None
    dtype: torch.dtype
    device: torch.device
    gradients: bool
    threads: int
    precision: str
    deterministic: bool
    interrupt: Any

    @classmethod
    def now(cls) -> Surroundings:
        try:
            folder = os.getcwd()
        except FileNotFoundError:  # it was deleted under us
            folder = None
        return cls(
            folder, torch.get_default_dtype(), torch.get_default_device(), torch.is_grad_enabled(),
            torch.get_num_threads(), torch.get_float32_matmul_precision(),
            torch.are_deterministic_algorithms_enabled(), signal.getsignal(signal.SIGINT),
        )  # fmt: skip

    def restore(self) -> list[str]:
        """Put back what is another now; what that was, in words."""
        now = Surroundings.now()
        changed = [f.name for f in fields(self) if getattr(self, f.name) != getattr(now, f.name)]
        able = [name for name in changed if name != "interrupt" or _in_main_thread()]
        for name in able:
            _WORDS[name][0](getattr(self, name))
        return [_WORDS[name][1] for name in able]


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _set_device(device: torch.device) -> None:
    torch.set_default_device(None if device.type == "cpu" else device)  # any other value slows every call of torch


_WORDS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "folder": (lambda folder: folder and os.chdir(folder), "the current folder"),
    "dtype": (lambda dtype: torch.set_default_dtype(dtype), "torch's default dtype"),
    "device": (lambda device: _set_device(device), "torch's default device"),
    "gradients": (lambda on: torch.set_grad_enabled(on), "whether torch keeps gradients"),
    "threads": (lambda count: torch.set_num_threads(count), "the number of torch's threads"),
    "precision": (lambda how: torch.set_float32_matmul_precision(how), "the precision of torch's products"),
    "deterministic": (lambda on: torch.use_deterministic_algorithms(on), "torch's deterministic algorithms"),
    "interrupt": (lambda handler: signal.signal(signal.SIGINT, handler), "what Ctrl-C does"),
}
"""Part of the surroundings -> how it is set, and what it is called."""


@dataclass
class Guard:
    """Around every call of a run's rewards. Asynchronous ones overlap: what they share is that of before the first."""

    waits: Waits = field(default_factory=Waits)
    notes: list[str] = field(default_factory=list[str])
    """What was put right; each is said once."""
    _under_way: int = 0
    _before: Surroundings | None = None
    _ends: dict[str, Callable[..., NoReturn]] = field(default_factory=dict[str, "Callable[..., NoReturn]"])
    _told: set[str] = field(default_factory=set[str])

    @contextmanager
    def over(self, label: str, answers: int) -> Iterator[None]:
        """One call of this reward."""
        owner = os.getpid()
        if not self._under_way:
            self._before, self._ends = Surroundings.now(), {name: getattr(os, name) for name in _ENDS}
            for name, really in self._ends.items():
                setattr(os, name, _refused(owner, name, really))
        self._under_way += 1
        try:
            with self.waits.over(label, answers):
                yield
        finally:
            if os.getpid() != owner:
                end_child(f"reward {label}")
            self._under_way -= 1
            if not self._under_way:
                for name, really in self._ends.items():
                    setattr(os, name, really)
            self._put_back(label)

    def limited(self, seconds: float | None) -> AbstractContextManager[None]:
        """The part of a call that runs a plain function."""
        return self.waits.limited(seconds)

    def take_notes(self) -> list[str]:
        """The notes since the last time."""
        notes, self.notes = self.notes, []
        return notes

    def _put_back(self, label: str) -> None:
        assert self._before is not None
        for what in self._before.restore():
            text = f"reward {label} changed {what}; it is put back after each call, since the run depends on it"
            if text not in self._told:
                self._told.add(text)
                self.notes.append(text)


_ENDS = ("_exit", "execv", "execve")
"""Functions of `os` that end the process as it is; the other `exec...` go through the last two."""


def _refused(owner: int, name: str, really: Callable[..., NoReturn]) -> Callable[..., NoReturn]:
    """One of _ENDS while a reward runs: of this process an error, of a child it forked what it always is."""

    def end(*args: Any, **kwargs: Any) -> NoReturn:
        if os.getpid() != owner:
            really(*args, **kwargs)
        argument = ", ".join(repr(arg) for arg in args[:1])
        raise SystemExit(f"os.{name}({argument}) was called, which would end the run without a word")

    return end
