"""Limits of one program's resources, and whose rights it runs with."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator

from . import kernel

UNUSED = 2_000_000_000
"""Users from here on belong to nobody: above what useradd, subuid and systemd hand out."""
MOST_PROCESSES, MOST_FILES = 64, 64


def apply(memory: int, seconds: float, scratch: int | None, own_user: bool) -> None:
    """`memory` and `scratch` in MiB; None leaves files alone. Hard limits equal soft ones: they only go down."""
    wanted = {
        resource.RLIMIT_AS: memory << 20,
        resource.RLIMIT_CPU: int(seconds) + 2,  # the supervisor looks sooner, but at many threads too late
        resource.RLIMIT_NOFILE: MOST_FILES,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
        resource.RLIMIT_RTPRIO: 0,
        resource.RLIMIT_NICE: 0,
    }
    if scratch is not None:
        wanted[resource.RLIMIT_FSIZE] = scratch << 20
    if own_user:  # else every process of the trainer's user would count; threads are then bounded by memory
        wanted[resource.RLIMIT_NPROC] = MOST_PROCESSES
    for which, value in wanted.items():
        _, hard = resource.getrlimit(which)
        lower = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(which, (lower, lower))


def become_nobody(number: int) -> int | None:
    """Change from root to a user that nobody is, a different one for each `number`; None where this is not root.

    Raises OSError where no such user can be had.
    """
    if os.geteuid() != 0:
        return None
    for user in _users(number):
        try:
            os.setgroups([])
            os.setresgid(user, user, user)
            os.setresuid(user, user, user)
        except OSError:
            continue
        kernel.prctl(kernel.PR_SET_DUMPABLE, 1)  # else /proc/self belongs to root and no user map can be written
        return user
    raise OSError("cannot change from root to another user")


def _users(number: int) -> Iterator[int]:
    """The user of that number; in a container that maps few users, the last of those."""
    yield UNUSED + number
    try:
        with open("/proc/self/uid_map") as file:
            ranges = [[int(word) for word in line.split()] for line in file]
    except OSError:  # there is no /proc
        return
    yield from (first + count - 1 for first, _, count in ranges if first + count > 1)
