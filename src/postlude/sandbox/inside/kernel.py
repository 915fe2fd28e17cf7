"""Linux calls that Python has no function for, by ctypes."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys

LIBC = ctypes.CDLL(None, use_errno=True)
MACHINE = os.uname().machine if sys.platform == "linux" and sys.maxsize > 2**32 else "none"
"""`x86_64` or `aarch64` where the numbers below are known."""

NUMBERS = {
    "x86_64": {
        "fstat": 5,
        "pivot_root": 155,
        "seccomp": 317,
        "landlock_create": 444,
        "landlock_add": 445,
        "landlock_restrict": 446,
    },
    "aarch64": {
        "fstat": 80,
        "pivot_root": 41,
        "seccomp": 277,
        "landlock_create": 444,
        "landlock_add": 445,
        "landlock_restrict": 446,
    },
}
"""arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h of Linux."""

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_CAPBSET_DROP = 1, 4, 24
PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 36, 38, 47
CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x20000, 0x4000000, 0x8000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 32, 4096, 16384, 1 << 18
MNT_DETACH = 2
CAPABILITIES_V3 = 0x20080522


def checked(result: int, what: str) -> int:
    """The result of a call; raises OSError where it is negative."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def syscall(name: str, *arguments: object) -> int:
    """A call of `NUMBERS`. Raises OSError, also where the machine is not one of them."""
    if MACHINE not in NUMBERS:
        raise OSError(f"{name}: the machine {MACHINE} is not supported (x86_64 and aarch64 are)")
    values = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    return checked(LIBC.syscall(ctypes.c_long(NUMBERS[MACHINE][name]), *values), name)


def prctl(option: int, *arguments: int) -> int:
    padded = [ctypes.c_ulong(a) for a in (*arguments, 0, 0, 0, 0)[:4]]
    return checked(LIBC.prctl(ctypes.c_int(option), *padded), f"prctl {option}")


def unshare(flags: int) -> None:
    checked(LIBC.unshare(ctypes.c_int(flags)), "unshare")


def mount(source: str | None, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    words = [None if w is None else w.encode() for w in (source, target, kind, data)]
    checked(LIBC.mount(words[0], words[1], words[2], ctypes.c_ulong(flags), words[3]), f"mount {target}")


def unmount(target: str) -> None:
    checked(LIBC.umount2(target.encode(), MNT_DETACH), f"umount {target}")


def drop_capabilities() -> None:
    """Give up every capability for good, those a later exec could regain included."""
    for capability in range(64):
        try:
            prctl(PR_CAPBSET_DROP, capability)
        except OSError:  # beyond the last one, or not permitted because there is none
            break
    with contextlib.suppress(OSError):  # before Linux 4.3 there are none
        prctl(PR_CAP_AMBIENT, 4)  # PR_CAP_AMBIENT_CLEAR_ALL
    header = (ctypes.c_uint32 * 2)(CAPABILITIES_V3, 0)
    nothing = (ctypes.c_uint32 * 6)()
    checked(LIBC.capset(header, nothing), "capset")
    prctl(PR_SET_NO_NEW_PRIVS, 1)
