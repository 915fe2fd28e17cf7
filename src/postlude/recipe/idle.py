"""Settings that a recipe gives and that nothing of the run reads: told in notes, since methods share recipes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from postlude.engines.settings import Local, Sampling
from postlude.method import Algorithm
from postlude.objectives import ContrastObjective
from postlude.recipe import serving
from postlude.recipe.documents import Document, flat
from postlude.sources.spec import DataSpec

if TYPE_CHECKING:
    from postlude.recipe.schema import Recipe

OF_RANKS = ("engine.address", "engine.timeout", "engine.restarts")
"""What one trainer, this process, has no use for."""


def unread(recipe: Recipe, entry: Algorithm, document: Document) -> list[str]:
    """A line for each reason why settings have no effect. Those that say what holds anyway are not told. A run's own
    recipe has every key: of it those that are set beside it count alone."""
    values, usual = dict(flat(asdict(recipe))), _usual(entry)
    chosen = document.set_by_user if document.run is None else {*filter(document.is_users, document.set_by_user)}
    settings = [p for p in sorted(chosen) if p not in usual or values.get(p, usual[p]) != usual[p]]
    lines: list[str] = []
    for names, why in _idle(recipe, entry):
        idle = [p for p in settings if any(p == name or p.startswith(f"{name}.") for name in names)]
        if idle:
            lines.append(f"{', '.join(idle)}: no effect here, since {why}")
        settings = [p for p in settings if p not in idle]
    return lines


def _usual(entry: Algorithm) -> dict[str, Any]:
    """What holds where nothing is given, of the keys that may be idle."""
    values = {"sampling": asdict(Sampling()), "data": asdict(DataSpec()), "group_size": entry.group_size}
    values |= {"keep": asdict(entry.keep) if entry.keep else None, "shaping": [asdict(s) for s in entry.shaping]}
    unset = dict.fromkeys(("correct_above", "engine.cache_gib", "engine.servers"))
    publishing = {"engine.publish": "auto", "engine.commit_every": None, "engine.probe_every": 1}
    alone = {name: getattr(Local(), name.rpartition(".")[2]) for name in OF_RANKS}
    return dict(flat(values)) | unset | publishing | alone


def _of_servers(recipe: Recipe, samples: bool) -> Iterator[tuple[tuple[str, ...], str]]:
    """What servers would read, where there are none; and what those that sample make idle."""
    servers, publishing = recipe.engine.servers, ("engine.publish", "engine.probe_every")
    commits = () if recipe.engine.trainers > 1 else ("engine.commit_every",)
    if servers is None:
        yield publishing, "there are no engine.servers"
        yield commits, "there are neither engine.servers nor several engine.trainers"
    elif not samples:
        yield ("engine.servers", *publishing, *commits), f"{recipe.name} samples no answers: no server is started"
    else:
        yield ("engine.cache_gib",), "engine.servers sample"
        if servers.urls:
            starting = ("python", "gpus", "args", "start_timeout")
            yield tuple(f"engine.servers.{name}" for name in starting), "servers that run already are not started here"
        elif recipe.engine.device == "cpu":
            yield ("engine.servers.gpus",), "engine.device is cpu"


def _idle(recipe: Recipe, entry: Algorithm) -> Iterator[tuple[tuple[str, ...], str]]:
    """(keys, why nothing reads them)."""
    writes = entry.source == "rollout"
    measured = bool(recipe.data.eval and recipe.reward)
    if not writes:
        yield ("group_size", "keep", "shaping"), f"{recipe.name} trains on the answers in its rows"
    if not writes and not measured:
        yield ("sampling", "engine.cache_gib"), f"{recipe.name} samples no answers"
    if recipe.engine.trainers == 1:
        yield OF_RANKS, "engine.trainers is 1: this process trains"
    yield from _of_servers(recipe, serving.samples(recipe, entry))
    if not recipe.reward:
        yield ("correct_above",), "there is no reward"
    if not recipe.data.eval:
        yield ("data.eval_split", "data.eval_columns"), "there is no data.eval"
    if not recipe.data.eval and not (recipe.pretrain and recipe.pretrain.eval):
        yield ("evaluate",), "nothing is held out (data.eval)"
    elif not measured:
        yield ("evaluate.samples",), "no held-out answers are sampled"
    objective = recipe.objective
    if not (isinstance(objective, ContrastObjective) and "steps" in objective.learns_from):
        yield ("data.step_separator",), f"{recipe.name} learns from whole answers"
    if recipe.schedule.decay == "constant":
        yield ("schedule.final",), "schedule.decay is constant"
