"""Landlock: no file, no TCP port, no signal and no abstract socket beyond the process itself."""

from __future__ import annotations

import ctypes
import os

from . import kernel

EXECUTE, MAKE_CHAR, MAKE_SOCK, MAKE_FIFO, MAKE_BLOCK, MAKE_SYM = 1 << 0, 1 << 6, 1 << 9, 1 << 10, 1 << 11, 1 << 12
UNWANTED = EXECUTE | MAKE_CHAR | MAKE_SOCK | MAKE_FIFO | MAKE_BLOCK | MAKE_SYM
"""What nobody may do even in a scratch folder."""

FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 5: 16}
"""ABI -> how many rights over files it knows (include/uapi/linux/landlock.h)."""


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("folder", ctypes.c_int32))


def abi() -> int:
    """The kernel's version of Landlock, 0 where there is none."""
    try:
        return kernel.syscall("landlock_create", 0, 0, 1)
    except OSError:
        return 0


def rights_over_files(version: int) -> int:
    return (1 << max(n for abi, n in FILE_RIGHTS.items() if abi <= version)) - 1


def ruleset(version: int, scratch: str | None = None) -> int:
    """A descriptor of the rules: everything the version can forbid, but work in the folder `scratch`."""
    files = rights_over_files(version)
    network = 3 if version >= 4 else 0
    scoped = 3 if version >= 6 else 0
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    wanted = (ctypes.c_uint64 * 3)(files, network, scoped)
    rules = kernel.syscall("landlock_create", ctypes.byref(wanted), size, 0)
    if scratch is not None:
        folder = os.open(scratch, os.O_PATH | os.O_CLOEXEC)
        beneath = _Beneath(files & ~UNWANTED, folder)
        kernel.syscall("landlock_add", rules, 1, ctypes.byref(beneath), 0)
        os.close(folder)
    return rules


def restrict(rules: int) -> None:
    """Put this process, and all it may ever start, under the rules."""
    kernel.syscall("landlock_restrict", rules, 0)
