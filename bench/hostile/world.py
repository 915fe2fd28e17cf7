"""What a program could harm, all of it our own, and what has become of it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from postlude.sandbox.inside.limits import UNUSED

SECRET = "the-secret-of-the-harness"
WATCHED = ("/tmp", "/var/tmp", "/dev/shm")
PLACES = (
    ("tcp", socket.AF_INET, socket.SOCK_STREAM, "45991"),
    ("udp", socket.AF_INET, socket.SOCK_DGRAM, "45992"),
    ("abstract unix", socket.AF_UNIX, socket.SOCK_STREAM, "rel_abs"),
)
"""Who listens, and the address by which the programs name it: the one they meet is free, since others may be at work on
this machine."""
LINGERS = 30.0
"""Seconds that the system may take to end what was killed."""


@dataclass
class World:
    """A folder anyone may write to, with a secret anyone may read, and listeners."""

    folder: Path
    listeners: dict[str, socket.socket]
    addresses: dict[str, str]
    """As programs name them -> as they are."""

    def meets(self, source: str) -> str:
        """A program that knows this world."""
        for named, real in {"@CANARY@": str(self.folder), "TARGETPID": str(os.getpid()), **self.addresses}.items():
            source = source.replace(named, real)
        return source

    def __post_init__(self) -> None:
        self._before = self._seen()

    def harms(self) -> list[str]:
        """What happened since this was last asked."""
        found = [f"reached {name}" for name, listener in self.listeners.items() if _visited(listener)]
        after = self._seen()
        touched = {place for place, _ in after.items() ^ self._before.items()}
        found += [f"changed {place}" for place in sorted(touched)]
        self._before = after
        return found + [f"left process {name}" for name in _leftovers()]

    def _seen(self) -> dict[str, object]:
        """Path -> its content or its size; of shared folders only which entries there are."""
        inside = {str(p): p.read_bytes() if p.is_file() else 0 for p in self.folder.rglob("*")}
        around = {entry.path: 0 for place in WATCHED for entry in os.scandir(place) if _by_a_program(entry)}
        return {**inside, **around, **{f"shm segment {line}": 0 for line in _segments()}}


def _by_a_program(entry: os.DirEntry[str]) -> bool:
    """Of a user nobody is, or of a name the programs use: others work in these folders too."""
    with contextlib.suppress(FileNotFoundError):
        return entry.stat(follow_symlinks=False).st_uid >= UNUSED or entry.name.startswith("rel_")
    return False


def _segments() -> list[str]:
    """System V memory, queues and semaphores, which outlive their makers."""
    lines = []
    for kind in ("shm", "msg", "sem"):
        with contextlib.suppress(OSError):
            rows = Path(f"/proc/sysvipc/{kind}").read_text().splitlines()[1:]
            lines += [f"{kind} {' '.join(row.split()[:2])}" for row in rows]
    return lines


def _visited(listener: socket.socket) -> bool:
    try:
        if listener.type == socket.SOCK_DGRAM:
            listener.recv(1)
        else:
            listener.accept()[0].close()
    except BlockingIOError:
        return False
    return True


def _leftovers() -> list[str]:
    """Programs that are still there long after their worker has ended; they are killed."""
    end = time.monotonic() + LINGERS
    while (found := list(_programs())) and time.monotonic() < end:
        time.sleep(0.02)
    for pid, _ in found:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return [name for _, name in found]


def _programs() -> Iterator[tuple[int, str]]:
    """(pid, name) of our children: the grader adopts what outlives its worker, and has no other."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass  # one that ended, and whose own parent did before it
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            name, _, rest = Path(f"/proc/{entry}/stat").read_text().partition("(")[2].rpartition(")")
            if int(rest.split()[1]) == os.getpid():
                yield int(entry), name


@contextlib.contextmanager
def world() -> Iterator[World]:
    folder = Path(tempfile.mkdtemp(prefix="postlude-hostile-"))
    listeners: dict[str, socket.socket] = {}
    addresses: dict[str, str] = {}
    try:
        folder.chmod(0o777)
        (folder / "readable_secret.txt").write_text(SECRET)
        (folder / "readable_secret.txt").chmod(0o666)
        for name, family, kind, named in PLACES:
            listeners[name] = listener = socket.socket(family, kind)
            own = f"{named}_{os.getpid()}"
            listener.bind(f"\0{own}" if family == socket.AF_UNIX else ("127.0.0.1", 0))
            addresses[named] = own if family == socket.AF_UNIX else str(listener.getsockname()[1])
            listener.setblocking(False)
            if kind == socket.SOCK_STREAM:
                listener.listen()
        yield World(folder, listeners, addresses)
    finally:
        for listener in listeners.values():
            listener.close()
        shutil.rmtree(folder)
