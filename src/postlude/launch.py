"""From a document to a finished run: the function behind `postlude train`, for Python users too."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from postlude.build import build_engine, build_streams, held_out_streams
from postlude.check import Prepared, check
from postlude.engines.protocol import Engine
from postlude.errors import PostludeError, TrainingError
from postlude.evaluate import Report, greedy_and_sampled
from postlude.learning import EARLY, Learning
from postlude.loop import Plan, train
from postlude.models.load import Refreshed
from postlude.recipe import Document, Recipe, flat, read
from postlude.recipe.places import fixed
from postlude.runs.folder import Listener, Run, unfinished
from postlude.streams import Stream
from postlude.words import counted


def launch(document: Document, resume: bool = False, listeners: Sequence[Listener] = ()) -> Run:
    """Check everything, build the engine, train; returns the run. Raises a PostludeError with all problems at once."""
    prepared = check(document)
    recipe = prepared.recipe
    folder = Path(recipe.output).expanduser() if recipe.output else Run.fresh_folder(recipe.name)
    left = unfinished(folder) if resume else None
    run = Run.open(folder, resume)
    run.listeners += listeners
    run.needs = recipe.objective.needs
    try:
        for line in document.renamed:
            run.tell({"kind": "renamed", "step": 0, "text": line})
        if left:
            run.tell({"kind": "note", "step": 0, "text": left})
        prepared.rewards.keep_in(run.folder)
        prepared.rewards.guard.waits.tell = lambda text, noted: _tell_wait(run, text, noted)
        _run(run, prepared, document, resume)
    except PostludeError:
        with suppress(OSError):  # the disk may be what is wrong
            run.emit("end", reason="error")
        raise
    finally:
        run.close()
    return run


def _run(run: Run, prepared: Prepared, document: Document, resume: bool) -> None:
    recipe = prepared.recipe
    restored = run.restore() if resume else None
    if resume and restored is None:
        run.tell({"kind": "note", "step": 0, "text": "no checkpoint was written yet: starting from the beginning"})
    taught = Learning.of(restored[1]) if restored else Learning()
    if resume and run.step >= recipe.steps:
        if not taught.learnt:
            run.conclusion, run.failed = taught.nothing_in(run.step), run.step >= EARLY
        run.tell({"kind": "finished", "step": run.step, "steps": recipe.steps})
        run.emit("end", reason="done")  # taking it up has rewound what follows the checkpoint
        return
    run.tell({"kind": "phase", "phase": "load", "step": run.step})
    begun = replace(prepared, recipe=_as_begun(run, recipe)) if restored else prepared
    engine = build_engine(begun, str(restored[0]) if restored else None)
    streams = build_streams(prepared, engine, lambda phase: _tell_phase(run, phase))
    if restored:
        engine.trainer.load(restored[0], reference=isinstance(recipe.model.reference, Refreshed))
        engine.version = run.step
        for stream in streams:
            stream.restore(restored[1]["streams"][stream.name], restored[0])
    _start(run, prepared, engine, document.values, resumed=restored is not None)
    _watch_sampler(run, engine)
    with _interruptible(run):
        plan = _plan(prepared, engine, run, streams)
        plan = replace(plan, learning=taught)
        try:
            _finish(train(run, engine, streams, plan))
        except SystemExit as error:  # of a task that an asynchronous reward made; in its own it is caught where it is
            raise TrainingError(
                f"something in the run called sys.exit({error.code}), an asynchronous reward most likely. It must not "
                "end the process; what came after the newest checkpoint is lost.",
                code="reward-raised",
            ) from error


def _tell_wait(run: Run, text: str, noted: bool) -> None:
    """A reward takes long. Never an event of the run: those are the same whenever it is repeated."""
    run.tell({"kind": "progress", "step": run.step, "text": text})
    if noted:
        run.tell({"kind": "note", "step": run.step, "text": text})


def _as_begun(run: Run, recipe: Recipe) -> Recipe:
    """What the recipe leaves to the memory that is free, as it was when the run began: sums then round as before."""
    chosen = {key: value for key, value in run.chosen().items() if getattr(recipe, key) is None}
    return replace(recipe, **chosen)


def _finish(work: Coroutine[Any, Any, None]) -> None:
    """Run to the end; in a thread of its own where an event loop runs already, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(work)
        return
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, work).result()


def _tell_phase(run: Run, phase: str) -> None:
    if not run.training:
        run.tell({"kind": "phase", "phase": phase, "step": run.step})


