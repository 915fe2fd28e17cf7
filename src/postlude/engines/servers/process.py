"""One vLLM server of ours: started, watched, and stopped with everything that it has started."""

from __future__ import annotations

import re
import shlex
import socket
from contextlib import suppress
from itertools import islice
from pathlib import Path

from postlude.engines.keeping import Kept
from postlude.engines.logs import READ, last_lines, new_log
from postlude.engines.servers.command import HOST, Launch, command_line, environment
from postlude.errors import EngineError, printable, reason, visible
from postlude.words import cut

TAIL = 15
"""Lines of a log in a message."""
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


class ServerProcess(Kept):
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
        try:
            self.log, file = new_log(folder, f"server-{index + 1}")
            with file:
                file.write(f"{self.shown}\n".encode())
                file.flush()
                super().__init__(self.command, self.environment, file)
        except OSError as error:
            self._port.close()
            raise EngineError(
                f"cannot start a server: {reason(error)}. The command was: {self.shown}", code="server-unreachable"
            ) from error

    @property
    def shown(self) -> str:
        """The command line, as a shell takes it."""
        return shlex.join(self.command)

    def port_was_taken(self) -> bool:
        """Whether it ended since another process listens at its port."""
        return self.ended() is not None and TAKEN.search(self.tail(READ)) is not None

    def tail(self, lines: int = TAIL) -> str:
        """The end of its log."""
        return "\n".join(last_lines(self.log)[-lines:])

    def newest_line(self) -> str:
        """The last that it said, cut for a line of a screen, without who says it and when; empty before it says a word.

        Neither the command line, which begins the log, nor an empty line of its banner is that.
        """
        lines = [line for line in last_lines(self.log) if line != printable(self.shown)[:1000]]
        said = (PREFIX.sub("", line).strip() for line in reversed(lines))
        return cut(next((line for line in said if any(mark.isalnum() for mark in line)), ""), LINE)

    def account(self) -> str:
        """For messages: the end of its log, where that is, and how it was started."""
        first = first_error(self.log)
        cause = f"The first error in its log: {first}\n" if first else ""
        return f"{cause}The end of its log ({self.log}):\n{self.tail()}\nIt was started with: {self.shown}"

    def end(self, at_once: bool = False) -> bool:
        """As `Kept.end`; nobody holds its port any more."""
        gone = super().end(at_once)
        self._port.close()
        return gone


def reserve() -> socket.socket:
    """A socket bound to a free port of this machine, on which nobody listens.

    As long as it is open the system gives the port to nobody who asks for any; one who asks for it by number and says
    SO_REUSEADDR, as servers do, still gets it.
    """
    port = socket.socket()
    port.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    port.bind((HOST, 0))
    return port


def first_error(log: Path) -> str:
    """The first exception that a log names, which the end of a long one no longer shows; empty where there is none."""
    with suppress(OSError), log.open(encoding="utf-8", errors="replace") as lines:
        for line in islice(lines, MOST_LINES):
            if (named := ERROR.search(line[:LONGEST])) is not None:
                return visible(named[0])[:300]
    return ""
