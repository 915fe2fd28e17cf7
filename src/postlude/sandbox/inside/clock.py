"""How long a program may run: so much processor time, and longer by the clock, for others may use the processors."""

from __future__ import annotations

import os
import resource
import signal
import time
from dataclasses import dataclass
from typing import Literal

CLOCK = 10.0
"""So many times its processor time a program may take by the clock: a core shared by ten is enough for a right one."""
IDLE_AFTER, IDLE_SHARE = 2.0, 0.02
"""After so many times that, one that used less than this share of a core only waits, and is ended then."""
SOONEST = 0.01
"""Seconds between two looks at a program."""

Late = Literal["", "processor", "clock", "idle"]
"""Which limit ended a program; the empty one: none did."""


@dataclass
class Running:
    """A program that runs."""

    pid: int
    watch: int
    """A descriptor that is readable once the process has ended."""
    seconds: float
    """Of processor time."""
    start: float
    """Of time.monotonic(), as is `look`."""
    look: float
    """When to look next whether it is late."""
    late: Late = ""

    @classmethod
    def since_now(cls, pid: int, seconds: float) -> Running:
        now = time.monotonic()
        return cls(pid, os.pidfd_open(pid), seconds, now, now + seconds)

    def check(self, now: float, used_by_all: float) -> None:
        """Set `late`, or when to look again. `used_by_all`: processor time of every program of this worker.

        A program whose partner computes for it is not idle.
        """
        left = self.seconds - used(self.pid)
        since = now - self.start
        if left <= 0:
            self.late = "processor"
        elif since >= CLOCK * self.seconds:
            self.late = "clock"
        elif since >= IDLE_AFTER * self.seconds and used_by_all < IDLE_SHARE * since:
            self.late = "idle"
        ends = (left, CLOCK * self.seconds - since, IDLE_AFTER * self.seconds - since)
        self.look = now + max(SOONEST, min((end for end in ends if end > 0), default=SOONEST))

    def end(self) -> int:
        """Wait for its end; returns the status. A program with many threads is ended by its own limit, too late."""
        _, status, usage = os.wait4(self.pid, 0)
        os.close(self.watch)
        ended_by = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        if ended_by in (signal.SIGKILL, signal.SIGXCPU) and _total(usage) >= self.seconds and not self.late:
            self.late = "processor"
        return status


def used(pid: int) -> float:
    """Seconds of processor time a child has used, all its threads together; 0 where it has ended."""
    try:
        return time.clock_gettime(~pid << 3 | 2)  # CPUCLOCK_SCHED of a process, as clock_getcpuclockid makes it
    except OSError:
        return 0.0


def _total(usage: resource.struct_rusage) -> float:
    return usage.ru_utime + usage.ru_stime
