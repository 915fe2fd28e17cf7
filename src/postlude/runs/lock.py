"""One process at a time writes to a run."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import IO
from weakref import WeakSet

from postlude.errors import ConfigError, RunLocked

_held: WeakSet[IO[str]] = WeakSet()


def _let_go() -> None:
    """A child that is forked off does not hold its parent's runs: it may live on when they have ended."""
    for lock in list(_held):
        lock.close()


os.register_at_fork(after_in_child=_let_go)


def acquire(folder: Path, name: str = "lock") -> IO[str]:
    """An open lock file of a run, held until it is closed or the process ends. Raises RunLocked where another holds
    it, ConfigError where it cannot be written. `name`: `lock` is who trains."""
    try:
        lock = (folder / name).open("a")
    except OSError as error:
        raise ConfigError(f"output: cannot write to {str(folder)!r}: {error.strerror}.", code="cannot-write") from error
    try:
        _lock(lock)
    except OSError as error:
        lock.close()
        raise RunLocked(
            f"{str(folder)!r} is being written to by another process (see {folder / name}).", code="run-locked"
        ) from error
    with suppress(OSError):  # it is held, whether or not the disk has room to say by whom
        os.ftruncate(lock.fileno(), 0)
        os.write(lock.fileno(), f"{os.getpid()}\n".encode())
    _held.add(lock)
    return lock


def _lock(lock: IO[str]) -> None:
    """Lock at once. Whoever asks whether it is held holds it for a moment: that is waited for."""
    for _ in range(3):
        with suppress(OSError):
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        time.sleep(0.01)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def is_held(lock: Path) -> bool:
    """Whether a process is writing to the run."""
    if not lock.is_file():  # a pipe, say: whoever opens one may wait for ever
        return False
    try:
        with lock.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False
