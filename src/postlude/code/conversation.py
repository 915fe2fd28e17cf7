"""Test code and the program it tests, in two processes: what one asks of the other is passed on, line by line.

The tester's process holds the tests and gives the verdicts; only its records are read here. The program's lines go to
the tester unread: they can answer what it asks, and nothing else (`sandbox/inside/peer.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from postlude.sandbox.child import Child, pump
from postlude.sandbox.worker import Worker

CALLS = frozenset((b"call", b"use", b"method", b"get", b"op", b"advance", b"wait"))
"""Records that make the program do something; a name that is looked up is none of them."""
VERDICTS = frozenset((b"passed", b"failed", b"skipped", b"loaded"))
ASIDES = frozenset((b"changed", b"forget", b"print"))
"""Records that are said before another."""
UNASKED = "the program sent a record that nobody asked for"


@dataclass
class Conversation:
    """One run of test code against one program, which has been loaded."""

    worker: Worker
    tested: Child
    tester: Child
    calls: int = 0
    """Of the program, since the last verdict."""
    unasked: bool = False
    """Whether the program spoke out of turn: then no verdict stands."""

    def records(self) -> Iterator[tuple[list[Any], int]]:
        """What the test code's process says of each test, and how often it called the program for that."""
        pump(self.worker, self._both, lambda: self.tester.done or self.tester.waiting > 0)
        self.tester.check_start()
        asked = False
        while self._waits_for(self.tested if asked else self.tester):
            if asked:
                asked = self._pass_on(self.tested, self.tester) in ASIDES
                continue
            kind = _kind(self.tester)
            if kind in VERDICTS:
                calls, self.calls = self.calls, 0
                yield self.tester.take() or ["none"], calls
                continue
            self._check_silence()
            self.calls += kind in CALLS
            asked = self._pass_on(self.tester, self.tested) not in ASIDES
        self._check_silence()

    @property
    def _both(self) -> list[Child]:
        return [self.tested, self.tester]

    def _waits_for(self, child: Child) -> bool:
        """Wait for a record of one; False where there will be none."""
        pump(self.worker, self._both, lambda: child.waiting > 0 or any(c.done or c.trouble for c in self._both))
        return child.waiting > 0 and not self.unasked

    def _pass_on(self, speaker: Child, listener: Child) -> bytes:
        kind = _kind(speaker)
        listener.pass_on(speaker.take_line())
        return kind

    def _check_silence(self) -> None:
        self.unasked = self.unasked or self.tested.waiting > 0


def _kind(child: Child) -> bytes:
    """The first word of the next record."""
    return child.next_line()[2:].partition(b'"')[0]
