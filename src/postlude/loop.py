"""The loop. Every method of the library is this loop; only the streams differ."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from postlude.batch import Batch, minibatches, split
from postlude.engines.protocol import Engine
from postlude.errors import RewardError, TrainingError
from postlude.evaluate import Report
from postlude.lazy import torch
from postlude.learning import EARLY, Learning
from postlude.models.load import Refreshed
from postlude.rollouts.ahead import Ahead
from postlude.rollouts.rollout import note_of_cut
from postlude.runs.folder import Run
from postlude.runs.stats import Stats, beside
from postlude.sources.file import Drawn
from postlude.streams import Stream


@dataclass(frozen=True)
class Plan:
    """What the loop needs to know beyond its streams."""

    steps: int
    seed: int
    rate: Callable[[int], tuple[float, float]]
    """Step -> learning rates of the policy and of the critic."""
    evaluate: Callable[[], Awaitable[Report]] | None = None
    """Measures the policy on held-out prompts."""
    evaluate_every: int = 0
    stop_at: float | None = None
    checkpoint_every: int = 0
    keep_checkpoints: int = 2
    reference: Refreshed | None = None
    """When the reference becomes the policy; None leaves it what it was at the start."""
    learning: Learning = field(default_factory=Learning)
    """What the steps before this part of the run have taught."""


async def train(run: Run, engine: Engine, streams: list[Stream], plan: Plan) -> None:
    """Draw, update, publish, until the steps are done, the goal is reached or Ctrl-C asks to stop.

    A reward that stops the run leaves a checkpoint of the last finished step.
    """
    try:
        await _train(run, engine, streams, plan)
    except (MemoryError, RuntimeError) as error:
        if not _out_of_memory(error):
            raise
        raise TrainingError(
            f"memory ran out in step {run.step + 1}: {str(error).splitlines()[0]}\nHalve token_budget "
            f"({engine.token_budget} now) or head_chunk, lower cache_gib where answers were being sampled, or take "
            "model.gradient_checkpointing=true or model.lora.rank=16. With a checkpoint: postlude train "
            f"{run.folder} token_budget={max(1, engine.token_budget // 2)} --resume",
            code="out-of-memory",
        ) from error
    except RewardError as error:
        if run.step == 0:
            raise
        _checkpoint(run, engine, streams, plan)
        raise RewardError(
            f"{error}\nThe weights after step {run.step} are saved. Once it is mended, go on with: postlude train "
            f"{run.folder} --resume",
            code=error.code,
        ) from error
    finally:
        for stream in streams:
            stream.source.close()


def _out_of_memory(error: Exception) -> bool:
    """Whether an allocation failed: torch has a type for it on a GPU, and on a CPU a sentence."""
    said = ("can't allocate memory", "not enough memory", "Cannot allocate memory")
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(text in str(error) for text in said)


async def _train(run: Run, engine: Engine, streams: list[Stream], plan: Plan) -> None:
    if run.step == 0:
        await _measure(run, plan)
    begun, before, reached = run.step, engine.fingerprint(), False
    while run.step < plan.steps and not run.stop:
        clock = Clock()
        drawn = [await stream.source.draw(run.step, plan.steps) for stream in streams]
        clock.lap("draw")
        if any(isinstance(stream.source, Ahead) for stream in streams):  # sampling goes on here, in the event loop
            used = await asyncio.to_thread(_update, run, engine, streams, drawn, plan)
        else:
            used = _update(run, engine, streams, drawn, plan)
        clock.lap("train")
        _report(run, drawn, used, clock, plan.learning)
        broken = await _settle(streams)
        engine.sync()
        reached = await _after(run, engine, streams, plan)
        if reached:
            break
        if broken is not None:
            raise broken
    if begun < run.step:
        _conclude(run, plan.learning, engine.fingerprint() == before, reached, plan.rate(begun)[0])
    _checkpoint(run, engine, streams, plan)
    run.emit("end", reason="interrupted" if run.stop else "done")


def _conclude(run: Run, learning: Learning, same: bool, reached: bool, lr: float) -> None:
    """Say plainly where the steps of this part of the run taught nothing, or moved no weight."""
    if run.stop or reached:
        return
    if not learning.learnt:
        text = learning.nothing_in(run.step) + (" The weights are as they were." if same else "")
        run.failed = run.step >= EARLY
    elif same:
        text = f"no weight is another than before: updates at this rate ({lr:g}) are too small for their precision"
    else:
        return
    run.conclusion = text
    run.emit("note", text=text)


async def _settle(streams: list[Stream]) -> RewardError | None:
    """Wait for what is sampled ahead. A reward that stopped the next draw is no reason not to finish this step."""
    broken = None
    for stream in streams:
        try:
            await stream.source.settle()
        except RewardError as error:
            broken = error
    return broken


def _update(run: Run, engine: Engine, streams: list[Stream], drawn: list[Drawn], plan: Plan) -> list[Trained]:
    """Train on what was drawn, as many optimiser steps as the first stream sets."""
    if not _trainable(drawn[0]):
        return []
    used = [Trained(s, s.prepare(engine, d.groups)) for s, d in zip(streams, drawn, strict=True) if d.groups]
    progress = Progress(total=sum(t.batch.tokens.shape[0] * t.stream.epochs for t in used))
    run.training = True
    for parts, fresh in _updates(used, plan.seed + run.step):
        for trained, part in parts:
            stream = trained.stream
            weighed = stream.weigh(engine, part, fresh)
            trained.begin({f"update/{k}": v for k, v in weighed.report.items() if k not in part.report})
            whole = not stream.objective.splits_groups
            for micro in split(weighed, engine.token_budget, whole, engine.shares_prompts):
                trained.last += engine.trainer.forward_backward(micro, stream.objective, stream.coef)
                progress.tell(run, micro)
        used[0].last += engine.trainer.step(*plan.rate(run.step))
        for trained, _ in parts:
            trained.end()
        if used[0].moved_too_far:
            drawn[0].notes.append(
                f"the policy moved {used[0].last.summary()['kl_old/k3']:.2g} nats per token, beyond stop_kl "
                f"{used[0].stream.stop_kl:g}: the rest of this draw's updates was left out"
            )
            break
    run.training = False
    return used


@dataclass
class Trained:
    """A stream's draw in training, with its figures."""

    stream: Stream
    batch: Batch
    total: Stats = field(default_factory=Stats)
    last: Stats = field(default_factory=Stats)
    """Of the update under way."""

    def begin(self, report: dict[str, float]) -> None:
        """A new optimiser step."""
        self.last = Stats(report)

    def end(self) -> None:
        """The optimiser step is done."""
        self.last.updates = 1
        self.total += self.last

    @property
    def moved_too_far(self) -> bool:
        """Whether the last update found the policy beyond the KL at which a draw is given up."""
        return self.stream.stop_kl is not None and self.last.summary().get("kl_old/k3", 0.0) > self.stream.stop_kl


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


