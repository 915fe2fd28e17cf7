"""From a document to a finished run: the functions behind `postlude train`, and behind `postlude.train`."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

from postlude.best import Best
from postlude.budget import Spent, is_finished
from postlude.build import Around, go_on_without_servers, open_engine
from postlude.check import check
from postlude.doctor.track import Track
from postlude.doctor.watching import Watch
from postlude.engines.protocol import Engine
from postlude.errors import ConfigError, PostludeError, Stopped, TrainingError
from postlude.evaluate import Report
from postlude.inputs.comparing import words_of
from postlude.inputs.standing import Standing, mend_lists
from postlude.learning import EARLY, Learning
from postlude.loop import train
from postlude.models.spec import Refreshed
from postlude.objects import imports_put_back
from postlude.plan import Due, Plan
from postlude.preflight.each_draw import EachDraw
from postlude.preflight.first import look_at_first, require_space
from postlude.prepared import Prepared
from postlude.process import in_an_event_loop
from postlude.recipe import Document, Recipe
from postlude.recipe.remedies import command
from postlude.recipe.serving import notes_on
from postlude.runs.checkpoints import unfinished
from postlude.runs.ending import interruptible
from postlude.runs.events import Alive, End, Event, Finished, Opened, Phase, Progress, Said, Start, Waiting
from postlude.runs.folder import Listener, Run
from postlude.streaming import build_streams, evaluation_of, held_out_streams, sheet_of
from postlude.streams import Stream
from postlude.truth.meter import First
from postlude.waits import Watchdog, moved
from postlude.words import counted


def launch(
    document: Document, resume: bool = False, listeners: Sequence[Listener] = (), accepted: str | Sequence[str] = ()
) -> Run:
    """Check everything, build the engine, train; returns the run. Raises a PostludeError with all problems at once.

    `accepted`: words for what may have changed of a run that goes on (`inputs.comparing.ACCEPTED`). Where an event loop
    runs already, as in a notebook, the run has a thread of its own; see `launch_async`.
    """
    if not in_an_event_loop():
        with _told_of_the_system():
            return asyncio.run(_in_a_loop_of_ours(launch_async(document, resume, listeners, accepted)))
    opened: list[Run] = []
    with ThreadPoolExecutor(1) as pool, interruptible(opened):
        return pool.submit(asyncio.run, launch_async(document, resume, listeners, accepted, opened)).result()


class _Unwaited(ThreadPoolExecutor):
    """An event loop's threads, whose end it does not wait for: one in which a user's function hangs has none."""

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        super().shutdown(wait=False, cancel_futures=cancel_futures)


async def _in_a_loop_of_ours(work: Coroutine[Any, Any, Run]) -> Run:
    asyncio.get_running_loop().set_default_executor(_Unwaited())
    return await work


@contextmanager
def _told_of_the_system() -> Iterator[None]:
    """What the operating system refuses in the middle of a run, in a sentence: a folder that is gone, a file closed."""
    try:
        yield
    except OSError as error:
        if isinstance(error.__context__, PostludeError):  # which ended the run; the end itself failed after
            raise error.__context__ from None
        raise TrainingError(
            f"the run cannot go on: {error}. Once this is mended, --resume makes again what came "
            "after its newest checkpoint.",
            code="cannot-write",
        ) from error


async def launch_async(
    document: Document,
    resume: bool = False,
    listeners: Sequence[Listener] = (),
    accepted: str | Sequence[str] = (),
    opened: list[Run] | None = None,
) -> Run:
    """`launch` within an event loop. What it sets in the process (seeds, the handler of Ctrl-C, where files import
    from) is put back. `opened` gets the run once its folder is open."""
    words = _words(accepted, resume)
    with _alone(), imports_put_back():
        return await _launch(document, resume, listeners, words, [] if opened is None else opened)


def _words(accepted: str | Sequence[str], resume: bool) -> frozenset[str]:
    if accepted and not resume:
        raise ConfigError(
            "--accept-changes is of a run that goes on: give --resume too.", code="no-effect", key="--accept-changes"
        )
    return words_of(accepted)


def _folder(document: Document, recipe: Recipe, resume: bool) -> Path:
    """Where the run is kept. One that goes on from its own folder is that folder."""
    named = Path(recipe.output).expanduser() if recipe.output else None
    if not (resume and document.run):
        return named or Run.fresh_folder(recipe.name)
    if named and named.resolve() != document.run.resolve():
        raise ConfigError(
            f"output: {str(named)!r} is not {str(document.run)!r}, the run that is to go on. Leave output out; "
            "to repeat the run elsewhere, leave --resume out.",
            code="contradiction",
            key="output",
        )
    return document.run


async def _launch(
    document: Document, resume: bool, listeners: Sequence[Listener], accepted: frozenset[str], opened: list[Run]
) -> Run:
    prepared = check(document)
    recipe = prepared.recipe
    folder = _folder(document, recipe, resume)
    left = unfinished(folder) if resume else None
    run = Run.open(folder, resume)
    run.listeners += listeners
    run.steps, run.needs = recipe.steps, recipe.objective.needs
    opened.append(run)
    try:
        for line in [*document.renamed, *document.moved.values(), *([left] if left else [])]:
            run.say(line)
        prepared.rewards.keep_in(run.folder)
        prepared.metrics.keep_in(run.folder)
        with _random_numbers_kept(), interruptible(opened), _watched(run, recipe.watchdog), _told_of_the_system():
            await _run(run, prepared, document, resume, accepted)
    except Stopped:
        run.leave()
    except PostludeError as error:
        run.give_up(error)
        raise
    except SystemExit as error:  # of a task that an asynchronous reward made; in its own it is caught where it is
        wrong = TrainingError(
            f"something in the run called sys.exit({error.code}), an asynchronous reward most likely. It must not "
            "end the process; --resume makes again what came after the newest checkpoint.",
            code="reward-raised",
        )
        run.give_up(wrong)
        raise wrong from error
    finally:
        run.close()
    return run


async def _run(run: Run, prepared: Prepared, document: Document, resume: bool, accepted: frozenset[str]) -> None:
    recipe = prepared.recipe
    restored = run.restore(accepted) if resume else None
    if resume and restored is None:
        run.say("no checkpoint was written yet: starting from the beginning")
    taught = Learning.of(restored[1]) if restored else Learning()
    best = Best.of(restored[1] if restored else {}, recipe.checkpoints.best)
    if restored and is_finished(restored[1], recipe.steps, recipe.evaluate.stop_at, recipe.budget):
        _tell_finished(run, recipe, taught, best)
        mend_lists(run, prepared, restored[0])
        return
    run.phase("compare")
    place = restored[0] if restored else None
    standing = Standing.again(run, prepared, document, place, accepted) if resume else Standing.of(prepared, document)
    if resume:
        run.rewind()
        run.tidy(recipe.checkpoints.keep, best.step)
    run.phase("load")
    begun = replace(prepared, recipe=_as_begun(standing.chosen, recipe))
    engine = await open_engine(begun, _around(run), str(restored[0]) if restored else None)
    try:
        streams, plan = await _taken_up(run, prepared, engine, standing, restored)
        plan = replace(plan, learning=taught, best=best)
        if recipe.servers:
            run.phase("servers")
        await engine.begin()
        _start(run, prepared, engine, standing)
        _watch_sampler(run, engine)
        await train(run, engine, streams, plan)
    finally:
        await engine.close()


async def _taken_up(
    run: Run, prepared: Prepared, engine: Engine, standing: Standing, restored: tuple[Path, dict[str, Any]] | None
) -> tuple[list[Stream], Plan]:
    """The streams of a run and what its loop needs to know, where its checkpoint left them; the engine, too."""
    recipe, state = prepared.recipe, restored[1] if restored else {}
    streams = build_streams(prepared, engine, lambda phase: None if run.training else run.phase(phase))
    if restored:
        await engine.load(restored[0], reference=isinstance(recipe.model.reference, Refreshed))
        if (version := state.get("version", engine.trainer.version)) != engine.trainer.version:
            await engine.relabel(version)
        if not recipe.servers:
            await go_on_without_servers(engine, run.folder, lambda: run.step, run.committed is not None)
        for stream in streams:
            stream.restore(state["streams"][stream.name], restored[0])
    else:
        require_space(prepared, engine, run.folder)
    plan = replace(
        _plan(prepared, engine, run, streams, First.of(state)),
        first=partial(look_at_first, prepared, engine),
        each_draw=EachDraw(recipe, engine, run.folder) if recipe.servers else None,
        watch=_watch(run, recipe, standing),
        go_on=partial(command, run.folder),
        anew=partial(command, run.folder, finished=True),
        spent=Spent.of(state),
        due=Due.of(state),
        began=state.get("began", []),
        noted=state.get("noted", []),
    )
    return streams, plan


def _around(run: Run) -> Around:
    """What an engine hears of its run, and says."""
    return Around(
        folder=run.folder,
        say=run.say,
        note=run.note,
        step=lambda: run.step,
        committed=lambda: run.committed,
        sealed=lambda: run.checkpoints,
        stopping=run.is_to_stop,
    )


def _watch(run: Run, recipe: Recipe, standing: Standing) -> Watch:
    """The rules over the run's figures, with what it had logged before."""
    track = Track(recipe.method, recipe.steps, standing.made.config)
    watch = Watch(track, recipe.alarms.ignore, recipe.alarms.on, recipe.alarms.of)
    if standing.goes_on:
        watch.again(run.history())
    return watch


