"""A trainer that servers are compared with: at work on one thing at a time, and known to have moved or not."""

from __future__ import annotations

from asyncio import Lock
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from postlude.batch import Batch
from postlude.engines.protocol import Part, Rates, Skip, Trainer, Weights
from postlude.objectives import Outputs, Want
from postlude.runs.stats import Stats

if TYPE_CHECKING:
    import torch


class Attended:
    """A `Trainer` whose passes wait for each other. `turn` is entered for each: where servers share its device, they
    sleep within."""

    def __init__(self, trainer: Trainer, turn: Callable[[], AbstractAsyncContextManager[object]] = nullcontext) -> None:
        self._trainer, self._turn = trainer, turn
        self._at_work = Lock()
        self.changed = False
        """Whether the weights are others than those that were published last, or are about to be."""

    @asynccontextmanager
    async def idle(self) -> AsyncGenerator[bool]:
        """Whether its weights are those that were published last; they stay so within."""
        if self._at_work.locked():
            yield False
            return
        async with self._at_work:
            yield not self.changed

    async def forward(self, batch: Batch, want: Want) -> Outputs:
        async with self._turn(), self._at_work:
            return await self._trainer.forward(batch, want)

    async def update(self, parts: Sequence[Part], rates: Rates) -> tuple[list[Stats], Stats]:
        async with self._turn(), self._at_work:
            self.changed = True
            return await self._trainer.update(parts, rates)

    async def refresh_reference(self, mix: float = 1.0) -> None:
        async with self._turn(), self._at_work:
            await self._trainer.refresh_reference(mix)

    def leave_out(self, skip: Skip) -> Stats:
        return self._trainer.leave_out(skip)

    async def publish(self) -> Weights:
        return await self._trainer.publish()

    async def save(self, folder: Path) -> None:
        await self._trainer.save(folder)

    async def load(self, folder: Path, reference: bool = True) -> None:
        self.changed = True
        await self._trainer.load(folder, reference)

    @property
    def version(self) -> int:
        return self._trainer.version

    @version.setter
    def version(self, number: int) -> None:
        self._trainer.version = number

    @property
    def skip(self) -> Skip | None:
        return self._trainer.skip

    @skip.setter
    def skip(self, why: Skip | None) -> None:
        self._trainer.skip = why

    @property
    def references(self) -> int:
        return self._trainer.references

    @property
    def dtype(self) -> torch.dtype:
        return self._trainer.dtype

    @property
    def on_progress(self) -> Callable[[int], None] | None:
        return self._trainer.on_progress

    @on_progress.setter
    def on_progress(self, hear: Callable[[int], None] | None) -> None:
        self._trainer.on_progress = hear

    @property
    def on_smaller(self) -> Callable[[str], None]:
        return self._trainer.on_smaller

    @on_smaller.setter
    def on_smaller(self, hear: Callable[[str], None]) -> None:
        self._trainer.on_smaller = hear
