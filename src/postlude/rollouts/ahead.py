"""Sampling the next draw while the current one is trained on (`max_lag: 1`)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from postlude.data import groups_from_json, groups_to_json
from postlude.rollouts.rollout import RolloutSource
from postlude.sources.source import Drawn


class Ahead:
    """A `RolloutSource` one draw ahead of a trainer that works in a thread of its own.

    Draw k + 1 begins when draw k is handed out and ends before the weights of step k are published (`settle`), so what
    it samples comes from one version, one step old. The sampler must own its weights. A checkpoint holds the draw that
    waits to be trained on: the weights that sampled it are gone by then.
    """

    def __init__(self, source: RolloutSource) -> None:
        self._source = source
        self._pending: asyncio.Task[Drawn] | None = None
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
            self._ready = await pending

    def close(self) -> None:
        """Stop a draw that nobody will train on."""
        if self._pending is not None:
            self._pending.cancel()

    def _begin(self, step: int, steps: int) -> None:
        self._pending = asyncio.ensure_future(self._source.draw(step, steps))

    def state(self) -> dict[str, Any]:
        """The source's own state, and the draw that waits. Nothing may be being sampled."""
        assert self._pending is None
        ready, waiting = self._ready, None
        if ready is not None:
            waiting = {
                "answers": groups_to_json(ready.groups, ready.sampled),
                "report": ready.report,
                "notes": ready.notes,
                "logged": ready.logged,
                "extra": json.dumps(ready.extra, default=str),  # anything a reward logs, as the rollouts have it
            }
        return {**self._source.state(), "ahead": waiting}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._source.restore(state)
        waiting = state.get("ahead")
        if waiting is not None:
            groups, sampled = groups_from_json(waiting["answers"], self._source.prompts)
            extra = json.loads(waiting["extra"])
            logged = dict(waiting.get("logged", {}))
            self._ready = Drawn(groups, sampled, waiting["report"], waiting["notes"], extra, logged)
