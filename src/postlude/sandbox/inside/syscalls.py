"""The system calls a plain Python program needs, on both machines. Everything else fails with EPERM.

A call is allowed as it is, or only with certain arguments (`Where`). Left out on purpose, among many: everything that
names a file, a process or a socket's address, every way to make a process, and the kernel's richer interfaces
(io_uring, bpf, keyrings, perf, userfaultfd, memfd, splice, ptrace, namespaces, message queues, shared memory).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Where:
    """Argument number `argument`, after `mask`, is one of `values`; `wide` looks at all 64 bits of it."""

    argument: int
    values: tuple[int, ...]
    mask: int = 0xFFFFFFFF
    wide: bool = False


NULL = (0,)
THREAD = Where(0, (0x3D0F00, 0x7D0F00))
"""The flags glibc and musl make a thread with; no other clone is allowed. clone3 hides its flags behind a pointer."""
COMMANDS = (0, 1, 2, 3, 4, 1030)
"""fcntl: DUPFD, GETFD, SETFD, GETFL, SETFL, DUPFD_CLOEXEC. F_SETOWN would send signals to other processes."""
CONTROLS = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
"""ioctl: TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX. TIOCSTI would type into a terminal."""
WAITING = Where(1, (0, 1, 3, 4, 5, 9, 10), mask=0x7F)
"""futex without priority inheritance."""

PLAIN: dict[str, tuple[int | None, int | None]] = {
    "read": (0, 63),
    "write": (1, 64),
    "readv": (19, 65),
    "writev": (20, 66),
    "close": (3, 57),
    "close_range": (436, 436),
    "lseek": (8, 62),
    "fstat": (5, 80),
    "dup": (32, 23),
    "dup2": (33, None),
    "dup3": (292, 24),
    "pipe": (22, None),
    "pipe2": (293, 59),
    "poll": (7, None),
    "ppoll": (271, 73),
    "select": (23, None),
    "pselect6": (270, 72),
    "epoll_create1": (291, 20),
    "epoll_ctl": (233, 21),
    "epoll_wait": (232, None),
    "epoll_pwait": (281, 22),
    "recvfrom": (45, 207),
    "mmap": (9, 222),
    "munmap": (11, 215),
    "mprotect": (10, 226),
    "mremap": (25, 216),
    "brk": (12, 214),
    "madvise": (28, 233),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "rt_sigpending": (127, 136),
    "rt_sigtimedwait": (128, 137),
    "rt_sigsuspend": (130, 133),
    "sigaltstack": (131, 132),
    "pause": (34, None),
    "alarm": (37, None),
    "getitimer": (36, 102),
    "setitimer": (38, 103),
    "restart_syscall": (219, 128),
    "set_robust_list": (273, 99),
    "rseq": (334, 293),
    "gettid": (186, 178),
    "sched_yield": (24, 124),
    "sched_getaffinity": (204, 123),
    "getcpu": (309, 168),
    "exit": (60, 93),
    "exit_group": (231, 94),
    "time": (201, None),
    "times": (100, 153),
    "gettimeofday": (96, 169),
    "clock_gettime": (228, 113),
    "clock_getres": (229, 114),
    "clock_nanosleep": (230, 115),
    "nanosleep": (35, 101),
    "getrusage": (98, 165),
    "getrlimit": (97, 163),
    "getpid": (39, 172),
    "getppid": (110, 173),
    "getuid": (102, 174),
    "geteuid": (107, 175),
    "getgid": (104, 176),
    "getegid": (108, 177),
    "getresuid": (118, 148),
    "getresgid": (120, 150),
    "getgroups": (115, 158),
    "getpgrp": (111, None),
    "getpgid": (121, 155),
    "getsid": (124, 156),
    "uname": (63, 160),
    "getcwd": (79, 17),
    "getrandom": (318, 278),
}
"""Name -> its number on (x86_64, aarch64); None where the machine lacks it."""

GUARDED: dict[str, tuple[int, int, tuple[Where, ...]]] = {
    "futex": (202, 98, (WAITING,)),
    "clone": (56, 220, (THREAD,)),
    "fcntl": (72, 25, (Where(1, COMMANDS),)),
    "ioctl": (16, 29, (Where(1, CONTROLS),)),
    "prctl": (157, 167, (Where(0, (15, 16)),)),  # a thread's name, set and read
    "prlimit64": (302, 261, (Where(0, NULL), Where(2, NULL, wide=True))),  # one's own limits, to read
    "socketpair": (53, 199, (Where(0, (1,)), Where(1, (1,), mask=0xF), Where(2, NULL))),  # asyncio: unix streams
    "sendto": (44, 206, (Where(4, NULL, wide=True),)),  # to the other end only
}

FILES: dict[str, tuple[int | None, int | None]] = {
    "open": (2, None),
    "openat": (257, 56),
    "stat": (4, None),
    "lstat": (6, None),
    "newfstatat": (262, 79),
    "statx": (332, 291),
    "access": (21, None),
    "faccessat": (269, 48),
    "faccessat2": (439, 439),
    "getdents64": (217, 61),
    "readlink": (89, None),
    "readlinkat": (267, 78),
    "mkdir": (83, None),
    "mkdirat": (258, 34),
    "rmdir": (84, None),
    "unlink": (87, None),
    "unlinkat": (263, 35),
    "rename": (82, None),
    "renameat": (264, 38),
    "renameat2": (316, 276),
    "truncate": (76, 45),
    "ftruncate": (77, 46),
    "chdir": (80, 49),
    "fchdir": (81, 50),
    "pread64": (17, 67),
    "pwrite64": (18, 68),
    "fsync": (74, 82),
    "fdatasync": (75, 83),
    "fchmod": (91, 52),
    "utimensat": (280, 88),
    "flock": (73, 32),
}
"""What the profile `files` adds."""

NO_SUCH_CALL = {"clone3": (435, 435)}
"""ENOSYS: glibc then falls back to the older call."""

PRETENDED: dict[str, tuple[int | None, int | None]] = {"mkdir": (83, None), "mkdirat": (258, 34)}
"""Without files: answered with success, and nothing is done. Programs make folders first that they then do not need."""
