"""Standard input and output as programs of contests use them, where nothing can be opened.

What needs a system call that names a file is answered in Python: the filter cannot tell `fstat` as the C library
makes it from a look at any file. Nothing here lets a program do what its system calls do not.
"""

from __future__ import annotations

import builtins
import ctypes
import io
import os
import struct
import sys
from typing import Any

from . import kernel

STREAMS = {
    name: number
    for number, word in enumerate(("stdin", "stdout", "stderr"))
    for name in (f"/dev/{word}", f"/dev/fd/{number}", f"/proc/self/fd/{number}")
}
"""Names of the descriptors that a program has."""
SIZE_OF_STAT, TIMES = 144, 72
"""Of struct stat on both machines: its bytes, and where its times begin."""


def prepare() -> None:
    """For every program that this process will fork: nothing of ours in sys.argv, and streams that open by name."""
    sys.argv[:] = sys.orig_argv[:] = ["answer.py"]
    builtins.open = io.open = _opening(io.open)
    os.open = _opening_descriptor(os.open)
    if kernel.MACHINE in kernel.NUMBERS:
        os.fstat = _fstat


def _opening(true: Any) -> Any:
    def open(file: Any, *args: Any, **kwargs: Any) -> Any:
        return true(_descriptor(file), *args, **kwargs)

    return open


def _opening_descriptor(true: Any) -> Any:
    def open(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        descriptor = _descriptor(path)
        return true(path, flags, mode, dir_fd=dir_fd) if descriptor is path else descriptor

    return open


def _descriptor(file: Any) -> Any:
    """A descriptor of its own for a stream by name, anything else as it is."""
    name = os.fspath(file) if isinstance(file, os.PathLike) else file
    number = STREAMS.get(name) if isinstance(name, str) else None
    return file if number is None else os.dup(number)


def _fstat(fd: int) -> os.stat_result:
    """os.fstat by the older system call, which takes a descriptor and no name."""
    buffer = ctypes.create_string_buffer(SIZE_OF_STAT)
    kernel.syscall("fstat", fd, ctypes.byref(buffer))
    if kernel.MACHINE == "x86_64":
        device, inode, links, mode, user, group, _, _, size = struct.unpack_from("<3Q4IQq", buffer)
    else:
        device, inode, mode, links, user, group, _, _, size = struct.unpack_from("<2Q4I2Qq", buffer)
    times = struct.unpack_from("<6q", buffer, TIMES)
    return os.stat_result((mode, inode, device, links, user, group, size, *times[::2]))
