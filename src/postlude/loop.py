"""The loop. Every method of the library is this loop; only the streams differ."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from postlude import alarms
from postlude.batch import Batch, minibatches
from postlude.engines.protocol import Engine, Part, Rates
from postlude.errors import EngineError, RewardError, Stopped, TrainingError, reason
from postlude.exhausted import out_of_memory
from postlude.lag import lags, require_known
from postlude.lazy import torch
from postlude.learning import EARLY, NOTHING_LEARNT, Learning
from postlude.measuring import answer_sheet, finite, measure
from postlude.plan import Plan
from postlude.runs.events import End, Progress, Publish, Reference, Step, Used
from postlude.runs.folder import Run
from postlude.runs.stats import Clock, Stats, beside
from postlude.saves import checkpoint, commit
from postlude.skipped import MOST_IN_A_ROW, too_many, unsound
from postlude.sources.source import Drawn
from postlude.streams import Stream
from postlude.trained import Trained, figures_of, moved_too_far, tell_left_out
from postlude.words import first_of_each


async def train(run: Run, engine: Engine, streams: list[Stream], plan: Plan) -> None:
    """Draw, update, publish, until the steps are done, the goal is reached or somebody asks to stop.

    A reward that stops the run leaves a checkpoint of the last finished step.
    """
    # said, and no event: how much memory is free is no part of a run
    engine.trainer.on_smaller = engine.sampler.on_smaller = run.say
    plan = plan if plan.began else replace(plan, began=await engine.prints())
    try:
        await _train(run, engine, streams, plan)
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        raise TrainingError(_exhausted(run, engine, error), code="out-of-memory") from error
    except (RewardError, Halted) as error:
        if run.step == 0:
            raise
        kind = RewardError if isinstance(error, RewardError) else TrainingError
        raise kind(f"{error}\n{await _rescue(run, engine, streams, plan)}", code=error.code) from error
    finally:
        for stream in streams:
            stream.source.close()


def _exhausted(run: Run, engine: Engine, error: Exception) -> str:
    budget = engine.settings().get("token_budget", 0)
    return (
        f"memory ran out in step {run.step + 1}: {reason(error)}\nHalve engine.token_budget ({budget} now) or "
        "engine.head_chunk, lower engine.cache_gib where answers were being sampled, or take "
        "engine.gradient_checkpointing=true or model.lora.rank=16. With a checkpoint: postlude train "
        f"{run.folder} token_budget={max(1, budget // 2)} --resume"
    )


async def _draw(run: Run, engine: Engine, streams: list[Stream], plan: Plan) -> list[Drawn]:
    """The groups of a step. Memory that runs out here, or servers that are gone, leave weights and sources as they
    were after the last one."""
    try:
        return [await stream.source.draw(run.step, plan.steps) for stream in streams]
    except Stopped:
        raise
    except EngineError as error:
        raise Halted(str(error), code=error.code) from error
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        raise Halted(_exhausted(run, engine, error), code="out-of-memory") from error


class Halted(TrainingError):
    """Raised between steps by a run that cannot go on: what is finished is saved."""


async def _rescue(run: Run, engine: Engine, streams: list[Stream], plan: Plan) -> str:
    """Save the last finished step of a run that cannot go on; what is to be said of it."""
    try:
        await checkpoint(run, engine, streams, plan, planned=False, last=True)
    except TrainingError as error:
        return str(error)
    return _saved(run)


def _saved(run: Run) -> str:
    return (
        f"The weights after step {run.step} are saved. Once it is mended, go on with: postlude train {run.folder} "
        "--resume"
    )


async def _train(run: Run, engine: Engine, streams: list[Stream], plan: Plan) -> None:
    alarms.watch(run, plan)
    whole, reached = True, None
    try:
        reached = await _steps(run, engine, streams, plan)
    except Stopped:  # while no server was ready: what was under way is left, as if it had never been begun
        whole = False
    back = alarms.goes_back(run, plan)
    finished = whole and back is None and (reached is not None or plan.is_done(run.step))
    run.stop = run.stop and not finished
    if finished and reached is None:
        same = await engine.prints() == plan.began
        _conclude(run, plan.learning, same, plan.rate(0, 0.0)[0])
    await checkpoint(run, engine, streams, plan, planned=finished, last=True)
    alarms.conclude(run, plan, back)
    run.emit(End(run.step, "done" if finished else "interrupted"))


async def _steps(run: Run, engine: Engine, streams: list[Stream], plan: Plan) -> float | None:
    """The accuracy that reached the goal, or None. Raises Stopped between steps."""
    reached = await _begin(run, engine, streams, plan)
    while not plan.is_done(run.step) and reached is None and not run.stop:
        clock = Clock(lambda: engine.restarting)
        drawn = await _draw(run, engine, streams, plan)
        require_known(run, engine, drawn, plan.max_lag)
        await _require_same_weights(run, drawn, plan)
        if run.step == 0 and plan.first is not None:
            drawn[0].notes += await plan.first(drawn[0])
        clock.lap("draw")
        used = await _update(run, engine, streams, drawn, plan)
        _require_agreed(run, drawn, used, plan)
        clock.lap("train")
        _report(run, engine, drawn, used, clock, plan)
        broken = await _settle(streams)
        await _publish(run, engine, streams, plan, clock)
        reached = await _after(run, engine, streams, plan)
        if broken is not None and reached is None:
            raise broken
        left_out = engine.trainer.skip
        if left_out is not None and left_out.in_a_row >= MOST_IN_A_ROW:
            raise Halted(too_many(left_out), code="not-finite")
    return reached


async def _require_same_weights(run: Run, drawn: Sequence[Drawn], plan: Plan) -> None:
    """Of what was sampled. Raises TrainingError."""
    if plan.each_draw is not None:
        for d in drawn:
            d.notes += await plan.each_draw.require_same_weights(d.groups if d.sampled else (), run.step)


def _require_agreed(run: Run, drawn: Sequence[Drawn], used: Sequence[Trained], plan: Plan) -> None:
    """The same once an update has seen all of it. Raises TrainingError."""
    if plan.each_draw is not None:
        for d, trained in zip((d for d in drawn if d.groups), used, strict=False):
            largest = trained.total.largest.get("mismatch/max") if d.sampled and trained.compares else None
            if largest is not None:
                plan.each_draw.require_agreed(trained.groups, run.step, largest)


async def _begin(run: Run, engine: Engine, streams: list[Stream], plan: Plan) -> float | None:
    """What comes before the next draw: the first measurements of a run, or what is left to do of the step that a
    checkpoint was saved in; the accuracy that reached the goal, or None."""
    if plan.served:
        run.emit(Publish(run.step, engine.trainer.version))  # that servers began with
    elif run.committed is not None:  # it was saved before its weights were published
        run.emit(Publish(run.step, (await engine.publish()).version))
    if run.step == 0:
        await measure(run, plan)
        await answer_sheet(run, plan)
    unfinished = plan.due.evaluation or plan.due.sheet or run.committed is not None
    return await _after(run, engine, streams, plan) if unfinished else None


def _conclude(run: Run, learning: Learning, same: bool, lr: float) -> None:
    """Say plainly where the steps of the run taught nothing, or moved no weight."""
    if not learning.learnt:
        text = learning.nothing_in(run.step) + (" The weights are as they were." if same else "")
        run.failed = run.step >= EARLY
    elif same:
        text = f"no weight is another than before: updates at this rate ({lr:g}) are too small for their precision"
    else:
        return
    run.conclusion = text
    run.note(text, NOTHING_LEARNT)


async def _settle(streams: list[Stream]) -> RewardError | Halted | None:
    """Wait for what is sampled ahead. A reward that stopped the next draw, or servers that are gone, are no reason not
    to finish this step."""
    broken = None
    for stream in streams:
        try:
            await stream.source.settle()
        except RewardError as error:
            broken = error
        except Stopped:  # the loop ends by itself once this step is whole
            continue
        except EngineError as error:
            broken = Halted(str(error), code=error.code)
    return broken


async def _publish(run: Run, engine: Engine, streams: list[Stream], plan: Plan, clock: Clock) -> None:
    """Let the sampler have the weights. Servers get them once they are on the disk, and where that fails nothing of the
    step is lost. Trainers on several ranks go on from there where one is lost."""
    clock.lap("settle")
    clock.laps["commit"] = 0.0
    if plan.commit_every and run.step % plan.commit_every == 0:
        await commit(run, engine, streams, plan)
        clock.lap("commit")
    if plan.commit_every:
        run.phase("publish")
    try:
        weights = await engine.publish()
    except EngineError as error:
        if not plan.served:
            raise
        if run.committed is None:
            await commit(run, engine, streams, plan)
        raise TrainingError(f"{error}\n{_saved(run)}", code=error.code) from error
    run.emit(Publish(run.step, weights.version))
    clock.lap("publish")
    if plan.timed:
        plan.spent.seconds += clock.laps["settle"] + clock.laps["publish"] + clock.apart
    if plan.commit_every:
        parts = {"wait": clock.laps["draw"] + clock.laps["settle"]}
        parts |= {"commit": clock.laps["commit"], **engine.seconds, "publish": clock.laps["publish"]}
        run.timing(**parts, total=run.elapsed)


# ------------------------------------------------------------------------------------------------------ training


async def _update(run: Run, engine: Engine, streams: list[Stream], drawn: list[Drawn], plan: Plan) -> list[Trained]:
    """Train on what was drawn, as many optimiser steps as the first stream sets."""
    if not _trainable(drawn[0]):
        return []
    run.phase("train")
    pairs = [(stream, d.groups) for stream, d in zip(streams, drawn, strict=True) if d.groups]
    used = [Trained(stream, groups, await stream.prepare(engine, groups)) for stream, groups in pairs]
    wrong = unsound(used[0].groups)
    if wrong is not None:
        used[0].leave_out(engine.trainer.leave_out(wrong))
        tell_left_out(run, engine, drawn[0], used[0], 1, used[0].batch)
        return used
    rates = Rates(*plan.rate(run.step, plan.spent.share(plan.budget)))
    with _shown(run, engine, sum(t.batch.tokens.shape[0] * t.stream.epochs for t in used)):
        for number, (parts, fresh) in enumerate(_updates(used, plan.seed + run.step), 1):
            weighed = [(trained, await trained.stream.weigh(engine, part, fresh)) for trained, part in parts]
            passes = [Part(batch, trained.stream.objective, trained.stream.coef) for trained, batch in weighed]
            each, step = await engine.trainer.update(passes, rates)
            left_out = engine.trainer.skip
            if left_out is not None:
                used[0].leave_out(step)
                trained, batch = weighed[left_out.part]
                tell_left_out(run, engine, drawn[0], trained, number, batch)
                if left_out.in_a_row >= MOST_IN_A_ROW:
                    break
                continue
            for (trained, batch), (_, part), stats in zip(weighed, parts, each, strict=True):
                trained.add(stats, batch, part, step if trained is used[0] else Stats())
            if used[0].moved_too_far:
                drawn[0].notes.append(moved_too_far(used[0]))
                break
    return used


def _trainable(drawn: Drawn) -> bool:
    """Whether any completion has a reward and a token; if not, the step is noted and nothing is updated."""
    if any(c.reward is not None and c.tokens for g in drawn.groups for c in g.completions):
        return True
    if drawn.groups:
        drawn.notes.append("every reward abstained on every answer: nothing to train on in this step")
    return False


@contextmanager
def _shown(run: Run, engine: Engine, total: int) -> Generator[None]:
    """Tell whoever watches how many of a step's tokens were trained on."""
    done = 0

    def tell(tokens: int) -> None:
        nonlocal done
        done = min(done + tokens, total)
        run.phase("train")
        run.tell(Progress(run.step, f"{done}/{total} tokens", done, total))

    engine.trainer.on_progress, run.training = tell, True
    try:
        yield
    finally:
        engine.trainer.on_progress, run.training = None, False