def _tell_finished(run: Run, recipe: Recipe, taught: Learning, best: Best) -> None:
    """Of a run that was at its end already."""
    if not taught.learnt:
        run.conclusion, run.failed = taught.nothing_in(run.step), run.step >= EARLY
    run.tell(Finished(run.step, recipe.steps))
    run.finish(recipe.checkpoints.keep, best.step)
    run.tell(End(run.step, "done"))


def _watched(run: Run, silence: float) -> Watchdog:
    """Says who is waited for. Never an event of the run: those are the same whenever it is repeated."""
    heard = {"phase": "load"}

    def hear(event: Event) -> None:
        if isinstance(event, Phase):
            heard["phase"] = event.phase
        if not isinstance(event, Alive | Waiting | Said):
            moved()

    run.listeners.append(hear)
    return Watchdog(
        say=lambda text: run.say(f"note: {text}"),
        show=lambda text: run.tell(Waiting(run.step, text)),
        silence=silence,
        doing=lambda: f"phase {heard['phase']} of step {run.step + 1}",
        bounded=lambda: run.tell(Alive(run.step)),
    )


def _as_begun(chosen: Mapping[str, Any], recipe: Recipe) -> Recipe:
    """What the recipe leaves to the memory that is free, as it was when the run began: sums then round as before."""
    left_open = {key: value for key, value in chosen.items() if getattr(recipe.engine, key) is None}
    return replace(recipe, engine=replace(recipe.engine, **left_open))


