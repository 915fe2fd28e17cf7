"""Sampling the next draw while the current one is trained on: at most one version behind (`max_lag: 1`)."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

from postlude.data import Group, Prompt, completion_from_json, completion_to_json
from postlude.errors import TrainingError
from postlude.sources.file import Drawn
from postlude.sources.rollout import RolloutSource


class Ahead:
    """A `RolloutSource` in a thread of its own, one draw ahead of the trainer.

    Draw k + 1 begins when draw k is handed out and ends before the weights of step k are published (`settle`), so every
    completion of a draw is sampled by one version. The sampler must own its weights. A checkpoint holds the draw that
    waits to be trained on: the weights that sampled it are gone by then.
    """

    def __init__(self, source: RolloutSource) -> None:
        self._source = source
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="sampling ahead", daemon=True).start()
        self._pending: Future[Drawn] | None = None
        self._ready: Drawn | None = None

    async def draw(self, step: int, steps: int) -> Drawn:
        """The groups of one step; starts on those of the next."""
        if self._ready is None and self._pending is None:
            self._begin(step, steps)
        await self.settle()
        drawn, self._ready = self._ready, None
        assert drawn is not None
        if step + 1 < steps:
            self._begin(step + 1, steps)
        return drawn

    async def settle(self) -> None:
        """Wait until nothing is being sampled."""
        if self._pending is not None:
            pending, self._pending = self._pending, None
            self._ready = await asyncio.wrap_future(pending)

    def _begin(self, step: int, steps: int) -> None:
        self._pending = asyncio.run_coroutine_threadsafe(self._source.draw(step, steps), self._loop)

    def state(self) -> dict[str, Any]:
        """The source's own state, and the draw that waits. Nothing may be being sampled."""
        assert self._pending is None
        ready = self._ready
        waiting = None
        if ready is not None:
            waiting = {
                "groups": _to_json(ready.groups),
                "sampled": _to_json(ready.sampled),
                "report": ready.report,
                "notes": ready.notes,
                "extra": ready.extra,
            }
        return {**self._source.state(), "ahead": waiting}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._source.restore(state)
        waiting = state.get("ahead")
        if waiting is not None:
            prompts = {p.id: p for p in self._source.prompts}
            groups, sampled = (_from_json(waiting[name], prompts) for name in ("groups", "sampled"))
            self._ready = Drawn(groups, sampled, waiting["report"], waiting["notes"], waiting["extra"])


def _to_json(groups: list[Group]) -> list[Any]:
    return [[g.prompt.id, [completion_to_json(c) for c in g.completions]] for g in groups]


def _from_json(rows: list[Any], prompts: Mapping[str, Prompt]) -> list[Group]:
    lost = [name for name, _ in rows if name not in prompts]
    if lost:
        raise TrainingError(f"the checkpoint holds answers to prompt {lost[0]}, which the data no longer have.")
    return [Group(prompts[name], tuple(map(completion_from_json, found))) for name, found in rows]
