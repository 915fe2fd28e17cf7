"""What the whole process shares and a run depends on: seen before a user's function, put back after it."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from postlude.lazy import torch


@dataclass(frozen=True)
class _Shared:
    """One such thing: what it is called, how it is read and set, and whether only the main thread can."""

    name: str
    read: Callable[[], Any]
    put: Callable[[Any], Any]
    main: bool = False


def _folder() -> str | None:
    try:
        return os.getcwd()
    except FileNotFoundError:  # it was deleted under us
        return None


def _handler(signum: signal.Signals, name: str) -> _Shared:
    return _Shared(name, lambda: signal.getsignal(signum), lambda handler: signal.signal(signum, handler), main=True)


SHARED = (
    _Shared("the current folder", _folder, lambda folder: folder and os.chdir(folder)),
    _Shared("torch's default dtype", lambda: torch.get_default_dtype(), lambda x: torch.set_default_dtype(x)),
    _Shared(
        "torch's default device",
        lambda: torch.get_default_device(),
        # any other value slows every call of torch
        lambda x: torch.set_default_device(None if x.type == "cpu" else x),
    ),
    _Shared("whether torch keeps gradients", lambda: torch.is_grad_enabled(), lambda x: torch.set_grad_enabled(x)),
    _Shared("the number of torch's threads", lambda: torch.get_num_threads(), lambda x: torch.set_num_threads(x)),
    _Shared(
        "the precision of torch's products",
        lambda: torch.get_float32_matmul_precision(),
        lambda x: torch.set_float32_matmul_precision(x),
    ),
    _Shared(
        "torch's deterministic algorithms",
        lambda: torch.are_deterministic_algorithms_enabled(),
        lambda x: torch.use_deterministic_algorithms(x),
    ),
    _Shared(
        "what happens to errors that nobody catches",
        lambda: sys.excepthook,
        lambda hook: setattr(sys, "excepthook", hook),
    ),
    _Shared("how deep functions may nest", sys.getrecursionlimit, sys.setrecursionlimit),
    _handler(signal.SIGINT, "what Ctrl-C does"),
    _handler(signal.SIGTERM, "what SIGTERM does"),
    _handler(signal.SIGHUP, "what SIGHUP does"),
    _Shared("the alarm clock (it was left running)", lambda: signal.getitimer(signal.ITIMER_REAL)[0] > 0,
            lambda on: on or signal.setitimer(signal.ITIMER_REAL, 0)),
)  # fmt: skip
"""Random generators are not among it: every seed of a run is counted from its own."""


@dataclass(frozen=True)
class Surroundings:
    """The values of SHARED at one moment."""

    values: tuple[Any, ...]

    @classmethod
    def now(cls) -> Surroundings:
        return cls(tuple(shared.read() for shared in SHARED))

    def restore(self) -> list[str]:
        """Put back what is another now; what that was, in words."""
        in_main = threading.current_thread() is threading.main_thread()
        names: list[str] = []
        for shared, before, now in zip(SHARED, self.values, Surroundings.now().values, strict=True):
            if before != now and (in_main or not shared.main):
                shared.put(before)
                names.append(shared.name)
        return names


class Streams:
    """Standard output and error: the files of the system and Python's objects on them."""

    def __init__(self) -> None:
        self._spare = {fd: os.dup(fd) for fd in (1, 2) if _identity(fd) is not None}
        """Copies that survive a close."""
        self._files = {fd: _identity(fd) for fd in self._spare}
        self._objects = {1: sys.stdout, 2: sys.stderr}

    def restore(self) -> list[str]:
        """Open again what was closed, and bring back what was replaced; what that was, in words."""
        return [name for fd, name in ((1, "standard output"), (2, "standard error")) if self._restored(fd)]

    def _restored(self, fd: int) -> bool:
        attribute, before = ("stdout", "stderr")[fd - 1], self._objects[fd]
        moved = fd in self._spare and _identity(fd) != self._files[fd]
        if moved:
            with suppress(OSError):  # the copy was closed, too
                os.dup2(self._spare[fd], fd)
        replaced = getattr(sys, attribute) is not before
        if replaced:
            setattr(sys, attribute, before)
        closed = isinstance(before, io.TextIOWrapper) and before.closed
        if closed:
            raw = io.FileIO(fd, "w", closefd=False)
            self._objects[fd] = io.TextIOWrapper(io.BufferedWriter(raw), "utf-8", "replace", line_buffering=True)
            setattr(sys, attribute, self._objects[fd])
        return moved or replaced or closed

    def close(self) -> None:
        """Let the copies go."""
        for spare in self._spare.values():
            with suppress(OSError):
                os.close(spare)


def _identity(fd: int) -> tuple[int, int] | None:
    """Which file stands behind a number; None where none does."""
    try:
        status = os.fstat(fd)
    except OSError:
        return None
    return status.st_dev, status.st_ino
