"""How a run is asked to end: Ctrl-C, SIGTERM as clusters send it, and SIGHUP of a terminal that closes."""

from __future__ import annotations

import signal
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from postlude.process import Interrupted
from postlude.runs.events import Stopping
from postlude.runs.folder import Run

ASKS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def interruptible(opened: Sequence[Run]) -> Generator[None]:
    """The first such signal: finish the step, save, end. A second, or one before the run is `opened`: stop at once, by
    Interrupted. Outside the main thread, where Python sets no handlers, the caller handles signals."""

    def ask(signum: int, frame: Any) -> None:
        if not opened or opened[0].stop:
            raise Interrupted(signum)
        run = opened[0]
        run.stop, run.signal = True, signum
        by = "" if signum == signal.SIGINT else signal.Signals(signum).name
        with suppress(RuntimeError, OSError):  # a line is being printed at this very moment, or the folder is gone
            run.tell(Stopping(run.step, by))

    before: dict[int, Any] = {}
    try:
        for signum in ASKS:
            if signum == signal.SIGHUP and signal.getsignal(signum) is signal.SIG_IGN:  # nohup
                continue
            before[signum] = signal.signal(signum, ask)
    except ValueError:
        pass
    try:
        yield
    finally:
        for signum, handler in before.items():
            if handler is not None:  # set by other means than Python's, which could not be set again
                signal.signal(signum, handler)
