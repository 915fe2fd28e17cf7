"""A seccomp filter from the list of allowed system calls, as classic BPF.

A call of another machine's numbering (32-bit x86, x32) fails like any other that is not on the list.
"""

from __future__ import annotations

import ctypes
import errno
import struct
from collections.abc import Iterator

from . import kernel
from .syscalls import FILES, GUARDED, NO_SUCH_CALL, PLAIN, Where

LOAD, AND, EQUAL, AT_LEAST, RETURN = 0x20, 0x54, 0x15, 0x35, 0x06
"""BPF_LD|W|ABS, BPF_ALU|AND|K, BPF_JMP|JEQ|K, BPF_JMP|JGE|K, BPF_RET|K (linux/bpf_common.h)."""
ALLOW, FAIL = 0x7FFF0000, 0x00050000
AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
X32 = 0x40000000
NUMBER, ARCH, ARGUMENTS = 0, 4, 16
"""Offsets in struct seccomp_data."""

Instruction = tuple[int, int, int, int]
"""(code, jump if true, jump if false, constant)."""


def filter_for(machine: str, files: bool = False) -> list[Instruction]:
    """The filter; `files` adds the calls that work on files. Raises KeyError for a machine it has no numbers of."""
    column = ("x86_64", "aarch64").index(machine)
    deny = (RETURN, 0, 0, FAIL | errno.EPERM)
    program: list[Instruction] = [
        (LOAD, 0, 0, ARCH),
        (EQUAL, 1, 0, AUDIT_ARCH[machine]),
        deny,
        (LOAD, 0, 0, NUMBER),
        (AT_LEAST, 0, 1, X32),
        deny,
    ]
    for numbers in [*PLAIN.values(), *(FILES.values() if files else ())]:
        number = numbers[column]
        if number is not None:
            program += [(EQUAL, 0, 1, number), (RETURN, 0, 0, ALLOW)]
    for *numbers, conditions in GUARDED.values():
        program += _guarded(numbers[column], conditions)
    for numbers in NO_SUCH_CALL.values():
        program += [(EQUAL, 0, 1, numbers[column]), (RETURN, 0, 0, FAIL | errno.ENOSYS)]
    return [*program, deny]


def _guarded(number: int, conditions: tuple[Where, ...]) -> list[Instruction]:
    """Allow the call where every condition holds, else fail; other calls pass on to what follows."""
    body = [step for condition in conditions for step in _check(condition)]
    body.append((RETURN, 0, 0, ALLOW))
    return [(EQUAL, 0, len(body), number), *body]


def _check(condition: Where) -> Iterator[Instruction]:
    """Fall through where the condition holds. Both machines store the low half of an argument first."""
    deny = (RETURN, 0, 0, FAIL | errno.EPERM)
    low = ARGUMENTS + 8 * condition.argument
    if condition.wide:
        yield from ((LOAD, 0, 0, low + 4), (EQUAL, 1, 0, 0), deny)
    yield (LOAD, 0, 0, low)
    if condition.mask != 0xFFFFFFFF:
        yield (AND, 0, 0, condition.mask)
    for left, value in zip(reversed(range(len(condition.values))), condition.values, strict=True):
        yield (EQUAL, left + 1, 0, value)  # over the values left, and the refusal
    yield deny


class Filter:
    """A filter laid out for the kernel, so that installing it is one call."""

    def __init__(self, program: list[Instruction]) -> None:
        code = b"".join(struct.pack("HBBI", *step) for step in program)
        self._code = ctypes.create_string_buffer(code, len(code))
        self._header = _Program(len(program), ctypes.addressof(self._code))

    def install(self) -> None:
        """From here on this process may make only the calls of the list. For good."""
        kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
        kernel.syscall("seccomp", 1, 0, ctypes.byref(self._header))


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_void_p))


def available() -> bool:
    """Whether the kernel takes filters: it faults on a filter at no address, where it knows the call."""
    if kernel.MACHINE not in AUDIT_ARCH:
        return False
    try:
        kernel.syscall("seccomp", 1, 0, 0)
    except OSError as error:
        return error.errno == errno.EFAULT
    return True
