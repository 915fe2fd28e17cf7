"""How many threads of the processor a piece of work takes, and in which thread of the process it is done."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import nn

R = TypeVar("R")
SMALL = 5_000_000
"""Parameters under which one CPU thread is faster than several."""


class Workplace:
    """A context in which torch uses so many threads; outside of it nothing has changed.

    `apart` does the work in a thread of its own, so that what samples in the event loop goes on meanwhile.
    """

    def __init__(self, threads: int | None = None, apart: bool = False) -> None:
        self.threads, self.apart = threads, apart
        self._before: list[int] = []

    @classmethod
    def of(cls, net: nn.Module, threads: int | None = None, apart: bool = False) -> Workplace:
        """With one thread for a small model, which is faster then; else with as many as torch chooses."""
        small = sum(p.numel() for p in net.parameters()) < SMALL
        return cls(threads or (1 if small else None), apart)

    def __enter__(self) -> None:
        self._before.append(torch.get_num_threads())
        if self.threads:
            torch.set_num_threads(self.threads)

    def __exit__(self, *error: Any) -> None:
        torch.set_num_threads(self._before.pop())

    async def do(self, work: Callable[[], R]) -> R:
        """The result of `work`."""
        return await asyncio.to_thread(self._within, work) if self.apart else self._within(work)

    def _within(self, work: Callable[[], R]) -> R:
        with self:
            return work()
