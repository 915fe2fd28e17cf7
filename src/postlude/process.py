"""One process trains: how it is asked to end, that a child forked off it must not go on as a second one, and whether an
event loop runs in it already."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

EXIT_OF_CHILD = 70


class Interrupted(KeyboardInterrupt):
    """Somebody stops the process at once: a second Ctrl-C, SIGTERM or SIGHUP."""

    def __init__(self, signum: int = signal.SIGINT) -> None:
        super().__init__(signum)
        self.signum = signum


@contextmanager
def ended_like_by_ctrl_c() -> Generator[None]:
    """SIGTERM and SIGHUP end what is done here as Ctrl-C does, so that it is cleaned up after. Outside the main thread,
    where Python sets no handlers, whoever called has them."""

    def end(signum: int, frame: Any) -> None:
        raise Interrupted(signum)

    before: dict[int, Any] = {}
    with suppress(ValueError):
        for signum in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(signum) is signal.SIG_DFL:  # neither a caller's own, nor nohup's
                before[signum] = signal.signal(signum, end)
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def signal_behind(error: BaseException) -> int | None:
    """The signal that an exception goes back to; None where it is none of `Interrupted`."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, Interrupted):
        cause = cause.__context__
    return None if cause is None else cause.signum


def in_an_event_loop() -> bool:
    """Whether one runs in this thread, as in a notebook: work that needs a loop of its own needs a thread then."""
    import asyncio

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def exit_code_of(signum: int) -> int:
    """What a shell and a scheduler expect of a process that a signal ended: 130, 143, 129."""
    return 128 + signum


PATIENCE = 5.0
"""Seconds that threads have for their end once the work is over."""


def end_without_threads(code: int) -> None:
    """Let the process end with this code even where a thread that a user's function started never does.

    Python waits for every thread that is no daemon. Nothing happens where there is none.
    """
    main = threading.main_thread()
    names = [t.name for t in threading.enumerate() if t is not main and t.is_alive() and not t.daemon]
    if names:
        threading.Thread(target=_end, args=(code, names), daemon=True).start()


def _end(code: int, names: list[str]) -> None:
    time.sleep(PATIENCE)
    text = (
        "postlude: the work is over, but something in it (a reward, say) has left threads running: "
        f"{', '.join(names)}. The process ends without them.\n"
    )
    with suppress(OSError):
        os.write(2, text.encode())
    os._exit(code)


def end_child(what: str) -> NoReturn:
    """End this process, a forked child that came back into the run: two would write to one folder."""
    text = f"postlude: {what} forked a child process that came back from it; the child ends here, the run goes on.\n"
    os.write(2, text.encode())
    os._exit(EXIT_OF_CHILD)
