"""Calls of a library that may never return, takes signals for itself, and prints: kept from the rest of the process."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from threading import Thread, current_thread, main_thread
from typing import TypeVar

from postlude.engines.logs import new_log

T = TypeVar("T")
HEED = 0.1
"""Seconds between two looks at SIGTERM."""


async def aside(work: Callable[[], T], seconds: float = float("inf"), look: Callable[[], None] = lambda: None) -> T:
    """What Ray does in a thread, which is left to itself where it takes longer, or where nobody waits any more: its
    calls wait for a cluster that is gone, and no signal ends them. SIGTERM does all the while what it did: Ray
    takes it for a crash from its start on, prints a stack and aborts, and after its end leaves it to the system, which
    ends this process. TimeoutError; `look` is called now and then, and may raise, too."""
    answer: Future[T] = Future()
    answer.set_running_or_notify_cancel()  # from here on nobody but the thread ends it

    def do() -> None:
        try:
            answer.set_result(work())
        except BaseException as error:  # raised where it is waited for
            answer.set_exception(error)

    Thread(target=do, daemon=True).start()
    waited, until = asyncio.wrap_future(answer), time.monotonic() + seconds
    waited.add_done_callback(lambda ended: ended.cancelled() or ended.exception())  # heard, also where nobody is left
    while not (await asyncio.wait({waited}, timeout=HEED))[0]:
        _heed_sigterm()
        look()
        if time.monotonic() > until:
            raise TimeoutError
    _heed_sigterm()
    return waited.result()


def _heed_sigterm() -> None:
    if current_thread() is main_thread() and (handler := signal.getsignal(signal.SIGTERM)) is not None:
        signal.signal(signal.SIGTERM, handler)


def within(seconds: float, work: Callable[[], None]) -> bool:
    """Have it done in a thread, which is left to itself where it takes longer: Ray waits for hosts that are gone.
    Whether it was done in time."""
    thread = Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    return not thread.is_alive()


@contextmanager
def printed_to(folder: Path | None) -> Iterator[None]:
    """What is written to this process's stderr, past Python too, goes to a log within the block: Ray's library writes
    there what it waits for, into the display. With no folder, nothing changes."""
    if folder is None:
        yield
        return
    sys.stderr.flush()
    before = os.dup(2)
    _, log = new_log(folder, "ray")
    try:
        with log:
            os.dup2(log.fileno(), 2)
        yield
    finally:
        sys.stderr.flush()
        os.dup2(before, 2)
        os.close(before)


@contextmanager
def variables(those: Mapping[str, str]) -> Iterator[None]:
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
