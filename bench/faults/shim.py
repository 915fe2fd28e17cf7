"""Counts what a process does to the files of one folder, and lets an operation of it fail.

Python's own calls are wrapped where they meet the system (open, write, fsync, rename, ...); what native code writes as
a whole (safetensors, tokenizers, torch.save) is one operation. SQLite, which a judge's cache uses, is not seen.
"""

from __future__ import annotations

import builtins
import errno
import io
import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import RLock, local
from typing import Any

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
SPACE = {"create", "write", "mkdir", "symlink", "link", "native write"}
"""Operations that need room on the disk."""
UNSTEADY = "live.json"
"""Its writes follow the clock, so that they are no part of the numbering: they have one of their own."""
real_open = io.open


@dataclass(frozen=True)
class Fault:
    """Which operation fails, from 1 on, and how."""

    at: int
    stays: bool = False
    """The disk stays full, for whatever needs room."""
    unsteady: bool = False
    """Counted among the writes of live.json instead."""


@dataclass
class Shim:
    """The wrapped calls, and what they have seen."""

    folder: str
    fault: Fault | None = None
    on_operation: Callable[[int], None] | None = None
    """Called at every operation, when half of a write is done: a process killed there leaves this."""
    log: list[str] = field(default_factory=list[str])
    """Operations in order, without those on live.json."""
    unsteady: int = 0
    begun: bool = False
    """Whether the operation that fails was reached."""
    synced: dict[str, int] = field(default_factory=dict[str, int])
    """Bytes of each file written to that are on the disk for sure: a power failure may take the rest."""
    _busy: RLock = field(default_factory=RLock)
    _paused: local = field(default_factory=local)

    def install(self) -> None:
        """Wrap the calls of this process for good."""
        self.folder = os.path.realpath(self.folder)
        _wrap_files(self)
        _wrap_system(self)
        _wrap_native(self)

    def strike(self, name: str, path: str) -> Callable[[], None] | None:
        """Count an operation; what is to be done once it is half done, where it fails or is looked at."""
        with self._busy:
            aside = UNSTEADY in path
            if aside:
                self.unsteady += 1
            else:
                self.log.append(f"{name} {os.path.relpath(path, self.folder)}")
            number = self.unsteady if aside else len(self.log)
        if self.on_operation is not None and not aside:
            watch = self.on_operation
            return lambda: watch(number)
        fault = self.fault
        if fault is None:
            return None
        if number == fault.at and aside == fault.unsteady:
            self.begun = True
            return lambda: _no_space(path)
        return (lambda: _no_space(path)) if fault.stays and self.begun and name in SPACE else None

    def writes_to(self, path: str, new: bool) -> None:
        """What is written to a file from now on is lost when the power fails, until it is synced."""
        self.synced.setdefault(path, 0)
        self.synced[path] = 0 if new or not os.path.exists(path) else self.synced[path] or os.stat(path).st_size

    def moves(self, source: str, target: str) -> None:
        """A file, or a folder with its files, has another name now."""
        for path in [p for p in self.synced if p == source or p.startswith(source + os.sep)]:
            self.synced[target + path[len(source) :]] = self.synced.pop(path)

    @contextmanager
    def paused(self) -> Generator[None]:
        """Whatever this thread does within is not counted."""
        before = getattr(self._paused, "value", False)
        self._paused.value = True
        try:
            yield
        finally:
            self._paused.value = before

    @property
    def fails(self) -> bool:
        """Whether an operation that is struck raises: the rest of a half-done write is then left out."""
        return self.fault is not None

    def inside(self, path: Any, dir_fd: int | None = None) -> str | None:
        """The absolute path of what is called, where it lies in the folder and is to be counted."""
        if getattr(self._paused, "value", False):
            return None
        try:
            place = os.readlink(f"/proc/self/fd/{path}") if isinstance(path, int) else os.fsdecode(path)
            if dir_fd is not None and not os.path.isabs(place):
                place = os.path.join(os.readlink(f"/proc/self/fd/{dir_fd}"), place)
        except (OSError, TypeError):
            return None
        parent, name = os.path.split(os.path.abspath(place))
        whole = os.path.join(os.path.realpath(parent), name)
        return whole if whole == self.folder or whole.startswith(self.folder + os.sep) else None


def _no_space(path: str) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)


# --------------------------------------------------------------------------------------------------- Python's files


