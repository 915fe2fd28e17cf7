"""From a recipe to what it costs on so many GPUs, before any weights are read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path

from postlude.errors import ConfigError
from postlude.facts.hardware import GPUS, PER_HOST, Gpu
from postlude.footprint import Lengths, named, shape_of
from postlude.objectives import Need
from postlude.recipe import Recipe
from postlude.sizing.cost import Cost, Run, Way, cost, width_of
from postlude.sizing.draw import Draw
from postlude.sizing.layout import MOST_SERVERS, MOST_TRAINERS, SINGLY, Layout
from postlude.sizing.setting import Setting
from postlude.sizing.shape import Shape, size_in
from postlude.words import counted, meant

MOST = 100_000
"""GPUs that can be asked for."""
BEFORE_BFLOAT16 = ("t4", "v100", "rtx2080ti")
"""GPUs that a data sheet says nothing of in bfloat16."""
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
        if answer is not None and not answer > 0:
            raise ConfigError(f"--mean-answer: {answer:g} must be above 0 tokens.", code="out-of-range")
        counts = tuple(dict.fromkeys(map(int, numbers)))
        return cls(counts, _gpu_named(gpu), config, Lengths.of(lengths) if lengths else None, answer)


def _gpu_named(name: str) -> str:
    """Its key in GPUS, however it is written: `RTX 4090` is `rtx4090`. Raises ConfigError."""
    plain = "".join(one for one in name.casefold() if one.isalnum())
    if plain in GPUS:
        return plain
    if plain in BEFORE_BFLOAT16:
        raise ConfigError(
            f"--gpu: {name!r} has no bfloat16 in its tensor cores, so nothing is planned for it. Take one of: "
            f"{', '.join(GPUS)}.",
            code="unknown-name",
        )
    near = [one for one in GPUS if plain and (plain in one or one in plain)]
    hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else meant(plain, GPUS)
    raise ConfigError(f"--gpu: {name!r} is none that is known ({', '.join(GPUS)}).{hint}", code="unknown-name")


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
    recipe, gpu = subject.recipe, GPUS[asked.gpu]
    _require_answers(recipe, asked)
    servers = recipe.engine.servers
    run = Run(
        _shape(recipe, what, asked),
        _setting(recipe, subject.setting),
        draw_of(recipe, subject.lengths, asked),
        recipe.steps,
        _way(recipe),
        recipe.engine.commit_every,
        recipe.checkpoints.every,
        servers.concurrency if servers else 256,
        servers.gpus if servers and servers.gpus > 1 else None,
    )
    run = replace(run, fixed=_fixed(recipe, run, gpu))
    costs = tuple(cost(run, gpu, count) for count in asked.gpus)
    known = subject.was_read or asked.lengths is not None
    prompts = "" if known else f"prompts of {subject.lengths.prompt:,} tokens are assumed: --data-lengths P,A"
    notes = (prompts, *_set_aside(recipe, run, asked, costs), *_notes(run, asked, costs))
    return Plan(recipe, run, costs, tuple(note for note in notes if note))


def _setting(recipe: Recipe, setting: Setting) -> Setting:
    """As of one process that samples too, whoever samples in the recipe: of ranks beside servers that is taken away."""
    if recipe.algorithm.source != "rollout" or not recipe.servers:
        return setting
    answers = recipe.prompts_per_step * recipe.group_size
    work = replace(setting.work, answers=answers, first_prompts=recipe.prompts_per_step)
    return replace(setting, work=work, apart=recipe.max_lag > 0, served=False)


def _require_answers(recipe: Recipe, asked: Asked) -> None:
    """A mean that answers can have. Raises ConfigError."""
    if asked.answer is None:
        return
    if recipe.algorithm.source != "rollout":
        raise ConfigError(
            f"--mean-answer is of sampled answers, and {recipe.name} samples none: --data-lengths P,A says how long "
            "those of the data are.",
            code="no-effect",
        )
    most = recipe.sampling.max_tokens
    if asked.answer > most:
        raise ConfigError(
            f"--mean-answer: {asked.answer:g} is more than the longest answer, sampling.max_tokens {most:,}. Give the "
            f"longest too (sampling.max_tokens={2 * ceil(asked.answer)}), or a lower mean.",
            code="contradiction",
        )


def _shape(recipe: Recipe, what: str, asked: Asked) -> Shape:
    if asked.config:
        if Path(asked.config).expanduser().exists():
            return Shape.of_config(asked.config)
        size = size_in(asked.config)
        way = f" A size goes without it: {_sized(recipe, what, size)}." if size else ""
        raise ConfigError(
            f"--config: there is no file {asked.config!r}. It takes a model's config.json.{way}", code="no-such-file"
        )
    try:
        return shape_of(recipe.model.path)
    except ConfigError as error:
        if error.code != "no-such-model":
            raise
        path = recipe.model.path
        raise ConfigError(
            f"model: {path!r} is no folder here, and Hugging Face's cache has no config of it. Plan its size: "
            f"{_sized(recipe, what, size_in(path) or '7B')}; or copy the config.json of its page and give that: "
            "--config config.json; or download the model.",
            code="no-such-model",
        ) from error


def _sized(recipe: Recipe, what: str, size: str) -> str:
    """What to write for a size: in the place of a model that was named, or over a recipe's."""
    return f"postlude plan {size}" if what == recipe.model.path else f"model={size}"


