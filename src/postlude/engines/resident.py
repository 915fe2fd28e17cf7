"""Bytes that processes hold, from /proc; None where there is none, or it is another's."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")


def resident(pid: int) -> int | None:
    """Of one process. What it shares with others counts in each of them."""
    with suppress(OSError, ValueError, IndexError):
        return int((PROC / str(pid) / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return None


def of_tree(pid: int) -> int | None:
    """Of a process and all below it, what they share counted once: proportional sizes where the system tells them."""
    sizes = [_share(one) for one in below(pid)]
    known = [one for one in sizes if one is not None]
    return sum(known) if known else None


def below(pid: int) -> Iterator[int]:
    """A process and everything that it has started and that has started that."""
    children: dict[int, list[int]] = defaultdict(list)
    for place in PROC.glob("[0-9]*"):
        with suppress(OSError, ValueError, IndexError):
            stat = (place / "stat").read_text()
            children[int(stat.rpartition(")")[2].split()[1])].append(int(place.name))
    left = [pid]
    while left:
        one = left.pop()
        yield one
        left += children[one]


def _share(pid: int) -> int | None:
    with suppress(OSError, ValueError, IndexError):
        for line in (PROC / str(pid) / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return resident(pid)