def _updates(used: list[Trained], seed: int) -> Iterator[tuple[list[tuple[Trained, Batch]], bool]]:
    """(parts that share an optimiser step, whether the weights are still those of the draw)."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)  # dropout, where a method keeps it
    lead = used[0].stream
    fresh = True
    for _ in range(lead.epochs):
        cut = [minibatches(t.batch, lead.updates, t.stream.objective.keeps_groups, generator) for t in used]
        for parts in zip(*cut, strict=False):
            yield list(zip(used, parts, strict=True)), fresh
            fresh = False


class Clock:
    """Seconds of the parts of a step."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.monotonic()

    def lap(self, name: str) -> None:
        now = time.monotonic()
        self.laps[name] = now - self._last
        self._last = now


def _report(run: Run, drawn: list[Drawn], used: list[Trained], clock: Clock, learning: Learning) -> None:
    """Write the step's event: the first stream's figures under their own names, others' under the stream's."""
    figures: dict[str, float] = {}
    for d in drawn:
        if d.sampled:
            run.write_rollouts(d.sampled, d.groups, d.extra)
        figures |= d.report if d is drawn[0] else {f"{d.name}/{k}": v for k, v in d.report.items()}
    for trained in used:
        mine = trained.total.summary()
        if trained is used[0]:
            tokens = {"tokens": float(trained.batch.tokens.shape[0])}
            figures = {**tokens, **figures, **trained.batch.report, **mine}
            if trained.stream.control is not None:
                figures["kl_coef"] = trained.stream.kl_coef or 0.0
            drawn[0].notes += _warnings(trained.stream, figures)
            trained.stream.observe(figures, trained.last.summary())
        else:
            figures |= {f"{trained.stream.name}/{k}": v for k, v in mine.items()}
    figures = beside(figures, drawn[0].logged)
    idle = learning.see(drawn[0], figures)
    drawn[0].notes += [idle] if idle else []
    for note in (note for d in drawn for note in d.notes):
        run.emit("note", text=note)
    run.step += 1
    run.emit("step", **{k: float(v) for k, v in figures.items()})
    run.timing(**clock.laps, total=run.elapsed)


