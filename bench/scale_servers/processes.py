"""Processes below a run, and files that go."""

from __future__ import annotations

import os
import shutil
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Process:
    """One that was seen; `started` tells it from a later one of the same number."""

    pid: int
    started: str
    words: str
    """Its command line, or the title that it gave itself."""
    processor: float = field(default=0.0, compare=False)
    """Seconds of processor time that it had used by then, without its children's."""

    @property
    def lives(self) -> bool:
        """Whether it is still there, and more than an entry in the table."""
        fields = _fields(self.pid)
        return fields is not None and fields[19] == self.started and fields[0] not in "ZX"


def below(pid: int) -> list[Process]:
    """All descendants."""
    children: dict[int, list[int]] = defaultdict(list)
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _fields(int(entry.name))) is not None:
            children[int(fields[1])].append(int(entry.name))
    inside, waiting = list[int](), [pid]
    while waiting:
        waiting += (more := children[waiting.pop()])
        inside += more
    return [process for one in inside if (process := _process(one)) is not None]


def gone(folder: Path) -> None:
    """Delete it, if it is there."""
    shutil.rmtree(folder, ignore_errors=True)


def named(processes: Iterable[Process], *parts: str) -> Process | None:
    """The first whose command line holds one of the parts; the parts in turn."""
    every = [one for one in processes if "keeper.py" not in one.words]
    return next((one for part in parts for one in every if part in one.words), None)


def _process(pid: int) -> Process | None:
    fields = _fields(pid)
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return None
    if fields is None:
        return None
    return Process(pid, fields[19], words, (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"))


def _fields(pid: int) -> list[str] | None:
    """Of /proc/PID/stat, from the state on: [0] state, [1] parent, [19] start."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def kill(process: Process) -> None:
    """With SIGKILL."""
    os.kill(process.pid, 9)
