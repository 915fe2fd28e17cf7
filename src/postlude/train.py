"""The loop. Every method of the library is this loop; only the streams differ."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace

import torch

from postlude.batch import Batch, minibatches, pack, split
from postlude.engines.protocol import Engine
from postlude.evaluate import Report
from postlude.events import Stats
from postlude.objectives import Objective, Outputs
from postlude.run import Run
from postlude.sources.ahead import Ahead
from postlude.sources.file import Drawn, FileSource
from postlude.sources.rollout import RolloutSource


@dataclass
class Stream:
    """A source with the objective it is trained under."""

    name: str
    source: FileSource | RolloutSource | Ahead
    objective: Objective
    updates: int
    epochs: int
    temperature: float
    coef: float = 1.0

    @property
    def passes(self) -> int:
        """Optimiser steps per draw."""
        return self.updates * self.epochs


@dataclass(frozen=True)
class Plan:
    """What the loop needs to know beyond its streams."""

    steps: int
    seed: int
    rate: Callable[[int], float]
    evaluate: Callable[[], Awaitable[Report]] | None = None
    """Measures the policy on held-out prompts."""
    evaluate_every: int = 0
    stop_at: float | None = None
    checkpoint_every: int = 0
    keep_checkpoints: int = 2


async def train(run: Run, engine: Engine, streams: list[Stream], plan: Plan) -> None:
    """Draw, update, publish, until the steps are done, the goal is reached or Ctrl-C asks to stop."""
    try:
        await _train(run, engine, streams, plan)
    finally:
        for stream in streams:
            stream.source.close()


async def _train(run: Run, engine: Engine, streams: list[Stream], plan: Plan) -> None:
    if run.step == 0:
        await _measure(run, plan)
    while run.step < plan.steps and not run.stop:
        clock = Clock()
        drawn = [await stream.source.draw(run.step, plan.steps) for stream in streams]
        clock.lap("draw")
        if any(isinstance(stream.source, Ahead) for stream in streams):  # sampling goes on here, in the event loop
            batches, stats = await asyncio.to_thread(_update, run, engine, streams, drawn, plan)
        else:
            batches, stats = _update(run, engine, streams, drawn, plan)
        clock.lap("train")
        _report(run, drawn, batches, stats, clock)
        for stream in streams:
            await stream.source.settle()
        engine.sync()
        if await _after(run, engine, streams, plan):
            break
    run.checkpoint(engine.save, _state(streams), plan.keep_checkpoints)
    run.emit("end", reason="interrupted" if run.stop else "done")


def _update(
    run: Run, engine: Engine, streams: list[Stream], drawn: list[Drawn], plan: Plan
) -> tuple[list[Batch], Stats]:
    """Train on what was drawn: the packed batches, and the figures of all updates."""
    stats = Stats()
    used = [(s, _prepare(engine, s, d)) for s, d in zip(streams, drawn, strict=True) if _trainable(d)]
    progress = Progress(total=sum(b.tokens.shape[0] * s.epochs for s, b in used))
    run.training = True
    for update, fresh in _updates(used, plan.seed + run.step):
        for stream, part in update:
            live = _live(engine, part, stream.objective, fresh)
            weighed = stream.objective.weigh(part, live)
            stats += Stats({f"update/{k}": v for k, v in weighed.report.items() if k not in part.report})
            whole = not stream.objective.splits_groups
            for micro in split(weighed, engine.token_budget, whole, engine.shares_prompts):
                stats += engine.trainer.forward_backward(micro, stream.objective, stream.coef)
                progress.tell(run, micro)
        stats += engine.trainer.step(plan.rate(run.step))
    run.training = False
    return [b for _, b in used], stats


def _trainable(drawn: Drawn) -> bool:
    """Whether any completion has a reward and a token; if not, the step is noted and nothing is updated."""
    if any(c.reward is not None and c.tokens for g in drawn.groups for c in g.completions):
        return True
    if drawn.groups:
        drawn.notes.append("every reward abstained on every answer: nothing to train on in this step")
    return False


@dataclass
class Progress:
    """Tokens trained in this step so far, for people to watch."""

    total: int
    done: int = 0

    def tell(self, run: Run, micro: Batch) -> None:
        self.done = min(self.done + micro.tokens.shape[0], self.total)
        run.tell({"kind": "phase", "phase": "train", "step": run.step})
        run.tell({"kind": "progress", "step": run.step, "text": f"{self.done}/{self.total} tokens"})


def _prepare(engine: Engine, stream: Stream, drawn: Drawn) -> Batch:
    """Pack a draw and look up what the objective needs of it: often nothing."""
    batch = pack(drawn.groups, temperature=stream.temperature)
    needs, objective = stream.objective.needs, stream.objective
    uses_ratio = objective.kind == "token" and objective.ratio != "none" and objective.behaviour == "old"
    corrected = objective.kind == "token" and objective.correction is not None
    if "old" in needs or ((uses_ratio or corrected) and stream.passes > 1):
        batch = replace(batch, old_logprobs=engine.trainer.forward(batch, "policy").logprobs)
    if "reference" in needs:
        batch = replace(batch, ref_logprobs=engine.trainer.forward(batch, "reference").logprobs)
    return objective.advantages(batch)


def _updates(used: list[tuple[Stream, Batch]], seed: int) -> Iterator[tuple[list[tuple[Stream, Batch]], bool]]:
    """(parts that share an optimiser step, whether the weights are still those of the draw)."""
    if not used:
        return
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)  # dropout, where a method keeps it
    lead = used[0][0]
    fresh = True
    for _ in range(lead.epochs):
        cut = [minibatches(b, lead.updates, s.objective.keeps_groups, generator) for s, b in used]
        for parts in zip(*cut, strict=True):
            yield [(s, part) for (s, _), part in zip(used, parts, strict=True)], fresh
            fresh = False


def _live(engine: Engine, part: Batch, objective: Objective, fresh: bool) -> Outputs | None:
    """The current policy's outputs for the few objectives that weigh with them; before the first update, the old."""
    if not objective.live:
        return None
    if fresh and part.old_logprobs is not None:
        return Outputs(logprobs=part.old_logprobs)
    return engine.trainer.forward(part, "policy")