def _warnings(stream: Stream, figures: Mapping[str, float]) -> list[str]:
    """What a user should hear of once."""
    found = {
        "displacement": _displacement(figures.get("displaced_frac", 0.0)),
        "cut off": note_of_cut(figures.get("truncated_frac", 0.0), figures.get("completion_length/max", 0.0)),
    }
    fresh = {name: text for name, text in found.items() if text and name not in stream.told}
    stream.told += fresh
    return list(fresh.values())


def _displacement(share: float) -> str | None:
    """Of the pairs of a preference method, the share whose chosen answer lost probability."""
    if share <= 0.5:
        return None
    return (
        f"likelihood displacement: in {share:.0%} of the pairs the chosen answer has become less "
        "likely than under the reference, although the margin grew. Some of it is usual; where answers get worse, add "
        "a likelihood term (objective.nll=0.2), take method ipo, or lower the rate."
    )


async def _after(run: Run, engine: Engine, streams: list[Stream], plan: Plan) -> bool:
    """Evaluate, refresh the reference and save when due; True when the goal is reached.

    Held-out figures are against the reference the step was trained against; a checkpoint has the new one.
    """
    due = plan.evaluate_every and run.step % plan.evaluate_every == 0
    last = run.step >= plan.steps or run.stop
    reached = await _measure(run, plan) if due or last else False
    if plan.reference is not None and run.step % plan.reference.every == 0:
        engine.trainer.refresh_reference(plan.reference.mix)
        run.emit("reference", refreshed=engine.trainer.references)
    if plan.checkpoint_every and run.step % plan.checkpoint_every == 0:
        _checkpoint(run, engine, streams, plan)
    return reached


async def _measure(run: Run, plan: Plan) -> bool:
    if plan.evaluate is None:
        return False
    run.tell({"kind": "phase", "phase": "evaluate", "step": run.step})
    report = await plan.evaluate()
    for note in report.notes:
        run.emit("note", text=note)
    run.emit("eval", **report.figures)
    accuracy = report.figures.get("sampled/accuracy")
    if plan.stop_at is not None and accuracy is None:
        run.emit("note", text="no held-out answer was called right or wrong, so that evaluate.stop_at can end nothing")
    if plan.stop_at is not None and accuracy is not None and accuracy >= plan.stop_at:
        run.emit("note", text=f"held-out accuracy {accuracy:.2f} reached evaluate.stop_at {plan.stop_at:g}")
        return True
    return False


def _checkpoint(run: Run, engine: Engine, streams: list[Stream], plan: Plan) -> None:
    """Weights, optimiser, and what the streams have to remember."""

    def save(folder: Path) -> None:
        engine.save(folder)
        for stream in streams:
            stream.save(folder)

    state = {"streams": {s.name: s.state() for s in streams}, "learning": asdict(plan.learning)}
    run.checkpoint(save, state, plan.keep_checkpoints)
