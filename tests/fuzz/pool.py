"""Readers in a process of their own: what they do with an input, how long it takes, how much memory.

A reader that does not come back, or takes the process down, is told with its input, and the next input meets a new
process.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

LIMIT = 5.0
"""Seconds of processor time after which a reader hangs."""
PATIENCE = 60.0
"""Seconds on the clock after which it hangs whatever it does: it may sleep."""
MEMORY = 512 << 20
"""Bytes that an input may take beside what the process held before."""
ROOM = 3 << 30
"""Bytes of addresses that it may ask for: beyond them Python raises MemoryError, and the machine stays well."""
LONGEST = 10_000
"""Characters of a problem: a longer one is no sentence."""


@dataclass(frozen=True)
class Outcome:
    """What became of one input."""

    kind: str
    """accepted, refused; or a fault: traceback, hang, died, memory, mute (no sentence), flood (no end of it)."""
    said: str = ""
    seconds: float = 0.0
    """Of processor time."""

    @property
    def is_fault(self) -> bool:
        return self.kind not in ("accepted", "refused")


class Pool:
    """One process that reads; replaced where it is lost. Use as a context manager."""

    def __init__(self) -> None:
        self._process: Any = None
        self._ours: Connection | None = None

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *error: object) -> None:
        self._end()

    def ask(self, reader: str, content: bytes) -> Outcome:
        """Let a reader read."""
        if self._ours is None:
            self._begin()
        assert self._ours is not None
        self._ours.send_bytes(json.dumps(reader).encode())
        self._ours.send_bytes(content)
        began, spent = time.monotonic(), self._cpu()
        while not self._ours.poll(0.5):
            if self._cpu() - spent > LIMIT or time.monotonic() - began > PATIENCE:
                place = self._where()
                self._end()
                return Outcome("hang", place, LIMIT)
        try:
            return Outcome(**json.loads(self._ours.recv_bytes()))
        except EOFError:
            code = self._process.join() or self._process.exitcode
            self._end()
            return Outcome("died", f"the process ended with {code}")

    def _begin(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._ours, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()
        self._ours.recv_bytes()  # it has imported what readers need

    def _end(self) -> None:
        if self._ours is not None:
            self._process.kill()
            self._process.join()
            self._ours.close()
            self._ours = None

    def _cpu(self) -> float:
        """Seconds of processor time of the process so far."""
        try:
            fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _where(self) -> str:
        """Where the process stands, as it says itself on a signal."""
        assert self._ours is not None
        os.kill(self._process.pid, signal.SIGUSR1)
        if not self._ours.poll(2):
            return "in a library's compiled code"
        try:
            return str(json.loads(self._ours.recv_bytes())["said"])
        except EOFError:
            return ""


def serve(pipe: Connection) -> None:
    """The other side: read, try, say."""
    sys.setrecursionlimit(1000)
    from tests.fuzz.readers import READERS, warm

    warm()
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    signal.signal(signal.SIGUSR1, lambda number, frame: _tell_place(pipe, frame))
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + ROOM, used + ROOM))
    pipe.send_bytes(b"ready")
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        while True:
            try:
                name = json.loads(pipe.recv_bytes())
                content = pipe.recv_bytes()
            except EOFError:
                return
            pipe.send_bytes(json.dumps(asdict(_tried(READERS, name, content, Path(folder)))).encode())


def _tell_place(pipe: Connection, frame: Any) -> None:
    own = [f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in traceback.extract_stack(frame)]
    pipe.send_bytes(json.dumps({"said": " > ".join(own[-8:])}).encode())


def _tried(readers: Mapping[str, Any], name: str, content: bytes, folder: Path) -> Outcome:
    reader = readers[name]
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before, began = _peak(), time.process_time()
    try:
        reader.read(content, folder)
        kind, said = "accepted", ""
    except reader.refusals as error:
        said = str(error)
        longest = max(map(len, getattr(error, "problems", [said])), default=0)
        kind = "mute" if not said.strip() else "flood" if longest > LONGEST else "refused"
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        kind, said = "traceback", _in_short(error)
    seconds = time.process_time() - began
    if kind in ("accepted", "refused"):
        if seconds > LIMIT:
            kind = "hang"
        elif _peak() - before > MEMORY + 4 * len(content):
            kind, said = "memory", f"{(_peak() - before) >> 20} MiB for {len(content)} bytes"
    return Outcome(kind, said[:2000], seconds)


def _peak() -> int:
    """Bytes that the process held at most."""
    line = next(x for x in Path("/proc/self/status").read_text().split("\n") if x.startswith("VmHWM"))
    return int(line.split()[1]) << 10


def _in_short(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if "/postlude/" in f.filename]
    last = [*ours[-1:], *frames[-1:]]
    places = " > ".join(f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in last)
    return f"{type(error).__name__}: {str(error)[:300]} ({places})"