class Clock:
    """Seconds of the parts of a step."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.monotonic()

    def lap(self, name: str) -> None:
        now = time.monotonic()
        self.laps[name] = now - self._last
        self._last = now


def _report(run: Run, drawn: list[Drawn], batches: list[Batch], stats: Stats, clock: Clock) -> None:
    figures: dict[str, float] = {}
    for d in drawn:
        for note in d.notes:
            run.emit("note", text=note)
        if d.sampled:
            run.write_rollouts(d.sampled, d.groups, d.extra)
        figures |= d.report
    for batch in batches:
        figures |= batch.report
    figures |= stats.summary()
    run.step += 1
    run.emit("step", **{k: float(v) for k, v in figures.items()})
    run.timing(**clock.laps, total=run.elapsed)


async def _after(run: Run, engine: Engine, streams: list[Stream], plan: Plan) -> bool:
    """Evaluate and save when due; True when the goal is reached."""
    due = plan.evaluate_every and run.step % plan.evaluate_every == 0
    last = run.step >= plan.steps or run.stop
    reached = await _measure(run, plan) if due or last else False
    if plan.checkpoint_every and run.step % plan.checkpoint_every == 0:
        run.checkpoint(engine.save, _state(streams), plan.keep_checkpoints)
    return reached


async def _measure(run: Run, plan: Plan) -> bool:
    if plan.evaluate is None:
        return False
    run.tell({"kind": "phase", "phase": "evaluate", "step": run.step})
    report = await plan.evaluate()
    run.emit("eval", **report.figures)
    accuracy = report.figures.get("sampled/accuracy")
    if plan.stop_at is not None and accuracy is not None and accuracy >= plan.stop_at:
        run.emit("note", text=f"held-out accuracy {accuracy:.2f} reached evaluate.stop_at {plan.stop_at:g}")
        return True
    return False


def _state(streams: list[Stream]) -> dict[str, object]:
    return {"streams": {s.name: s.source.state() for s in streams}}