class _Raw(io.FileIO):
    """An unbuffered file whose every system call is counted."""

    shim: Shim
    place: str
    cut: Callable[[], None] | None = None
    """A disk that was full in the middle of a write says so at the next one, as the kernel does."""

    def write(self, data: Any, /) -> int:
        view = memoryview(data).cast("B")
        if self.cut is not None:
            cut, self.cut = self.cut, None
            cut()
        struck = self.shim.strike("write", self.place)
        if struck is None:
            return super().write(view) or 0
        half = super().write(view[: len(view) // 2]) or 0
        if self.shim.fails and half:
            self.cut = struck
            return half
        struck()
        return half + (super().write(view[half:]) or 0)

    def truncate(self, size: int | None = None, /) -> int:
        if (struck := self.shim.strike("truncate", self.place)) is not None:
            struck()
        return super().truncate(size)

    def close(self) -> None:
        if self.closed:
            return
        struck = self.shim.strike("close", self.place)
        super().close()
        if struck is not None:
            struck()


def _wrap_files(shim: Shim) -> None:
    def opening(
        file: Any,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        closefd: bool = True,
        opener: Any = None,
    ) -> Any:
        place = shim.inside(file) if set(mode) & set("wax+") else None
        if place is None:
            return real_open(file, mode, buffering, encoding, errors, newline, closefd, opener)
        if not isinstance(file, int) and opener is None:
            new = "w" in mode or not os.path.exists(place)
            shim.writes_to(place, new)
            if (struck := shim.strike("create" if new else "open", place)) is not None:
                struck()
        plain = mode.replace("b", "").replace("t", "")
        raw = _Raw.__new__(_Raw)
        raw.shim, raw.place = shim, place
        raw.__init__(file, plain, closefd, opener)
        raw.place = shim.inside(raw.fileno()) or place
        if buffering == 0:
            return raw
        buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        if "b" in mode:
            return buffered
        text = io.TextIOWrapper(buffered, encoding, errors, newline, line_buffering=buffering == 1)
        text.mode = mode  # type: ignore[misc]
        return text

    io.open = opening
    builtins.open = opening


# ----------------------------------------------------------------------------------------------------- system calls


def _wrap_system(shim: Shim) -> None:
    for name in ("mkdir", "unlink", "remove", "rmdir", "truncate", "ftruncate", "fsync", "fdatasync"):
        setattr(os, name, _of_one(shim, name, getattr(os, name)))
    for name in ("rename", "replace", "symlink", "link"):
        setattr(os, name, _of_two(shim, name, getattr(os, name)))
    os.open = _opening(shim, os.open)
    os.write = _writing(shim, os.write)  # type: ignore[assignment]
    os.sendfile = _sending(shim, os.sendfile)


def _of_one(shim: Shim, name: str, function: Any) -> Any:
    def call(path: Any, *rest: Any, **named: Any) -> Any:
        place = shim.inside(path, named.get("dir_fd"))
        if place is not None and (struck := shim.strike(name, place)) is not None:
            struck()
        result = function(path, *rest, **named)
        if place is not None and name in ("fsync", "fdatasync") and os.path.isfile(place):
            shim.synced[place] = os.stat(place).st_size
        return result

    return call


def _of_two(shim: Shim, name: str, function: Any) -> Any:
    def call(source: Any, target: Any, *rest: Any, **named: Any) -> Any:
        place = shim.inside(target, named.get("dst_dir_fd", named.get("dir_fd")))
        if place is not None and (struck := shim.strike(name, place)) is not None:
            struck()
        result = function(source, target, *rest, **named)
        if place is not None and name in ("rename", "replace") and (before := shim.inside(source)) is not None:
            shim.moves(before, place)
        return result

    return call


def _opening(shim: Shim, function: Any) -> Any:
    def call(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        place = shim.inside(path, dir_fd) if flags & WRITING else None
        if place is not None:
            new = bool(flags & os.O_TRUNC or not os.path.exists(place))
            shim.writes_to(place, new)
            if (struck := shim.strike("create" if new else "open", place)) is not None:
                struck()
        return function(path, flags, mode, dir_fd=dir_fd)

    return call


def _writing(shim: Shim, function: Any) -> Any:
    cut: dict[int, Callable[[], None]] = {}

    def call(descriptor: int, data: Any) -> int:
        if descriptor in cut:
            cut.pop(descriptor)()
        place = shim.inside(descriptor)
        struck = shim.strike("write", place) if place is not None else None
        if struck is None:
            return function(descriptor, data)
        view = memoryview(data).cast("B")
        half = function(descriptor, view[: len(view) // 2])
        if shim.fails and half:
            cut[descriptor] = struck
            return half
        struck()
        return half + function(descriptor, view[half:])

    return call


def _sending(shim: Shim, function: Any) -> Any:
    def call(target: int, source: int, offset: int | None, count: int) -> int:
        place = shim.inside(target)
        if place is not None and (struck := shim.strike("write", place)) is not None:
            struck()
        return function(target, source, offset, count)

    return call


# ------------------------------------------------------------------------------------------------------ native code


def _wrap_native(shim: Shim) -> None:
    import safetensors
    import safetensors.torch
    import torch
    from safetensors import SafetensorError
    from transformers import PreTrainedTokenizerFast

    full = "I/O error: No space left on device (os error 28)"
    whole = safetensors.torch.serialize_file
    tensors = _whole_file(shim, whole, lambda args, named: args[1] if len(args) > 1 else named["filename"])
    wrapped = _raising(tensors, lambda: SafetensorError(full))
    safetensors.torch.serialize_file = safetensors.serialize_file = wrapped
    torch.save = _whole_file(shim, torch.save, lambda args, named: args[1] if len(args) > 1 else named["f"])
    name = "_save_pretrained"
    saving = getattr(PreTrainedTokenizerFast, name)

    def tokenizer_file(args: Any, named: Any) -> str:
        folder = args[1] if len(args) > 1 else named["save_directory"]
        return os.path.join(folder, "tokenizer.json")

    # the tokenizers library raises a bare Exception
    setattr(
        PreTrainedTokenizerFast,
        name,
        _raising(_whole_file(shim, saving, tokenizer_file), lambda: Exception("No space left on device (os error 28)")),
    )


def _whole_file(shim: Shim, function: Any, path_of: Callable[[Any, Any], Any]) -> Any:
    def call(*args: Any, **named: Any) -> Any:
        place = shim.inside(path_of(args, named))
        struck = shim.strike("native write", place) if place is not None else None
        if place is not None:
            shim.synced[place] = 0
        with shim.paused():  # what Python does within is this operation
            if struck is not None and place is not None:
                function(*args, **named)
                os.truncate(place, os.stat(place).st_size // 2)
        if struck is not None:
            struck()
        with shim.paused():
            return function(*args, **named)

    return call


def _raising(function: Any, error: Callable[[], Exception]) -> Any:
    def call(*args: Any, **named: Any) -> Any:
        try:
            return function(*args, **named)
        except OSError as cause:
            if cause.errno == errno.ENOSPC:
                raise error() from None
            raise

    return call