def _updates(used: list[Trained], seed: int) -> Iterator[tuple[list[tuple[Trained, Batch]], bool]]:
    """(parts that share an optimiser step, whether the weights are still those of the draw)."""
    generator = torch.Generator().manual_seed(seed)
    # dropout, where a method keeps it
    torch.manual_seed(seed)  # pyright: ignore[reportUnknownMemberType]
    lead = used[0].stream
    fresh = True
    for _ in range(lead.epochs):
        cut = [minibatches(t.batch, lead.updates, t.stream.objective.keeps_groups, generator) for t in used]
        for parts in zip(*cut, strict=False):
            yield list(zip(used, parts, strict=True)), fresh
            fresh = False


# ----------------------------------------------------------------------------------------------------- reporting


def _report(run: Run, engine: Engine, drawn: list[Drawn], used: list[Trained], clock: Clock, plan: Plan) -> None:
    """Write the step's event: the first stream's figures under their own names, others' under the stream's."""
    for d in drawn:
        if d.sampled:
            run.write_rollouts(d.sampled, d.groups, d.extra)
    ages = lags(engine, drawn) if plan.max_lag or plan.served else {}
    figures = beside({**figures_of(drawn, used), **ages, **engine.figures()}, drawn[0].logged)
    figures, notes = finite(figures, plan.noted)
    drawn[0].notes += [*notes, *plan.look_at(figures)]
    plan.learning.see(drawn[0], figures)
    for note in first_of_each((note for d in drawn for note in d.notes), plan.noted):
        run.note(note)
    run.step += 1
    sampled = sum(d.report.get("tokens", 0.0) for d in drawn)
    seconds = clock.laps["draw"] + clock.laps["train"] if plan.timed else 0.0
    plan.spent.add(sampled, figures.get("passed_tokens", 0.0), seconds)
    run.emit(Step(run.step, {k: float(v) for k, v in figures.items()}))
    if plan.budget is not None:
        run.tell(Used(run.step, plan.spent.share(plan.budget)))
    run.timing(draw=clock.laps["draw"], train=clock.laps["train"], total=run.elapsed)


