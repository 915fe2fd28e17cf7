"""What a reward function may do to the process it runs in: seen, put right, or refused.

A reward is a user's own code and no enemy. It is not locked up, but what would make the run another one in silence is
undone: a changed default dtype or folder, a child process that comes back, an exit that nobody asked for.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, fields
from typing import Any, NoReturn

from postlude.lazy import torch
from postlude.process import end_child
from postlude.rewards.waits import Waits


@dataclass(frozen=True)
class Surroundings:
    """What the whole process shares and a run depends on. Random generators are not among it: every seed of a run is
    counted from its own."""

    folder: str | None
    dtype: torch.dtype
    device: torch.device
    gradients: bool
    threads: int
    precision: str
    deterministic: bool
    interrupt: Any

    @classmethod
    def now(cls) -> Surroundings:
        try:
            folder = os.getcwd()
        except FileNotFoundError:  # it was deleted under us
            folder = None
        return cls(
            folder, torch.get_default_dtype(), torch.get_default_device(), torch.is_grad_enabled(),
            torch.get_num_threads(), torch.get_float32_matmul_precision(),
            torch.are_deterministic_algorithms_enabled(), signal.getsignal(signal.SIGINT),
        )  # fmt: skip

    def restore(self) -> list[str]:
        """Put back what is another now; what that was, in words."""
        now = Surroundings.now()
        changed = [f.name for f in fields(self) if getattr(self, f.name) != getattr(now, f.name)]
        able = [name for name in changed if name != "interrupt" or _in_main_thread()]
        for name in able:
            _WORDS[name][0](getattr(self, name))
        return [_WORDS[name][1] for name in able]


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _set_device(device: torch.device) -> None:
    torch.set_default_device(None if device.type == "cpu" else device)  # any other value slows every call of torch


_WORDS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "folder": (lambda folder: folder and os.chdir(folder), "the current folder"),
    "dtype": (lambda dtype: torch.set_default_dtype(dtype), "torch's default dtype"),
    "device": (lambda device: _set_device(device), "torch's default device"),
    "gradients": (lambda on: torch.set_grad_enabled(on), "whether torch keeps gradients"),
    "threads": (lambda count: torch.set_num_threads(count), "the number of torch's threads"),
    "precision": (lambda how: torch.set_float32_matmul_precision(how), "the precision of torch's products"),
    "deterministic": (lambda on: torch.use_deterministic_algorithms(on), "torch's deterministic algorithms"),
    "interrupt": (lambda handler: signal.signal(signal.SIGINT, handler), "what Ctrl-C does"),
}
"""Part of the surroundings -> how it is set, and what it is called."""


@dataclass
class Guard:
    """Around every call of a run's rewards. Asynchronous ones overlap: what they share is that of before the first."""

    waits: Waits = field(default_factory=Waits)
    notes: list[str] = field(default_factory=list[str])
    """What was put right; each is said once."""
    _under_way: int = 0
    _before: Surroundings | None = None
    _ends: dict[str, Callable[..., NoReturn]] = field(default_factory=dict[str, "Callable[..., NoReturn]"])
    _told: set[str] = field(default_factory=set[str])

    @contextmanager
    def over(self, label: str, answers: int) -> Iterator[None]:
        """One call of this reward."""
        owner = os.getpid()
        if not self._under_way:
            self._before, self._ends = Surroundings.now(), {name: getattr(os, name) for name in _ENDS}
            for name, really in self._ends.items():
                setattr(os, name, _refused(owner, name, really))
        self._under_way += 1
        try:
            with self.waits.over(label, answers):
                yield
        finally:
            if os.getpid() != owner:
                end_child(f"reward {label}")
            self._under_way -= 1
            if not self._under_way:
                for name, really in self._ends.items():
                    setattr(os, name, really)
            self._put_back(label)

    def limited(self, seconds: float | None) -> AbstractContextManager[None]:
        """The part of a call that runs a plain function."""
        return self.waits.limited(seconds)

    def take_notes(self) -> list[str]:
        """The notes since the last time."""
        found, self.notes = self.notes, []
        return found

    def _put_back(self, label: str) -> None:
        assert self._before is not None
        for what in self._before.restore():
            text = f"reward {label} changed {what}; it is put back after each call, since the run depends on it"
            if text not in self._told:
                self._told.add(text)
                self.notes.append(text)


_ENDS = ("_exit", "execv", "execve")
"""Functions of `os` that end the process as it is; the other `exec...` go through the last two."""


def _refused(owner: int, name: str, really: Callable[..., NoReturn]) -> Callable[..., NoReturn]:
    """One of _ENDS while a reward runs: of this process an error, of a child it forked what it always is."""

    def end(*args: Any, **kwargs: Any) -> NoReturn:
        if os.getpid() != owner:
            really(*args, **kwargs)
        given = ", ".join(repr(arg) for arg in args[:1])
        raise SystemExit(f"os.{name}({given}) was called, which would end the run without a word")

    return end
