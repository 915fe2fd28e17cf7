"""A process of ours with a keeper between: stopped with everything that it has started, also where we are killed."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

KEEPER = Path(__file__).with_name("keeper.py")
GRACE = 5.0
"""Seconds that the process has to end by itself."""
MOST = 45.0
"""Seconds that stopping takes at most: the keeper's own limits come before it."""
PROMPT = 10.0
"""Seconds that the keeper has to say what it started."""


class Kept:
    """Started when made; gone, with everything below it, after `stop`, and soon after our own end, whatever that is.

    Raises OSError where not even the keeper can be started. The process has exactly this environment, and writes to
    the log.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: IO[bytes]) -> None:
        self._group: int | None = None
        words = [sys.executable, "-I", "-S", str(KEEPER), str(os.getpid()), str(GRACE), *command]
        self._keeper = subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            bufsize=0,
            env=environment,
            start_new_session=True,  # Ctrl-C in a terminal reaches us alone
        )

    @property
    def pid(self) -> int | None:
        """Which is also the group that it began; None where it could not be started."""
        stream = self._keeper.stdout
        if self._group is None and stream is not None and not stream.closed:
            if select.select([stream], [], [], PROMPT)[0]:
                line = stream.readline()  # empty where it could not be started: the log says why
                self._group = int(line) if line else None
        return self._group

    def ended(self) -> str | None:
        """How it ended by itself: `exit code 1`, `signal 9`; None while it runs."""
        code = self._keeper.poll()
        if code is None:
            return None
        return f"signal {abs(code) % 128}" if code < 0 or code > 128 else f"exit code {code}"

    def below(self) -> list[str]:
        """The command lines of all that runs below the keeper, which is the parent of what others left behind."""
        parents = dict(_parents())
        inside, waiting = set[int](), {self._keeper.pid}
        while waiting:
            waiting = {pid for pid, parent in parents.items() if parent in waiting} - inside
            inside |= waiting
        return [words for pid in inside if (words := _words(pid))]

    async def stop(self, at_once: bool = False) -> bool:
        """Whether nothing of it is left. It may end by itself for a few seconds, unless `at_once`; takes at most MOST
        seconds, and nothing where it has been stopped before."""
        return await asyncio.to_thread(self.end, at_once)

    def end(self, at_once: bool = False) -> bool:
        """The same, in this thread."""
        stream, output = self._keeper.stdin, self._keeper.stdout
        assert stream is not None and output is not None
        group = self.pid
        with suppress(OSError, ValueError):  # it ended by itself; it was stopped before
            if at_once:
                stream.write(b"k")
        with suppress(OSError):
            stream.close()
        try:
            self._keeper.wait(MOST)
        except subprocess.TimeoutExpired:
            self._keeper.kill()
            self._keeper.wait()
        if self._keeper.returncode == -signal.SIGKILL and group is not None:  # it could do nothing
            with suppress(OSError):
                os.killpg(group, signal.SIGKILL)
        output.close()
        return group is None or _nobody_in(group)


def _nobody_in(group: int, seconds: float = 2.0) -> bool:
    """Whether nobody but zombies is in a process group, now or within so many seconds."""
    until = time.monotonic() + seconds
    while _members(group):
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def _parents() -> Iterator[tuple[int, int]]:
    """(process, its parent) of all that run."""
    for pid in _pids():
        with suppress(OSError):
            state, parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
            if state != "Z":
                yield pid, int(parent)


def _pids() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def _words(pid: int) -> str:
    """Its command line, or the title that it gave itself; empty where it has gone."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return ""


def _members(group: int) -> list[int]:
    """Processes of a group that run."""
    pids: list[int] = []
    for pid in _pids():
        with suppress(OSError):
            state, _, number = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:3]
            if int(number) == group and state != "Z":
                pids.append(pid)
    return pids