def _start(run: Run, prepared: Prepared, engine: Engine, values: Mapping[str, Any], resumed: bool) -> None:
    recipe = prepared.recipe
    if resumed:
        _note_changes(run, recipe)
    run.write_config(fixed(_plain(asdict(recipe))), prepared.rejected)
    if not resumed:
        sets = {f"data/{one.label}": one.path for one in recipe.data.mix} or {"data": recipe.data.path}
        data = {**sets, "eval": recipe.data.eval}
        if recipe.pretrain:
            data |= {"pretrain": recipe.pretrain.path, "pretrain/eval": recipe.pretrain.eval}
        run.write_manifest(recipe.seed, data, engine.describe(), engine.settings())
        run.emit(
            "start",
            method=recipe.method,
            steps=recipe.steps,
            sizes=recipe.sizes,
            counts=prepared.counts,
            data=[*prepared.notes, *prepared.rewards.notes],
            engine={k: v for k, v in engine.describe().items() if k != "memory"},  # what is free differs by the hour
        )
    else:
        run.tell({"kind": "resume", "step": run.step})
    run.tell(
        {
            "kind": "open",
            "step": run.step,
            "steps": recipe.steps,
            "method": recipe.method,
            "folder": str(run.folder),
            "sizes": recipe.sizes,
            "counts": prepared.counts,
            "data": [*prepared.notes, *prepared.rewards.notes],
            "engine": engine.describe(),
            "source": recipe.algorithm.source,
            "lr": recipe.schedule.lr,
            "stop_at": recipe.evaluate.stop_at,
        }
    )


def _note_changes(run: Run, recipe: Recipe) -> None:
    """Say which settings differ from those the run was started with."""
    old = dict(flat(read(run.folder / "config.yaml").values))
    new = dict(flat(fixed(_plain(asdict(recipe)))))
    changed = [f"{k} {old.get(k)} -> {new.get(k)}" for k in sorted({*old, *new}) if old.get(k) != new.get(k)]
    changed = [c for c in changed if not c.startswith("output ")]
    if changed:
        run.emit("note", text=f"resumed with other settings from step {run.step} on: {'; '.join(changed)}")


def _plain(value: Any) -> Any:
    """Tuples as lists, for YAML; what no YAML can hold, in a method of the user's own, by its text."""
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    return value if value is None or isinstance(value, str | int | float) else repr(value)


def _plan(prepared: Prepared, engine: Engine, run: Run, streams: Sequence[Stream]) -> Plan:
    recipe = prepared.recipe
    wanted = recipe.evaluate
    asked = prepared.held_out[: wanted.prompts] if recipe.reward else []
    measured = held_out_streams(prepared, streams)

    async def evaluate() -> Report:
        figures: dict[str, float] = {}
        for stream, groups in measured:
            figures |= {f"{stream.name}/{k}": v for k, v in stream.measure(engine, groups).items()}
        if not asked:
            return Report(figures, [])
        report = await greedy_and_sampled(engine.sampler, prepared.rewards, asked, recipe.sampling, wanted.samples)
        run.write_answers(report.groups)
        return Report({**figures, **report.figures}, report.groups, report.notes)

    return Plan(
        steps=recipe.steps,
        seed=recipe.seed,
        rate=recipe.rates,
        evaluate=evaluate if asked or measured else None,
        evaluate_every=wanted.every,
        stop_at=wanted.stop_at,
        checkpoint_every=recipe.checkpoint_every,
        keep_checkpoints=recipe.keep_checkpoints,
        reference=recipe.model.reference if isinstance(recipe.model.reference, Refreshed) else None,
    )


def _watch_sampler(run: Run, engine: Engine) -> None:
    """Pass the sampler's progress on to the listeners."""

    def report(progress: Any) -> None:
        if run.training:
            return
        text = f"{progress.finished}/{counted(progress.total, 'answer')}, {counted(progress.tokens, 'token')}"
        run.tell({"kind": "progress", "step": run.step, "text": text})

    engine.sampler.on_progress = report


@contextmanager
def _interruptible(run: Run) -> Iterator[None]:
    """First Ctrl-C: finish the step, save, end. Second: stop at once."""

    def ask(signum: int, frame: Any) -> None:
        if run.stop:
            raise KeyboardInterrupt
        run.stop = True
        run.tell({"kind": "interrupt", "step": run.step})

    try:
        before = signal.signal(signal.SIGINT, ask)
    except ValueError:  # not in the main thread: the caller handles signals
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
