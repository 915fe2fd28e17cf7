"""Who the process is waiting for, and a watchdog that says so where nothing moves.

Whoever waits for something that may not come (a reward, a server, a worker) does it within `waiting`. A `Watchdog`
looks at those from a thread of its own. Code that lets no other thread run, such as the match of a pattern that
backtracks without end, is seen by `look`, which the guard of rewards calls from a signal.
"""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import FrameType
from typing import TYPE_CHECKING, Any

from postlude.frames import OURS, called_by_us, in_words

if TYPE_CHECKING:
    import asyncio

TICK = 1.0
"""Seconds between two looks."""
SHOWN_AFTER = 5.0
"""Seconds after which a wait is shown."""
MOST_SHOWN = 4
"""Who is listed together."""
NOTED = (10.0, 60.0, 600.0, 3600.0)
"""Seconds after which it is said, once for each who: one that always takes long says so once."""


@dataclass(eq=False)
class Wait:
    """Something that is waited for."""

    who: str
    """As a message names it: `reward right (my.py:right)`, `the server http://localhost:8000/v1`."""
    what: str = ""
    """What it was asked: `8 answers`."""
    verb: str = "running"
    link: str = "on"
    """Before `what`: running for 12 s on 8 answers, asked for 6 s for an answer."""
    doing: str = ""
    """The same for a line of progress: `starting server 1`."""
    limit: float | None = None
    """Seconds after which whoever waits goes on or gives up; None where nothing says so."""
    usual: float = 0.0
    """Seconds that it often takes: it is noted once it has taken twice as many."""
    log: str = ""
    """The newest line of its log."""
    outer: Wait | None = None
    """That it is a part of."""
    since: float = field(default_factory=lambda: time.monotonic())
    thread: int = field(default_factory=threading.get_ident)
    task: asyncio.Task[Any] | None = None

    def text(self, now: float) -> str:
        """`reward right has been running for 12 s on 8 answers`."""
        text = f"{self.who} has been {self.verb} for {now - self.since:.0f} s"
        text += f" {self.link} {self.what}" if self.what else ""
        return f"{text}; its log says: {self.log}" if self.log else text

    def progress(self, now: float) -> str:
        """`starting server 1: 24 s of at most 900 s [Loading weights]`; the sentence where it has no shorter name."""
        if not self.doing:
            return self.text(now)
        most = f" of at most {self.limit:.0f} s" if self.limit is not None else ""
        return f"{self.doing}: {now - self.since:.0f} s{most}" + (f" [{self.log}]" if self.log else "")

    def frames(self) -> list[traceback.FrameSummary]:
        """Where it stands now: of a task the functions that await each other, else the stack of its thread."""
        if self.task is not None and not _runs(self.task):
            return [_summary(frame) for frame in _awaiting(self.task.get_coro())]
        frame = sys._current_frames().get(self.thread)  # pyright: ignore[reportPrivateUsage]
        stack = list(traceback.extract_stack(frame)) if frame is not None else []
        while self.thread == threading.get_ident() and stack and stack[-1].filename.startswith(OURS):
            stack.pop()  # who looks, from a signal
        return stack


_under_way: dict[int, Wait] = {}
_around: ContextVar[Wait | None] = ContextVar("_around", default=None)
_watchdogs: list[Watchdog] = []
"""The last one opened says what there is to say."""
_moved = time.monotonic()


@contextmanager
def waiting(
    who: str,
    what: str = "",
    verb: str = "running",
    moves: bool = True,
    link: str = "on",
    doing: str = "",
    limit: float | None = None,
    usual: float = 0.0,
) -> Iterator[Wait]:
    """Somebody is waited for within this block, which may change what it says of that. It is shown in the place of the
    one around it, also where that is of the task which began this one.

    Without `moves` its end is no sign that anything goes on: of what is asked now and then, come what may.
    """
    outer = _around.get()
    one = Wait(who, what, verb, link, doing, limit, usual, outer=outer, task=_task())
    _under_way[id(one)] = one
    _around.set(one)
    try:
        yield one
    finally:
        _around.set(outer)
        _under_way.pop(id(one), None)
        if moves:
            moved()


def under_way() -> list[Wait]:
    """What is waited for now, the longest first."""
    there = list(_under_way.values())  # at once: other threads add and remove
    return sorted(there, key=lambda one: one.since)


def moved() -> None:
    """Something went on: the run waits for nobody from now on."""
    global _moved
    _moved = time.monotonic()


def look() -> None:
    """Let every watchdog look at once."""
    for one in list(_watchdogs):
        one.look()


