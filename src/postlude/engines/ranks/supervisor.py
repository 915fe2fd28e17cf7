"""Who stands beside one rank on its host: starts its process, passes on what is asked, and says how it ended.

Needs neither Ray nor torch. The rank is a process of its own, so that its exit code is known, and nothing of it is left
where it hangs.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from socket import socketpair

from postlude.engines.local.free import Free, free_of_host
from postlude.engines.logs import last_lines, new_log
from postlude.engines.ranks.child import Seat
from postlude.engines.ranks.places import Host, environment, host_of_this, interface_of, search_path
from postlude.words import size as in_words

LOOK = 0.5
"""Seconds between two looks at the host's memory while a rank is at work."""
TAIL = 8
"""Lines of a log in a message."""
START = "import sys; from postlude.engines.ranks.child import main; main(sys.argv[1:])"


@dataclass(frozen=True)
class Ended:
    """How a rank's process ended."""

    cause: str
    """`signal 9 (SIGKILL), 0.2 GB of the machine's memory were free`, `exit code 3`."""
    log: str
    """Its last lines."""
    path: str


class Supervisor:
    """Of one rank. Its methods are called by the driver, `stop` also while another is under way."""

    def __init__(self, address: str = "127.0.0.1") -> None:
        self._address = address
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._least: Free | None = None
        self._kills = 0
        self._log = Path()

    def host(self, note: Path | None) -> Host:
        """What this place is; `note` is a file that it should see."""
        return host_of_this(self._address, note)

    def start(self, seat: Seat, threads: int, folder: str, logs: str) -> int:
        """Start the rank's process; its process id. `folder` is where relative paths begin, where it is there."""
        ours, theirs = socketpair()
        alive, self._alive = os.pipe()
        path, log = new_log(Path(logs), f"rank-{seat.rank}")
        inner = environment(os.environ, threads)
        if (interface := interface_of(self._address)) is not None:
            inner.setdefault("GLOO_SOCKET_IFNAME", interface)  # the host's name may stand for another, or for itself
        inner["PYTHONPATH"] = search_path()
        words = [sys.executable, "-P", "-c", START, str(theirs.fileno()), str(alive)]
        words += [str(seat.rank), str(seat.size), seat.kind]
        with log, ours, theirs:
            self._process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=folder if os.path.isdir(folder) else None,
                env=inner,
                pass_fds=(theirs.fileno(), alive),
            )
            os.close(alive)
            self._log, self._connection = path, Connection(os.dup(ours.fileno()))
        self._kills = _killed_for_memory()
        return self._process.pid

    def call(self, method: str, shared: bytes, apart: bytes) -> bytes | Ended:
        """What the rank answers, as it sent it; or how it ended."""
        connection = self._connection
        assert connection is not None
        self._least = None
        try:
            for part in (method.encode(), shared, apart):
                connection.send_bytes(part)
            while not connection.poll(LOOK):
                self._look()
            return connection.recv_bytes()
        except (EOFError, OSError):
            return self._ended()

    def stop(self) -> None:
        """Kill the rank's process, by its id, and wait for its end."""
        process = self._process
        if process is not None and process.poll() is None:
            process.kill()
            process.wait()

    def _look(self) -> None:
        """Remember the least memory that was free lately: once a process is dead, there is more."""
        seen = free_of_host()
        self._least = min((one for one in (self._least, seen) if one), key=lambda one: one.bytes)

    def _ended(self) -> Ended:
        process = self._process
        assert process is not None
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
        self.stop()
        code = process.wait()
        least = self._least or free_of_host()
        words = _in_words(code) + f"; {in_words(least.bytes)} of {least.bound} was free"
        if _killed_for_memory() > self._kills:
            words += ", and the kernel has ended processes since it ran out"
        return Ended(words, "\n".join(last_lines(self._log)[-TAIL:]), str(self._log))


def _in_words(code: int) -> str:
    """`exit code 3`, `signal 9 (SIGKILL)`."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {-code} ({signal.Signals(-code).name})"
    except ValueError:
        return f"signal {-code}"


def _killed_for_memory() -> int:
    """How many processes the kernel has ended for want of memory in the control group of this one."""
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/sys/fs/cgroup/memory.events").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("oom_kill ")).split()[1])
    return 0


def end(pids: Sequence[int]) -> None:
    """Kill processes of this host by their ids."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
