"""What a run saves: after a step, or in its middle, before servers get the weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from postlude.engines.protocol import Engine
from postlude.plan import Plan
from postlude.runs.folder import Run
from postlude.runs.saving import Save
from postlude.streams import Stream


async def checkpoint(
    run: Run, engine: Engine, streams: Sequence[Stream], plan: Plan, planned: bool = True, last: bool = False
) -> None:
    """Weights, optimiser, and what the streams have to remember."""
    state = _state(engine, streams, plan)
    await run.checkpoint(_saving(engine, streams), state, plan.keep_checkpoints, planned, plan.best.step, last)


async def commit(run: Run, engine: Engine, streams: Sequence[Stream], plan: Plan) -> None:
    """The same in the middle of a step, with all that is still to be done of it."""
    plan.find_due(run.step)
    await run.commit(_saving(engine, streams), _state(engine, streams, plan), plan.keep_checkpoints, plan.best.step)


def _saving(engine: Engine, streams: Sequence[Stream]) -> Save:
    async def save(folder: Path) -> None:
        await engine.save(folder)
        for stream in streams:
            stream.save(folder)

    return save


def _state(engine: Engine, streams: Sequence[Stream], plan: Plan) -> dict[str, Any]:
    """What a checkpoint keeps as JSON. A commit's files become a checkpoint's once their weights are published, and
    name the version before that: the number that holds is this one."""
    return {
        "version": engine.trainer.version,
        "streams": {s.name: s.state() for s in streams},
        "learning": asdict(plan.learning),
        "noted": plan.noted,
        "began": plan.began,
        "reached": plan.due.reached,
        "due": asdict(plan.due),
        "best": asdict(plan.best),
        **({"truth": plan.first_measured.state()} if plan.first_measured else {}),
        "spent": asdict(plan.spent),
    }