def _start(run: Run, prepared: Prepared, engine: Engine, standing: Standing) -> None:
    recipe = prepared.recipe
    facts = engine.describe()
    lasting = {k: v for k, v in facts.items() if k != "memory"}  # what is free differs by the hour
    start = Start(
        run.step,
        method=recipe.method,
        steps=recipe.steps,
        sizes=recipe.sizes,
        counts=prepared.counts,
        data=[*prepared.notes, *prepared.rewards.notes, *(f"evaluate.metrics: {n}" for n in prepared.metrics.notes)],
        engine=lasting,
    )
    if not standing.goes_on:
        run.begin(standing.started_as(start))
    standing.write(run, prepared.rejected, lasting, engine.settings())
    standing.tell(run)
    run.tell(
        Opened(
            run.step,
            replace(start, engine=facts),
            str(run.folder),
            recipe.algorithm.source,
            recipe.schedule.lr,
            recipe.evaluate.stop_at,
            standing.goes_on,
        )
    )


def _plan(prepared: Prepared, engine: Engine, run: Run, streams: Sequence[Stream], first: First) -> Plan:
    recipe = prepared.recipe
    wanted = recipe.evaluate
    measured = held_out_streams(prepared, streams)
    evaluation = evaluation_of(prepared, first)

    async def evaluate() -> Report:
        figures: dict[str, float] = {}
        for stream, groups in measured:
            figures |= {f"{stream.name}/{k}": v for k, v in (await stream.measure(engine, groups)).items()}
        if not evaluation.sets:
            return Report(figures, [])
        report = await evaluation.take(engine.sampler)
        run.write_answers(report.groups, report.columns)
        return replace(report, figures={**figures, **report.figures})

    sheet = sheet_of(prepared)

    async def answer_sheet() -> list[str]:
        report = await sheet.take(engine.sampler)
        run.write_answers(report.groups, report.columns, "sheet.jsonl")
        return report.notes

    reference = recipe.model.reference
    return Plan(
        steps=recipe.steps,
        seed=recipe.seed,
        rate=recipe.rates,
        budget=recipe.budget,
        evaluate=evaluate if evaluation.sets or measured else None,
        evaluate_every=wanted.every,
        answer_sheet=answer_sheet if sheet.prompts else None,
        sheet_every=wanted.sheet.every if wanted.sheet else 0,
        first_measured=first,
        stop_at=wanted.stop_at,
        checkpoint_every=recipe.checkpoints.every,
        keep_checkpoints=recipe.checkpoints.keep,
        commit_every=recipe.commit_every,
        served=recipe.servers is not None,
        max_lag=recipe.max_lag,
        look_at=partial(notes_on, recipe),
        refresh_every=reference.every if isinstance(reference, Refreshed) else 0,
        refresh_mix=reference.mix if isinstance(reference, Refreshed) else 1.0,
    )


def _watch_sampler(run: Run, engine: Engine) -> None:
    """Pass the sampler's progress on to the listeners."""

    def report(progress: Any) -> None:
        if run.training:
            return
        text = f"{progress.finished}/{counted(progress.total, 'answer')}, {counted(progress.tokens, 'token')}"
        run.tell(Progress(run.step, text, progress.finished, progress.total))

    engine.sampler.on_progress = report


@contextmanager
def _random_numbers_kept() -> Iterator[None]:
    """A run seeds torch's own generators; whoever called it gets theirs back as they were."""
    import torch

    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        yield


_at_work = Lock()


@contextmanager
def _alone() -> Iterator[None]:
    """One run at a time in a process: seeds, threads and Ctrl-C are the process's, and two would undo each other's."""
    if not _at_work.acquire(blocking=False):
        raise TrainingError(
            "another run is at work in this process. Wait for its end before the next begins, or give each a process.",
            code="process-busy",
        )
    try:
        yield
    finally:
        _at_work.release()