# ---------------------------------------------------------------------------------------------------- after a step


async def _measure_what_is_due(run: Run, plan: Plan, last: bool) -> float | None:
    """Evaluate, and answer the sheet, after a step; the accuracy that reached the goal, or None."""
    plan.find_due(run.step)
    due = plan.due
    if due.evaluation:
        due.reached = await measure(run, plan, last)
        due.evaluation, due.sheet = False, due.sheet or due.reached is not None
    if due.sheet:
        await answer_sheet(run, plan)
        due.sheet = False
    return due.reached


async def _after(run: Run, engine: Engine, streams: list[Stream], plan: Plan) -> float | None:
    """Evaluate, refresh the reference and save when due; the accuracy that reached the goal, or None.

    Held-out figures are against the reference the step was trained against; a checkpoint has the new one. The last
    step is saved once everything is said of it.
    """
    wanted = run.obey()
    last = plan.is_done(run.step)  # one that is asked to stop measures what it would have: resumed, it is the same run
    before = plan.best.step
    try:
        reached = await _measure_what_is_due(run, plan, last)
    except Stopped:
        raise
    except EngineError as error:
        if not plan.served:
            raise
        raise Halted(str(error), code=error.code) from error
    if plan.refresh_every and run.step % plan.refresh_every == 0:
        await engine.trainer.refresh_reference(plan.refresh_mix)
        run.outdate_commit()
        run.emit(Reference(run.step, engine.trainer.references))
    alarms.sound(run, plan)
    if last or reached is not None or plan.watch.back_to is not None:
        return reached
    if (plan.checkpoint_every and run.step % plan.checkpoint_every == 0) or plan.best.step != before:
        await checkpoint(run, engine, streams, plan)
    elif wanted:
        await checkpoint(run, engine, streams, plan, planned=False)
    return None
