"""One process trains: how it is asked to end, and that a child forked off it must not go on as a second one."""

from __future__ import annotations

import os
import signal
from typing import NoReturn

EXIT_OF_CHILD = 70


class Interrupted(KeyboardInterrupt):
    """Somebody stops the process at once: a second Ctrl-C, SIGTERM or SIGHUP."""

    def __init__(self, signum: int = signal.SIGINT) -> None:
        super().__init__(signum)
        self.signum = signum


def exit_code_of(signum: int) -> int:
    """What a shell and a scheduler expect of a process that a signal ended: 130, 143, 129."""
    return 128 + signum


def end_child(what: str) -> NoReturn:
    """End this process, a forked child that came back into the run: two would write to one folder."""
    text = f"postlude: {what} forked a child process that came back from it; the child ends here, the run goes on.\n"
    os.write(2, text.encode())
    os._exit(EXIT_OF_CHILD)