class Watchdog:
    """Looks at what is waited for while the context is open, from a thread that sleeps in between.

    `show(text)` hears of every wait of some seconds, at once where it has a short name, and `bounded()` as often where
    all of them have an end of their own; `say(text)` now and then of the same. Where nothing at all has moved for
    `silence` seconds (0: never), `say` hears who waits for whom, and from which line: again after twice as long, and so
    on.
    """

    def __init__(
        self,
        say: Callable[[str], None],
        show: Callable[[str], None] = lambda text: None,
        silence: float = 0.0,
        doing: Callable[[], str] = lambda: "",
        bounded: Callable[[], None] = lambda: None,
    ) -> None:
        self._bounded = bounded
        self._say, self._show, self._silence, self._doing = say, show, silence, doing
        self._noted: dict[str, int] = {}
        """Who -> how many of NOTED were reached."""
        self._barks = 0
        """Times it was said since something moved."""
        self._seen = 0.0
        """When something moved, as of the last look."""
        self._over = threading.Event()

    def __enter__(self) -> Watchdog:
        moved()
        _watchdogs.append(self)
        self._thread = threading.Thread(target=self._look_on, name="postlude watchdog", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        _watchdogs.remove(self)
        self._thread.join(TICK)

    def _look_on(self) -> None:
        while not self._over.wait(TICK):
            with suppress(OSError):  # the folder may be what is gone: whoever writes there next says so
                self.look()

    def look(self) -> None:
        """Say which waits take long, and that nothing moves; where another was opened after this one, it does that."""
        if _watchdogs[-1:] != [self]:
            return
        now, waits = time.monotonic(), under_way()
        late = [one for one in waits if now - one.since >= SHOWN_AFTER]
        shown = _innermost([one for one in waits if one.doing or one in late])
        for one in late:
            reached = sum(now - one.since >= max(limit, 2 * one.usual) for limit in NOTED)
            if reached > self._noted.get(one.who, 0):
                self._noted[one.who] = reached
                self._say(one.text(now))
        if shown:
            self._show(shown[0].progress(now))
            if all(one.limit is not None for one in shown):
                self._bounded()
        self._bark(now, waits)

    def _bark(self, now: float, waits: Sequence[Wait]) -> None:
        if self._seen != _moved:
            self._seen, self._barks = _moved, 0
        still = now - self._seen
        if self._silence and still >= self._silence * 2**self._barks:
            self._barks += 1
            text = self._silent(now, still, waits)
            self._show(text.partition(". The code is at")[0])
            self._say(text)

    def _silent(self, now: float, still: float, waits: Sequence[Wait]) -> str:
        """Who waits for whom, and where the code stands."""
        doing = self._doing()
        whom = "; ".join(_told(now, waits)[:MOST_SHOWN]) or "no reward, server or worker is waited for"
        first = waits[0] if waits else Wait("", thread=threading.main_thread().ident or 0)
        lines = [f"  {line}" for line in in_words(called_by_us(first.frames()))]
        return "\n".join(
            [f"nothing has moved for {still:.0f} s{doing and f' ({doing})'}: {whom}. The code is at", *lines]
        )


def _innermost(waits: Sequence[Wait]) -> list[Wait]:
    """Without those of which another is a part."""
    outer = [one.outer for one in waits]
    return [one for one in waits if one not in outer]


def _told(now: float, waits: Sequence[Wait]) -> list[str]:
    """A text for each who, of its longest wait."""
    counts = Counter(one.who for one in waits)
    first = {one.who: one for one in reversed(waits)}
    more = {who: f" (and {count - 1} more)" if count > 1 else "" for who, count in counts.items()}
    return [first[who].text(now) + more[who] for who in counts]


def _task() -> asyncio.Task[Any] | None:
    import asyncio  # not for every command

    try:
        return asyncio.current_task()
    except RuntimeError:  # no event loop runs in this thread
        return None


def _runs(task: asyncio.Task[Any]) -> bool:
    """Whether its own code is at work, and not what it awaits."""
    import asyncio

    return asyncio.current_task(task.get_loop()) is task


def _awaiting(coroutine: Any) -> list[FrameType]:
    """The frames of a coroutine and of those that it awaits, outermost first."""
    frames: list[FrameType] = []
    while coroutine is not None and getattr(coroutine, "cr_frame", None) is not None:
        frames.append(coroutine.cr_frame)
        coroutine = coroutine.cr_await
    return frames


def _summary(frame: FrameType) -> traceback.FrameSummary:
    return traceback.FrameSummary(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name)