def _fixed(recipe: Recipe, run: Run, gpu: Gpu) -> Layout | None:
    """Ranks and servers that a recipe itself asks for, as far as they can be planned."""
    trainers, servers = recipe.engine.trainers, recipe.engine.servers
    if not run.draw.samples:
        return Layout(trainers) if trainers > 1 else None
    if servers is None or servers.colocate:
        return None
    running = servers.count is None and servers.gpus == 1  # how wide they are, nobody says
    width = width_of(run, gpu, PER_HOST) or 1 if running else servers.gpus
    return Layout(trainers, servers.count or len(servers.urls), width)


def draw_of(recipe: Recipe, lengths: Lengths, asked: Asked) -> Draw:
    """A step of a recipe. Of a method that samples, the longest answer is as long as it may be."""
    rollout = recipe.algorithm.source == "rollout"
    longest = recipe.sampling.max_tokens if rollout else lengths.answer
    answer = asked.answer or (SHARE * longest if rollout else longest)
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


def _set_aside(recipe: Recipe, run: Run, asked: Asked, costs: Sequence[Cost]) -> Iterator[str]:
    """Settings of a recipe that the plan does not go by."""
    engine, gpu = recipe.engine, costs[0].gpu.name
    fixed, others = run.fixed, [one for one in costs if one.layout != run.fixed]
    if fixed and others:
        counts = ", ".join(f"{one.count:,}" for one in others)
        yield (
            f"the recipe's own {shares(fixed)} {'are' if fixed.total > 1 else 'is'} planned as such with --gpus "
            f"{fixed.total}; with {counts} they are shared out anew, for the fastest step"
        )
    if engine.trainers > 1 and not fixed:
        yield (
            f"engine.trainers {engine.trainers:,} is set aside: without engine.servers this process samples beside its "
            "ranks, which is not planned"
        )
    if engine.servers and engine.servers.colocate:
        yield "engine.servers.colocate is set aside: servers are planned on GPUs of their own"
    elif engine.servers and not run.draw.samples:
        yield f"engine.servers are set aside: {recipe.name} samples nothing in training"
    if engine.device == "cpu":
        yield f"engine.device cpu is set aside: this is a plan for {gpu}"
    if engine.dtype == "float64":
        yield "engine.dtype float64 is planned at the speed of float32, which GPUs do not reach in it"
    if run.way == "stream" and any(one.layout.trainers > 1 and one.server for one in costs):
        yield "engine.publish stream is for one trainer: where several train, files are planned"
    if run.draw.samples and asked.lengths:
        yield f"of --data-lengths the answer's {asked.lengths.answer:,} is not used: {recipe.name} samples its own"
    if recipe.pretrain:
        yield "pretrain is not counted: its text is trained on beside the draw"
    if recipe.keep and run.draw.samples:
        yield f"keep {recipe.keep.kind} is not counted: what it leaves out is sampled beside the draw"


def shares(layout: Layout) -> str:
    """`6 + 2`: GPUs that train and GPUs that sample; of servers on several GPUs, `6 + 2 x 4`."""
    if layout.alone or not layout.servers:
        return counted(layout.trainers, "GPU")
    wide = f" x {layout.gpus:,}" if layout.gpus > 1 else ""
    return f"{layout.trainers:,} + {layout.servers:,}{wide}"


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
        notes.append("one process that does all is taken to sample as fast as vLLM, which nobody has measured")
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
    if any(one.count > SINGLY for one in costs):
        notes.append(
            f"above {SINGLY} GPUs of a kind whole hosts of ranks and of servers are tried, and no more than "
            f"{MOST_TRAINERS:,} and {MOST_SERVERS:,}, which a recipe can ask for"
        )
    notes.append("in brackets: of a pass at its output layer, where another moment takes more")
    notes.append(
        "arithmetic: postlude has not trained on several GPUs yet; docs/scale.md holds it against published runs"
    )
    return notes
