"""How much memory a process may still take: of its device, its control groups and its own limits."""

from __future__ import annotations

import ctypes
import os
import resource
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Free:
    """Bytes that can be taken, and what sets that bound, for people."""

    bytes: int
    bound: str


def free(device: torch.device) -> Free:
    """What is free for this process on a device now; the smallest of all bounds."""
    if device.type == "cuda":
        import torch

        reserved = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return Free(torch.cuda.mem_get_info(device)[0] + reserved, "the GPU's memory")
    return free_of_host()


def free_of_host() -> Free:
    """What is free on a CPU."""
    return min((*_machine(), *_groups(), *_limits()), key=lambda free_memory: free_memory.bytes)


def _machine(root: Path = Path("/")) -> list[Free]:
    """Memory that the kernel can give without swapping; where it does not say (macOS), half of what is built in."""
    try:
        lines = (root / "proc/meminfo").read_text().splitlines()
        available = next(line for line in lines if line.startswith("MemAvailable:"))
        return [Free(1024 * int(available.split()[1]), "the machine's memory")]
    except (OSError, StopIteration):
        return [Free(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2, "half of the machine's memory")]


def _groups(root: Path = Path("/")) -> list[Free]:
    """Room in the control groups this process is in, those above them included (versions 1 and 2).

    Inside a container the paths may be those of the host; what lies there is then read from the mount itself.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    limits = []
    for line in lines:
        _, kinds, path = line.split(":", 2)
        if kinds and "memory" not in kinds.split(","):
            continue
        top = root / "sys/fs/cgroup" / ("memory" if kinds else "")
        group = top / path.lstrip("/")
        folders = [group, *(p for p in group.parents if p.is_relative_to(top))]
        limits += [Free(room, "the control group's limit") for f in folders for room in _rooms(f, old=bool(kinds))]
    return limits


def _rooms(folder: Path, old: bool) -> list[int]:
    """Bytes left under each limit of one control group; cached files that nobody reads count as free."""
    used = _number(folder / ("memory.usage_in_bytes" if old else "memory.current"))
    names = ("memory.limit_in_bytes",) if old else ("memory.max", "memory.high")
    limits = [limit for name in names if (limit := _number(folder / name)) is not None]
    if used is None or not limits:
        return []
    try:
        stats = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except OSError:
        stats = {}
    cached = int(stats.get("total_inactive_file" if old else "inactive_file", 0))
    return [max(0, limit - used + cached) for limit in limits]


def _number(path: Path) -> int | None:
    """The number in a file; None where there is no such file, or `max` in it."""
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def _limits() -> list[Free]:
    """What the limits on address space and data (`ulimit -v`, `ulimit -d`) leave."""
    try:
        pages = [int(n) for n in Path("/proc/self/statm").read_text().split()]
    except OSError:
        return []
    used = {resource.RLIMIT_AS: pages[0], resource.RLIMIT_DATA: pages[5]}
    limits = []
    for kind, count in used.items():
        limit = resource.getrlimit(kind)[0]
        if limit != resource.RLIM_INFINITY:
            limits.append(Free(max(0, limit - count * resource.getpagesize()), "the process's limit (ulimit)"))
    return limits


def give_back() -> None:
    """Give back what is held for nobody: the GPU's cached blocks, and to the kernel, where it can (glibc), what passes
    have left on the C library's heap. Else that would stand beside what comes next."""
    import torch

    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError):  # another C library, as on macOS
        return
    trim(0)
