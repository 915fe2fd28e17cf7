"""A program running in a worker, as the trainer sees it: pipes, what came out of them, and how it ended."""

from __future__ import annotations

import fcntl
import json
import os
import select
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from postlude.sandbox.inside.clock import CLOCK
from postlude.sandbox.inside.lines import RECORD
from postlude.sandbox.inside.shelf import SEALS
from postlude.sandbox.worker import PATIENCE, SandboxFault, Worker

STDIN, STDOUT, STDERR, REQUESTS, RESULTS = range(5)
RESULTS_AT_MOST = 16 << 20
"""Bytes of the records of one program that wait to be taken."""


class Child:
    """Started when made. `pump` moves its data; `close` it in any case."""

    def __init__(self, worker: Worker, job: dict[str, Any], stdin: str = "") -> None:
        self._worker = worker
        self._ours: dict[int, int] = {}
        """Which pipe -> our end of it, while it is open."""
        self._going = {REQUESTS: bytearray()}
        self._closing = set[int]()
        """Pipes to close once all is written."""
        self.printed = {STDOUT: bytearray(), STDERR: bytearray()}
        self._partial, self._received = bytearray(), 0
        self._records: deque[bytes] = deque()
        self.trouble: str | None = None
        """Why it was killed: `output` (printed too much) or `record` (one too large)."""
        self._started = False
        seconds = worker.limits.seconds
        self._patience = time.monotonic() + CLOCK * seconds + PATIENCE
        self._number = self._launch(seconds, stdin.encode(errors="replace"))
        self.send(job)

    def _launch(self, seconds: float, stdin: bytes) -> int:
        theirs = [_file_of(stdin)]
        for which in range(STDIN + 1, 5):
            reading, writing = os.pipe()
            ours, other = (writing, reading) if which in self._going else (reading, writing)
            os.set_blocking(ours, False)
            self._ours[which] = ours
            theirs.append(other)
        try:
            return self._worker.launch(theirs, seconds)
        except SandboxFault:
            self._close_pipes()
            raise
        finally:
            for descriptor in theirs:
                os.close(descriptor)

    def send(self, request: dict[str, Any] | list[Any]) -> None:
        """Queue a line of JSON for it."""
        self.pass_on(json.dumps(request).encode())

    def pass_on(self, line: bytes) -> None:
        """Queue a line that another child wrote."""
        self._going[REQUESTS] += line + b"\n"

    def hang_up(self) -> None:
        """No more lines will come."""
        self._closing.add(REQUESTS)

    @property
    def end(self) -> dict[str, Any] | None:
        """`{"status", "late"}` once it has ended."""
        return self._worker.ended.get(self._number)

    @property
    def done(self) -> bool:
        """Whether it has ended and nothing more can come out."""
        return self.end is not None and not any(w in self._ours for w in (STDOUT, STDERR, RESULTS))

    @property
    def waiting(self) -> int:
        """Records that can be taken."""
        return len(self._records)

    def take(self) -> list[Any] | None:
        """The next record, None where there is none. ValueError for what is not a list in JSON."""
        if not self._records:
            return None
        try:
            record = json.loads(self._records.popleft())
        except RecursionError as error:
            raise ValueError("nested too deeply") from error
        if not isinstance(record, list) or not record:
            raise ValueError("not a record")
        return record

    def next_line(self) -> bytes:
        """The next record as it was written, which stays. IndexError where there is none."""
        return self._records[0]

    def take_line(self) -> bytes:
        """The next record as it was written. IndexError where there is none."""
        line = self._records.popleft()
        self._received -= len(line) + 1
        return line

    def kill(self) -> None:
        self._worker.kill(self._number)

    def descriptors(self) -> dict[int, int]:
        """Our end of each pipe -> the events to wait for."""
        wanted: dict[int, int] = {}
        for which, descriptor in list(self._ours.items()):
            if which not in self._going:
                wanted[descriptor] = select.POLLIN
            elif self._going[which]:
                wanted[descriptor] = select.POLLOUT
            elif which in self._closing:
                os.close(self._ours.pop(which))
        return wanted

    def move(self, descriptor: int) -> None:
        """Read from or write to a pipe that is ready."""
        which = next((w for w, d in self._ours.items() if d == descriptor), None)
        if which is None:
            return
        if which in self._going:
            self._write(which, descriptor)
        else:
            self._read(which, descriptor)

    def _write(self, which: int, descriptor: int) -> None:
        try:
            del self._going[which][: os.write(descriptor, self._going[which][: 1 << 16])]
        except BlockingIOError:
            pass
        except OSError:  # it reads no more
            self._going[which].clear()
            os.close(self._ours.pop(which))

    def _read(self, which: int, descriptor: int) -> None:
        try:
            data = os.read(descriptor, 1 << 16)
        except BlockingIOError:
            return
        if not data:
            os.close(self._ours.pop(which))
        elif self.trouble is None:
            self._keep(which, data)

    def _keep(self, which: int, data: bytes) -> None:
        if which == RESULTS:
            self._received += len(data)
            self._partial += data
            *lines, self._partial = self._partial.split(b"\n") if b"\n" in data else [self._partial]
            self._records += [bytes(line) for line in lines]
            if max(len(self._partial), *map(len, lines), 0) > RECORD or self._received > RESULTS_AT_MOST:
                self._stop("record")
            return
        self.printed[which] += data
        if sum(map(len, self.printed.values())) > self._worker.limits.output:
            self._stop("output")

    def _stop(self, why: str) -> None:
        self.trouble = why
        self.kill()

    def check_patience(self) -> None:
        if self.end is None and time.monotonic() > self._patience:
            raise SandboxFault("the worker does not answer")

    def check_start(self) -> None:
        """Raises SandboxFault unless its first record says that every lock was set."""
        record = self.take()
        if record is None or record[0] != "ready":
            raise SandboxFault(record[1] if record and record[0] == "fault" else "the program was never started")

    def _close_pipes(self) -> None:
        for descriptor in self._ours.values():
            os.close(descriptor)
        self._ours.clear()

    def close(self) -> None:
        """End it, if it still runs, and close the pipes."""
        try:
            self.kill()
            while self.end is None:
                self._worker.listen()
        finally:
            self._close_pipes()


def _file_of(data: bytes) -> int:
    """A descriptor of a file in memory that nobody can change: programs ask for the size of what they read."""
    file = os.memfd_create("stdin", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]
    os.lseek(file, 0, os.SEEK_SET)
    fcntl.fcntl(file, 1033, SEALS)  # F_ADD_SEALS
    return file


def pump(worker: Worker, children: Sequence[Child], until: Callable[[], bool]) -> None:
    """Move data until the condition holds. Raises SandboxFault where the worker dies or hangs."""
    while not until():
        poller = select.poll()
        poller.register(worker.fileno(), select.POLLIN)
        owner: dict[int, Child] = {}
        for child in children:
            for descriptor, events in child.descriptors().items():
                poller.register(descriptor, events)
                owner[descriptor] = child
        for descriptor, _ in poller.poll(1000):
            if descriptor in owner:
                owner[descriptor].move(descriptor)
            else:
                worker.listen()
        for child in children:
            child.check_patience()
