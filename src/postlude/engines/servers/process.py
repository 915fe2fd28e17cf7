"""One vLLM server of ours: started, watched, and stopped with everything that it has started."""

from __future__ import annotations

import asyncio
import os
import re
import select
import shlex
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import IO

from postlude.engines.servers.command import HOST, Launch, command_line, environment
from postlude.errors import EngineError, printable, reason, visible
from postlude.words import cut

KEEPER = Path(__file__).with_name("keeper.py")
GRACE = 5.0
"""Seconds that a server has to end by itself."""
MOST = 45.0
"""Seconds that stopping takes at most: the keeper's own limits come before it."""
PROMPT = 10.0
"""Seconds that the keeper has to say what it started."""
TAIL = 15
"""Lines of a log in a message."""
READ = 64 << 10
"""Bytes of a log's end that are looked at."""
MOST_LINES, LONGEST = 100_000, 1000
"""Of a log that is searched for its first error, and of a line of it."""
ERROR = re.compile(r"\b[A-Za-z_.]*(?:Error|Exception): \S.*")
PREFIX = re.compile(
    r"^(\([\w.-]+(?: pid=\d+)?\)\s*)?([A-Z]+ \d\d-\d\d \d\d:\d\d:\d\d (\[[^\]]*\])?|\[[A-Z]\d{4} [^\]]*\])?\s*"
)
"""What a line of vLLM's log begins with: `(Worker pid=1413) INFO 11-30 18:44:19 [loader.py:501]`."""
LINE = 160
"""Characters of its newest line that are shown."""
TAKEN = re.compile(r"address already in use", re.IGNORECASE)
"""What a server says whose port somebody else has."""


class ServerProcess:
    """Started when made; gone, with everything below it, after `stop`, and soon after our own end, whatever that is.

    Making it takes a moment; that it is healthy takes much longer, and is another's to find out. Raises EngineError
    where it cannot even be started.
    """

    def __init__(self, launch: Launch, index: int, model: Path, folder: Path) -> None:
        self.model = model
        """The folder whose weights it is started on."""
        self._port = reserve()
        """Held while it lives: nobody is given the same port between our choice and the server's own listening."""
        self.url = f"http://{HOST}:{self._port.getsockname()[1]}"
        self.command = command_line(launch, model, self._port.getsockname()[1])
        self.environment = environment(launch, launch.devices_of(index))
        self._group: int | None = None
        try:
            self.log, file = _new_log(folder, f"server-{index + 1}")
            with file:
                self._keeper = self._start(file)
        except OSError as error:
            self._port.close()
            raise EngineError(
                f"cannot start a server: {reason(error)}. The command was: {self.shown}", code="server-unreachable"
            ) from error

    def _start(self, log: IO[bytes]) -> subprocess.Popen[bytes]:
        words = [sys.executable, "-I", "-S", str(KEEPER), str(os.getpid()), str(GRACE), *self.command]
        log.write(f"{self.shown}\n".encode())
        log.flush()
        return subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            bufsize=0,
            env=self.environment,
            start_new_session=True,  # Ctrl-C in a terminal reaches us alone
        )

    @property
    def pid(self) -> int | None:
        """Of the process that answers requests, which is also its group; None where it could not be started."""
        stream = self._keeper.stdout
        if self._group is None and stream is not None and not stream.closed:
            if select.select([stream], [], [], PROMPT)[0]:
                line = stream.readline()  # empty where it could not be started: the log says why
                self._group = int(line) if line else None
        return self._group

    @property
    def shown(self) -> str:
        """The command line, as a shell takes it."""
        return shlex.join(self.command)

    def ended(self) -> str | None:
        """How it ended by itself: `exit code 1`, `signal 9`; None while it runs."""
        code = self._keeper.poll()
        if code is None:
            return None
        return f"signal {abs(code) % 128}" if code < 0 or code > 128 else f"exit code {code}"

    def port_was_taken(self) -> bool:
        """Whether it ended since another process listens at its port."""
        return self.ended() is not None and TAKEN.search(self.tail(READ)) is not None

    def tail(self, lines: int = TAIL) -> str:
        """The end of its log."""
        return "\n".join(_last(self.log)[-lines:])

    def newest_line(self) -> str:
        """The last that it said, cut for a line of a screen, without who says it and when; empty before it says a word.

        Neither the command line, which begins the log, nor an empty line of its banner is that.
        """
        lines = [line for line in _last(self.log) if line != printable(self.shown)[:1000]]
        said = (PREFIX.sub("", line).strip() for line in reversed(lines))
        return cut(next((line for line in said if any(mark.isalnum() for mark in line)), ""), LINE)

    def account(self) -> str:
        """For messages: the end of its log, where that is, and how it was started."""
        first = first_error(self.log)
        cause = f"The first error in its log: {first}\n" if first else ""
        return f"{cause}The end of its log ({self.log}):\n{self.tail()}\nIt was started with: {self.shown}"

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
        self._port.close()
        return group is None or _nobody_in(group)


def _nobody_in(group: int, seconds: float = 2.0) -> bool:
    """Whether nobody but zombies is in a process group, now or within so many seconds."""
    until = time.monotonic() + seconds
    while _members(group):
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def _members(group: int) -> list[int]:
    """Processes of a group that run."""
    pids: list[int] = []
    for name in os.listdir("/proc"):
        with suppress(OSError):
            if name.isdigit():
                state, _, number = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[:3]
                if int(number) == group and state != "Z":
                    pids.append(int(name))
    return pids


def reserve() -> socket.socket:
    """A socket bound to a free port of this machine, on which nobody listens.

    As long as it is open the system gives the port to nobody who asks for any; one who asks for it by number and says
    SO_REUSEADDR, as servers do, still gets it.
    """
    port = socket.socket()
    port.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    port.bind((HOST, 0))
    return port


def _new_log(folder: Path, name: str) -> tuple[Path, IO[bytes]]:
    """A log that is not there yet: of every start its own."""
    folder.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        path = folder / (f"{name}.log" if number == 1 else f"{name}-{number}.log")
        try:
            return path, path.open("xb")
        except FileExistsError:
            number += 1


def first_error(log: Path) -> str:
    """The first exception that a log names, which the end of a long one no longer shows; empty where there is none."""
    with suppress(OSError), log.open(encoding="utf-8", errors="replace") as lines:
        for line in islice(lines, MOST_LINES):
            if (named := ERROR.search(line[:LONGEST])) is not None:
                return visible(named[0])[:300]
    return ""


def _last(log: Path) -> list[str]:
    """The lines at the end of a log, oldest first, without empty ones and without what drives a terminal."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - READ))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    return [printable(line.rstrip())[:1000] for line in text.splitlines() if line.strip()]
