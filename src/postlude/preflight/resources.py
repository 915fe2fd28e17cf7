"""Sections `memory`, `disk` and `time`: what the run will take, part by part, against what there is."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from postlude.data import completion_to_json
from postlude.errors import ConfigError
from postlude.footprint import others_of, setting_of, shape_of, work_of
from postlude.preflight.report import Section
from postlude.preflight.sampled import Sampled
from postlude.prepared import Prepared
from postlude.recipe import Recipe
from postlude.recipe.schema import times
from postlude.runs.folder import Run
from postlude.runs.space import Space, forecast
from postlude.sizing import estimate
from postlude.sizing.work import Asked
from postlude.words import counted, size

if TYPE_CHECKING:
    from postlude.engines.local.engine import LocalEngine
    from postlude.preflight.update import Timed


def duration(seconds: float) -> str:
    """12 s, 3 min, 2.5 h."""
    if seconds < 90:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


# ------------------------------------------------------------------------------------------------------- memory


def look_at_memory(prepared: Prepared, engine: LocalEngine) -> Section:
    """By component; what cannot be held was refused when the engine was made."""
    section = Section("memory", "Memory")
    plan = engine.plan
    parts = {
        **engine.held_bytes(),
        **{k: plan.parts.get(k, 0) for k in ("other models", "activations", "logits", "sampling")},
    }
    section.figures |= {"parts": parts, "peak": plan.peak, "free": plan.room}
    section.table.append(("parts", ", ".join(f"{name} {size(count)}" for name, count in parts.items() if count)))
    phases = _phases_of_memory(prepared, engine)
    section.figures["phases"] = phases
    if phases:
        section.table.append(("phases", ", ".join(f"{name} {size(count)}" for name, count in phases.items())))
    section.summary = f"at most {size(plan.peak)} at once of {size(plan.room)} that is free"
    if plan.warning:
        section.warn("out-of-memory", plan.warning, "Set what it names, or leave it to be chosen.")
    return section


def _phases_of_memory(prepared: Prepared, engine: LocalEngine) -> dict[str, int]:
    """Bytes of each phase as `postlude memory` gives them, with the sizes that the engine took; none for a model whose
    shape is not known."""
    recipe, held = prepared.recipe, engine.settings()
    try:
        shape = shape_of(recipe.model.path)
    except ConfigError:
        return {}
    setting = setting_of(recipe, work_of(prepared), others_of(prepared))
    asked = Asked(held["token_budget"], held["head_chunk"], held["cache_gib"])
    return {str(name): count for name, count in estimate(shape, replace(setting, asked=asked)).phases.items()}


# --------------------------------------------------------------------------------------------------------- disk


def checkpoints_planned(recipe: Recipe) -> int:
    """How many a run writes: every so many steps, and one at its end."""
    every = recipe.checkpoints.every
    return 1 + ((recipe.steps - 1) // every if every else 0)


def checkpoints_held(recipe: Recipe) -> int:
    """The newest, and the best."""
    return recipe.checkpoints.keep + (recipe.checkpoints.best is not None)


def space_of(recipe: Recipe, checkpoint: int, answers: int) -> Space:
    """What the run holds on its disk at its worst."""
    folder = Path(recipe.output) if recipe.output else Run.fresh_folder(recipe.name)
    held, planned = checkpoints_held(recipe), checkpoints_planned(recipe)
    return forecast(folder, checkpoint, held, planned, answers, recipe.servers is not None)


def look_at_disk(prepared: Prepared, engine: LocalEngine, sampled: Sampled | None) -> Section:
    """Checkpoints and answers."""
    recipe, section = prepared.recipe, Section("disk", "Disk")
    space = space_of(recipe, engine.saved_bytes(), _bytes_of_answers(recipe, sampled))
    section.figures |= {"parts": dict(space.parts), "needed": space.needed, "free": space.free}
    section.summary = f"{size(space.needed)} of {size(space.free)} that is free"
    each = engine.saved_bytes()
    section.table.append(
        ("checkpoints", f"{min(checkpoints_held(recipe), checkpoints_planned(recipe))} of {size(each)} are kept")
    )
    text, mend = space_text(recipe, space, each)
    if not space.fits:
        section.broken("disk-full", text, mend)
    elif space.tight:
        section.warn("disk-full", text, mend)
    return section


def space_text(recipe: Recipe, space: Space, each: int) -> tuple[str, str]:
    """What to say where the disk is short, and what to do."""
    where = recipe.output or "runs/"
    listed = ", ".join(f"{name} {size(count)}" for name, count in space.parts.items() if count)
    answers = space.parts.get("answers", 0)
    ways = ["fewer steps (steps), whose answers are most of it"] if 2 * answers > space.needed else []
    ways += ["checkpoints.keep=1"] if recipe.checkpoints.keep > 1 else []
    ways += [] if recipe.model.lora else ["model.lora.rank=16 (checkpoints of an adapter are small)"]
    ways += ["an output on another disk"]
    return (
        f"the run will hold {size(space.needed)} ({listed}; a checkpoint is {size(each)}), and "
        f"{size(space.free)} are free where output {where!r} is",
        f"Make room, or take {', or '.join(ways)}.",
    )


def _bytes_of_answers(recipe: Recipe, sampled: Sampled | None) -> int:
    """Rollouts of all steps, as long as the sampled answers are."""
    if sampled is None or not sampled.completions:
        return 0
    few = sampled.completions[:32]
    rows = [len(json.dumps(completion_to_json(c), default=str)) for c in few]
    prompt = sum(len(g.prompt.text) for g in sampled.groups) / len(sampled.groups)
    each = sum(rows) / len(rows) + prompt + 100
    return int(each * steps_within(recipe, sampled) * recipe.prompts_per_step * recipe.group_size)


# --------------------------------------------------------------------------------------------------------- time


def look_at_time(prepared: Prepared, timed: Timed, sampled: Sampled | None) -> Section:
    """Of a step and of the run, by phase, from what was timed here."""
    recipe, section = prepared.recipe, Section("time", "Time")
    phases = _phases(prepared, timed, sampled)
    step = sum(phases.values())
    evaluation = _evaluation(prepared, sampled)
    steps = steps_within(recipe, sampled, step)
    count = times(recipe.evaluate.every, steps) if evaluation else 0
    whole = step * steps + evaluation * count
    section.figures |= {"step": step, "run": whole, "phases": phases, "evaluation": evaluation}
    ends = ", where its budget ends" if steps < recipe.steps else ""
    section.summary = f"about {duration(step)} a step, {duration(whole)} for {counted(steps, 'step')}{ends}"
    section.table.append(("a step", ", ".join(f"{name} {duration(s)}" for name, s in phases.items() if s)))
    if evaluation:
        section.table.append(("held out", f"{duration(evaluation)} each, {counted(count, 'time')}"))
    return section


def steps_within(recipe: Recipe, sampled: Sampled | None, each: float = 0.0) -> int:
    """Those of the run, as far as its budget lasts where a step takes `each` seconds and its answers are as long as the
    sampled ones."""
    budget, most = recipe.budget, [recipe.steps]
    if budget is not None and budget.tokens and sampled is not None and sampled.completions:
        answers = recipe.prompts_per_step * recipe.group_size * sampled.tokens / len(sampled.completions)
        prompts = recipe.prompts_per_step * sum(len(g.prompt.tokens) for g in sampled.groups) / len(sampled.groups)
        most.append(math.ceil(budget.tokens / (answers + recipe.epochs * (prompts + answers))))
    if budget is not None and budget.seconds and each:
        most.append(math.ceil(budget.seconds / each))
    return min(most)


def _phases(prepared: Prepared, timed: Timed, sampled: Sampled | None) -> dict[str, float]:
    """Seconds of sampling, scoring and training in a step: in proportion to answers and tokens."""
    recipe = prepared.recipe
    if sampled is None or not sampled.completions:
        each = timed.seconds / max(timed.tokens, 1)
        total = sum(len(g.prompt.tokens) + sum(len(c.tokens) for c in g.completions) for g in prepared.items)
        tokens = total / max(len(prepared.items), 1) * recipe.prompts_per_step
        return {"train": each * tokens * recipe.epochs}
    share = recipe.prompts_per_step * recipe.group_size / len(sampled.completions)
    prompts = sum(len(g.prompt.tokens) for g in sampled.groups) / len(sampled.groups)
    answers = sampled.tokens / len(sampled.completions)
    tokens = recipe.prompts_per_step * (prompts + recipe.group_size * answers)
    train = timed.seconds / max(timed.tokens, 1) * tokens * recipe.epochs
    return {"sample": sampled.sampling * share, "score": sampled.scoring * share, "train": train}


def _evaluation(prepared: Prepared, sampled: Sampled | None) -> float:
    """Seconds of one: greedy and sampled answers to the held-out prompts."""
    if sampled is None or not sampled.completions:
        return 0.0
    return (sampled.sampling + sampled.scoring) / len(sampled.completions) * prepared.evaluation_answers
