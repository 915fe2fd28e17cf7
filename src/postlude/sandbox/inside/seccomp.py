"""A seccomp filter from the list of allowed system calls, as classic BPF.

A call of another numbering (32-bit x86, x32 with its numbers from 0x40000000) fails like any other not on the list.
"""

from __future__ import annotations

import ctypes
import errno
import struct
from collections.abc import Iterator

from . import kernel
from .syscalls import FILES, GUARDED, NO_SUCH_CALL, PLAIN, PRETENDED, Where

LOAD, AND, EQUAL, AT_LEAST, RETURN = 0x20, 0x54, 0x15, 0x35, 0x06
"""BPF_LD|W|ABS, BPF_ALU|AND|K, BPF_JMP|JEQ|K, BPF_JMP|JGE|K, BPF_RET|K (linux/bpf_common.h)."""
FAIL = 0x00050000
AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
NUMBER, ARCH, ARGUMENTS = 0, 4, 16
"""Offsets in struct seccomp_data."""

Instruction = tuple[int, int, int, int]
"""(code, jump if true, jump if false, constant)."""
ALLOW: Instruction = (RETURN, 0, 0, 0x7FFF0000)
DENY: Instruction = (RETURN, 0, 0, FAIL | errno.EPERM)


def filter_for(machine: str, files: bool = False) -> list[Instruction]:
    """The filter; `files` adds the calls that work on files. Raises KeyError for a machine it has no numbers of."""
    start = [
        (LOAD, 0, 0, ARCH),
        (EQUAL, 1, 0, AUDIT_ARCH[machine]),
        DENY,
        (LOAD, 0, 0, NUMBER),
    ]
    return [*start, *_tree(_segments(_answers(machine, files)))]


def _answers(machine: str, files: bool) -> dict[int, list[Instruction]]:
    """Number of a call -> what the filter does about it, ending in a return. The rest is denied."""
    column = ("x86_64", "aarch64").index(machine)
    plain = {**PLAIN, **(FILES if files else {})}
    answers = {n[column]: [ALLOW] for n in plain.values()}
    answers |= {n[column]: [(RETURN, 0, 0, FAIL | errno.ENOSYS)] for n in NO_SUCH_CALL.values()}
    answers |= {} if files else {n[column]: [(RETURN, 0, 0, FAIL)] for n in PRETENDED.values()}
    for *numbers, conditions in GUARDED.values():
        answers[numbers[column]] = [*(step for c in conditions for step in _check(c)), ALLOW]
    return {number: answer for number, answer in answers.items() if number is not None}


def _segments(answers: dict[int, list[Instruction]]) -> list[tuple[int, list[Instruction]]]:
    """(first number, answer) of neighbouring calls with the same one; from 0 on, without gaps."""
    segments: list[tuple[int, list[Instruction]]] = []
    for number in range(max(answers) + 2):
        answer = answers.get(number, [DENY])
        if not segments or segments[-1][1] != answer:
            segments.append((number, answer))
    return segments


def _tree(segments: list[tuple[int, list[Instruction]]]) -> list[Instruction]:
    """Binary search for the segment: the kernel walks the filter for every call there is when it is installed."""
    if len(segments) == 1:
        return segments[0][1]
    middle = len(segments) // 2
    below, above = _tree(segments[:middle]), _tree(segments[middle:])
    return [(AT_LEAST, len(below), 0, segments[middle][0]), *below, *above]


def _check(condition: Where) -> Iterator[Instruction]:
    """Fall through where the condition holds. Both machines store the low half of an argument first."""
    low = ARGUMENTS + 8 * condition.argument
    if condition.wide:
        yield from ((LOAD, 0, 0, low + 4), (EQUAL, 1, 0, 0), DENY)
    yield (LOAD, 0, 0, low)
    if condition.mask != 0xFFFFFFFF:
        yield (AND, 0, 0, condition.mask)
    for left, value in zip(reversed(range(len(condition.values))), condition.values, strict=True):
        yield (EQUAL, left + 1, 0, value)  # over the values left, and the refusal
    yield DENY


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
