"""From a recipe to what it costs on so many GPUs, before any weights are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from postlude.errors import ConfigError
from postlude.facts.hardware import GPUS
from postlude.footprint import Lengths, named, shape_of
from postlude.objectives import Need
from postlude.recipe import Recipe
from postlude.sizing.cost import Cost, Run, Way, cost
from postlude.sizing.draw import Draw
from postlude.sizing.shape import Shape
from postlude.words import meant

MOST = 100_000
"""GPUs that can be asked for."""
SHARE = 0.5
"""Of the longest answer, that answers are long on average where nobody says."""


@dataclass(frozen=True)
class Asked:
    """What is asked of a recipe beyond its keys."""

    gpus: tuple[int, ...] = (1, 8, 64)
    gpu: str = "h100"
    config: str | None = None
    """A model's config.json, where the recipe's own model is not here."""
    lengths: Lengths | None = None
    """Tokens of a prompt and of a written answer; None: those of the data, or what is usual."""
    answer: float | None = None
    """Tokens of an answer, on average; None: half of the longest."""

    @classmethod
    def of(cls, gpus: str, gpu: str, config: str | None, lengths: str | None, answer: float | None) -> Asked:
        """From the command line. Raises ConfigError."""
        numbers = gpus.replace(" ", "").split(",")
        if not all(one.isdecimal() and len(one) < 10 and 0 < int(one) <= MOST for one in numbers):
            raise ConfigError(
                f"--gpus: {gpus!r} must be numbers from 1 to {MOST:,}, such as 1,8,64.", code="out-of-range"
            )
        if gpu not in GPUS:
            raise ConfigError(
                f"--gpu: {gpu!r} is none that is known ({', '.join(GPUS)}).{meant(gpu, GPUS)}", code="unknown-name"
            )
        if answer is not None and not answer > 0:
            raise ConfigError(f"--mean-answer: {answer:g} must be above 0 tokens.", code="out-of-range")
        return cls(
            tuple(dict.fromkeys(map(int, numbers))), gpu, config, Lengths.of(lengths) if lengths else None, answer
        )


@dataclass(frozen=True)
class Plan:
    """What a recipe costs, for each number of GPUs."""

    recipe: Recipe
    run: Run
    costs: tuple[Cost, ...]
    notes: tuple[str, ...]


def plan(what: str, overrides: Sequence[str], method: str | None, asked: Asked) -> Plan:
    """Of a recipe (file, method, run's folder) or a model (folder, name in the cache, size), with settings on top.

    Raises ConfigError, DataError. Needs no weights; data is read where its model's tokenizer is here.
    """
    subject = named(what, overrides, method, asked.lengths, by_name=True)
    recipe = subject.recipe
    run = Run(
        _shape(recipe, asked),
        subject.setting,
        draw_of(recipe, subject.lengths, asked),
        recipe.steps,
        _way(recipe),
        recipe.engine.commit_every,
        recipe.checkpoints.every,
        recipe.engine.servers.concurrency if recipe.engine.servers else 256,
        recipe.engine.servers.gpus if recipe.engine.servers and recipe.engine.servers.gpus > 1 else None,
    )
    costs = tuple(cost(run, GPUS[asked.gpu], count) for count in asked.gpus)
    known = subject.was_read or asked.lengths is not None
    prompts = "" if known else f"prompts of {subject.lengths.prompt:,} tokens are assumed: --data-lengths P,A"
    return Plan(recipe, run, costs, tuple(note for note in (prompts, *_notes(run, asked, costs)) if note))


def _shape(recipe: Recipe, asked: Asked) -> Shape:
    if asked.config:
        return Shape.of_config(asked.config)
    try:
        return shape_of(recipe.model.path)
    except ConfigError as error:
        if error.code != "no-such-model":
            raise
        raise ConfigError(
            f"{str(error).rstrip('.')}; or copy the config.json of its page and give that: --config config.json",
            code="no-such-model",
        ) from error


def draw_of(recipe: Recipe, lengths: Lengths, asked: Asked) -> Draw:
    """A step of a recipe. Of a method that samples, the longest answer is as long as it may be."""
    rollout = recipe.algorithm.source == "rollout"
    longest = recipe.sampling.max_tokens if rollout else lengths.answer
    answer = min(asked.answer or (SHARE * longest if rollout else longest), longest)
    pairs = 2 if recipe.algorithm.source == "preference" else 1
    passes = recipe.updates * recipe.epochs
    wants = recipe.objective.wants(passes)
    return Draw(
        prompts=recipe.prompts_per_step,
        group=recipe.group_size if rollout else pairs,
        prompt=lengths.prompt,
        answer=answer,
        longest=longest,
        updates=recipe.updates,
        epochs=recipe.epochs,
        readings=len({Need.OLD, Need.REFERENCE} & wants),
        samples=rollout,
        whole_groups=not recipe.objective.splits_groups,
        lag=min(1, recipe.max_lag),
    )


def _way(recipe: Recipe) -> Way:
    publish = recipe.engine.publish
    if publish == "stream":
        return "stream"
    return "lora" if recipe.model.lora else "files"


def _notes(run: Run, asked: Asked, costs: Sequence[Cost]) -> list[str]:
    """What was assumed, and what this version cannot do."""
    notes = [run.shape.note] if run.shape.note else []
    if run.draw.samples:
        if asked.answer is None:
            notes.append(
                f"answers of {run.draw.answer:,.0f} tokens on average, half of the longest, are assumed: "
                "--mean-answer says it better"
            )
        notes.append("rewards and evaluations are not counted: what they take is theirs")
    else:
        notes.append("evaluations are not counted")
    if any(one.count > 8 and one.server for one in costs):
        notes.append(
            "servers are started on the driver's host alone; on others they are started by hand or by a scheduler, and "
            "named in engine.servers.urls"
        )
    if run.draw.samples and any(one.layout.alone for one in costs):
        notes.append("on one GPU this process samples, and is taken to be as fast as vLLM, which nobody has measured")
    if any(one.server for one in costs) and run.way == "files":
        notes.append("files: servers read a version one after the other, so that the others go on sampling")
    if any(not one.fits for one in costs):
        notes.append(
            "a rank computes whole layers on whole sequences: neither tensor parallel ranks nor context parallelism "
            "are built"
        )
    if any(one.copies > 1 for one in run.shape.linears):
        notes.append(
            "a mixture of experts: every rank gathers all experts (no expert parallelism is built), and small products "
            "reach less of a GPU than is assumed; published steps took more than twice as long"
        )
    notes.append("in brackets: of a pass at its output layer, where another moment takes more")
    notes.append(
        "arithmetic: postlude has not trained on several GPUs yet; docs/scale.md holds it against published runs"
    )
    return notes
