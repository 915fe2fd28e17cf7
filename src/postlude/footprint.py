"""What a run will ask of memory, from its recipe and data, before any weights are read."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, prod
from pathlib import Path
from typing import Any, Literal, cast

from postlude.algorithms import ALGORITHMS, find_method
from postlude.check import check
from postlude.data import Group
from postlude.engines.local.free import Free, free
from postlude.errors import ConfigError
from postlude.models.dtypes import Dtype
from postlude.models.load import base_path, device_of
from postlude.models.lora import Lora
from postlude.models.spec import Holding
from postlude.objectives import Need, Objective, TokenObjective
from postlude.prepared import Prepared
from postlude.recipe import Document, Recipe, key_of, override, packaged, resolve
from postlude.recipe.opening import document_of
from postlude.rewards.functions import JudgedReward, LearnedReward
from postlude.runs.checkpoints import latest_model
from postlude.sizing import Estimate, Setting, Shape
from postlude.sizing.estimate import least_held, sized
from postlude.sizing.host import host_of
from postlude.sizing.ranks import shared_out
from postlude.sizing.setting import Loaded
from postlude.sizing.shape import number_of, size_in
from postlude.sizing.work import GIB, SIZES, USABLE, Asked, Work
from postlude.words import meant

LONGEST = 10**8
"""Tokens of a prompt or an answer that can be asked for."""
ELSEWHERE: Mapping[str, Any] = {"answers": 0, "first_prompts": 0}
"""Of the work, where servers sample: none of the answers is sampled here."""
LARGEST_GPU = 1e6
"""GiB of a device that can be asked for."""


@dataclass(frozen=True)
class Lengths:
    """Tokens of the longest prompt and of the longest answer that is written."""

    prompt: int = 512
    answer: int = 256

    @classmethod
    def of(cls, text: str) -> Lengths:
        """From `PROMPT,ANSWER`. Raises ConfigError."""
        numbers = text.replace(" ", "").split(",")
        if len(numbers) != 2 or not all(one.isdecimal() for one in numbers):
            raise ConfigError(
                f"--data-lengths: {text!r} is not PROMPT,ANSWER in tokens, such as 512,256.", code="wrong-type"
            )
        if not all(len(one) < 20 and 0 < int(one) <= LONGEST for one in numbers):
            raise ConfigError(
                f"--data-lengths: both numbers of {text!r} must be from 1 to {LONGEST:,} tokens.", code="out-of-range"
            )
        return cls(int(numbers[0]), int(numbers[1]))


def work_of(prepared: Prepared) -> Work:
    """The longest sequence, piece and update of a run, and the models that its rewards will load."""
    recipe = prepared.recipe
    prompts = [*prepared.prompts, *prepared.held_out, *prepared.sheet]
    longest = max((len(p.tokens) for p in prompts), default=0)
    others, asked = sum(one.bytes for one in others_of(prepared)), _asked(prepared)
    if recipe.algorithm.source == "rollout":
        work = work_of_answers(recipe, longest, asked)
    else:
        sizes = sorted(len(g.prompt.tokens) + sum(len(c.tokens) for c in g.completions) for g in prepared.items)
        rows = ceil(recipe.prompts_per_step / recipe.updates)
        sequence, group = _longest(prepared.items, whole=False), max(sizes, default=0)
        work = Work(
            sequence=max(sequence, longest + recipe.sampling.max_tokens if asked else 0),
            piece=group if not recipe.objective.splits_groups else sequence,
            update=sum(sizes[-rows:]),
            draw=sum(sizes[-recipe.prompts_per_step :]),
            answers=asked,
            prompt=max((len(g.prompt.tokens) for g in prepared.items), default=0),
            group=max((len(g.completions) for g in prepared.items), default=1),
        )
    if recipe.pretrain:
        text = _longest(prepared.pretrain, whole=False)
        more = ceil(recipe.pretrain.rows / recipe.updates) * text
        work = replace(
            work, sequence=max(work.sequence, text), piece=max(work.piece, text), update=max(work.update, more)
        )
    return replace(work, other=others, **(ELSEWHERE if recipe.servers else {}))


def work_of_answers(recipe: Recipe, prompt: int, asked: int = 0) -> Work:
    """Of a method that samples: every answer as long as it may be. `asked`: answers that an evaluation samples."""
    answer, size = recipe.sampling.max_tokens, recipe.group_size
    group = prompt + answer * size
    return Work(
        sequence=prompt + answer,
        piece=group if not recipe.objective.splits_groups else prompt + answer,
        update=ceil(recipe.prompts_per_step / recipe.updates) * group,
        draw=recipe.prompts_per_step * group,
        answers=max(recipe.prompts_per_step * size, asked),
        prompt=prompt,
        group=size,
        first_prompts=recipe.prompts_per_step,
    )


def work_of_rows(recipe: Recipe, lengths: Lengths) -> Work:
    """Of a method that trains on written answers, each as long as the longest."""
    each = 2 if recipe.algorithm.source == "preference" else 1
    group = lengths.prompt + each * lengths.answer
    return Work(
        sequence=lengths.prompt + lengths.answer,
        piece=group if not recipe.objective.splits_groups else lengths.prompt + lengths.answer,
        update=ceil(recipe.prompts_per_step / recipe.updates) * group,
        draw=recipe.prompts_per_step * group,
        prompt=lengths.prompt,
        group=each,
    )


def setting_of(recipe: Recipe, work: Work | Lengths, others: Sequence[Loaded] = ()) -> Setting:
    """What a recipe says about memory, with the lengths of its data (or what stands for them)."""
    needs, rollout = recipe.objective.needs, recipe.algorithm.source == "rollout"
    if isinstance(work, Lengths):
        work = work_of_answers(recipe, work.prompt) if rollout else work_of_rows(recipe, work)
        work = replace(work, **(ELSEWHERE if recipe.servers else {}))
    held, critic = recipe.engine, recipe.critic
    start = critic.path if critic and critic.form == "own" else None
    before = {Need.OLD, Need.REFERENCE, Need.VALUES}
    return Setting(
        method=recipe.name,
        work=work,
        samples=rollout,
        reads_old=bool(before & recipe.objective.wants(recipe.updates * recipe.epochs)),
        reference=Need.REFERENCE in needs,
        without_reference=_without_reference(recipe.objective),
        critic=critic.form if critic else None,
        critic_shape=Shape.of_config(start) if start else None,
        scores=Need.SCORES in needs,
        dtype=held.dtype,
        lora=recipe.model.lora,
        checkpointing=held.gradient_checkpointing,
        device=_kind(held),
        apart=recipe.max_lag > 0 and not recipe.servers,
        served=recipe.servers is not None,
        others=tuple(others),
        asked=Asked(held.token_budget, held.head_chunk, held.cache_gib),
        stored=stored_dtype(recipe.model.path),
    )


def _without_reference(objective: Objective) -> str:
    """KEY=VALUE under which a method needs no reference; empty where it cannot do without."""
    if not isinstance(objective, TokenObjective):
        return ""
    changes = {"objective.kl=null": replace(objective, kl=None)}
    if "kl_coef" in objective.advantage.__dataclass_fields__:
        free_of_it = replace(objective.advantage, kl_coef=0.0)  # type: ignore[call-arg]
        changes["objective.advantage.kl_coef=0"] = replace(objective, advantage=free_of_it)
    return next((key for key, other in changes.items() if Need.REFERENCE not in other.needs), "")


def _kind(held: Holding) -> Literal["cpu", "cuda"]:
    """The device that a model will be held on, as far as it shows without torch."""
    if held.device == "auto":
        return "cuda" if Path("/proc/driver/nvidia/gpus").exists() else "cpu"
    return held.device


def _asked(prepared: Prepared) -> int:
    """Answers that an evaluation, or the sheet, samples at a time."""
    evaluate = prepared.recipe.evaluate
    evaluation = sum(map(len, prepared.asked.values())) * evaluate.samples
    return max(evaluation, len(prepared.sheet) * (evaluate.sheet.answers if evaluate.sheet else 0))


def _longest(groups: Iterable[Group], whole: bool) -> int:
    """Tokens of the longest prompt with one of its answers, or with all of them."""
    sizes = [(len(g.prompt.tokens), [len(c.tokens) for c in g.completions]) for g in groups]
    return max((prompt + (sum(own) if whole else max(own, default=0)) for prompt, own in sizes), default=0)


def others_of(prepared: Prepared) -> list[Loaded]:
    """The reward models and judges in this process, which load when they are first asked."""
    models: list[tuple[str, str]] = []
    for member in [*prepared.rewards.members, *prepared.metrics.members]:
        function = member.function
        if isinstance(function, LearnedReward):
            models += [(spec.path, spec.dtype) for spec in function.specs]
        if isinstance(function, JudgedReward) and function.asker.spec.url is None:
            models.append((latest_model(function.asker.spec.model), function.asker.spec.dtype))
    return [Loaded(Path(path).name, numbers(path) * SIZES[dtype]) for path, dtype in models]


def stored_dtype(path: str) -> Dtype:
    """Of the weights in a model's folder; float32 where that is not known."""
    kinds = {"BF16": "bfloat16", "F16": "bfloat16", "F64": "float64"}
    for header in _headers(path):
        kind = next((tensor["dtype"] for name, tensor in header.items() if name != "__metadata__"), "F32")
        return cast(Dtype, kinds.get(kind, "float32"))
    return "float32"


def numbers(path: str) -> int:
    """Weights of a model folder, by the headers of its files; 0 where that cannot be known without a download."""
    tensors = [one for header in _headers(path) for name, one in header.items() if name != "__metadata__"]
    return sum(prod(tensor["shape"]) for tensor in tensors)


def _headers(path: str) -> Iterator[dict[str, Any]]:
    for file in Path(base_path(path)).expanduser().glob("*.safetensors"):
        with file.open("rb") as source:
            (size,) = struct.unpack("<Q", source.read(8))
            yield json.loads(source.read(size))


def shape_of(path: str) -> Shape:
    """Of a model's folder, its name in Hugging Face's cache, or a size. Raises ConfigError."""
    if number_of(path) and not Path(path).exists():
        return Shape.of_size(path)
    shape = Shape.of_config(path)
    stored = numbers(path) if shape.note else 0
    if not stored:
        return shape
    return replace(shape, outside=shape.outside + stored - shape.parameters)  # a family that is counted as another


def require_room(prepared: Prepared, reference: bool) -> None:
    """Refuse a model whose weights, gradients and optimiser alone are more than what is free. Raises ConfigError."""
    recipe = prepared.recipe
    room = free(device_of(recipe.engine))
    try:
        shape = shape_of(recipe.model.path)
        setting = replace(setting_of(recipe, work_of(prepared), others_of(prepared)), reference=reference)
    except ConfigError:
        return  # of a model that is not here yet, or whose config has other names, nothing is known
    needs = least_held(shape, setting)
    if needs <= USABLE * room.bytes:
        return
    changes = {
        "model.lora.rank=16 (an adapter instead of all weights)": replace(setting, lora=setting.lora or Lora()),
        "max_lag=0": replace(setting, apart=False),
    }
    fits = [key for key, other in changes.items() if other != setting and _fits(shape, other, room)]
    tail = f"This would fit: {'; or '.join(fits)}." if fits else "Take a smaller model, or a machine with more memory."
    raise ConfigError(
        f"memory: the weights of {recipe.model.path!r} ({shape.parameters / 1e6:,.0f} M) with gradients, optimiser and "
        f"copies take {needs / GIB:.2g} GiB, and {room.bytes / GIB:.2g} GiB are free ({room.bound}). {tail} "
        "`postlude memory` shows all of it.",
        code="out-of-memory",
    )


def require_room_of_ranks(prepared: Prepared) -> None:
    """The same of several trainers. Raises ConfigError. Of those of another cluster nothing is known here."""
    if text := short_of_ranks(prepared):
        raise ConfigError(text, code="out-of-memory")


def short_of_ranks(prepared: Prepared) -> str:
    """What is missing of memory for several trainers; empty where they fit, or where that cannot be known here.

    On GPUs each has its own; on a CPU all of them, and the process that samples, share the machine's."""
    recipe, ranks = prepared.recipe, prepared.recipe.engine.trainers
    if recipe.engine.address != "local":
        return ""
    try:
        shape = shape_of(recipe.model.path)
        setting = setting_of(recipe, work_of(prepared), others_of(prepared))
    except ConfigError:
        return ""
    device = device_of(recipe.engine)
    room = free(device)
    usable = USABLE * room.bytes
    if device.type == "cuda":
        needs = least_held(shape, shared_out(setting, ranks))
        taken = f"each of {ranks} trainers takes at least {needs / GIB:.2g} GiB of its GPU"
        fits = _fewer(lambda other: least_held(shape, shared_out(other, ranks)) <= usable, setting)
    else:
        samples = not recipe.servers and (setting.samples or setting.work.answers > 0)
        host = host_of(shape, setting, ranks, samples)
        needs = host.needs
        taken = (
            f"{ranks} trainers on this machine take at least {needs / GIB:.2g} GiB together ({host.rank / GIB:.2g} "
            f"each, {host.driver / GIB:.2g} for the process that samples; {host.loading / GIB:.2g} while all load)"
        )
        fits = _fewer(lambda other: host_of(shape, other, ranks, samples).needs <= usable, setting)
        fewer = _most(lambda number: host_of(shape, setting, number, samples).needs <= usable, ranks)
        fewer = fewer or int(least_held(shape, setting) <= usable)
        fits += [f"engine.trainers={fewer}"] if fewer else []
    if needs <= usable:
        return ""
    tail = f"This would fit: {'; or '.join(fits)}." if fits else "Take a smaller model, or more memory."
    return (
        f"memory: {taken}, and {room.bytes / GIB:.2g} GiB are free ({room.bound}). {tail} `postlude memory` shows what "
        "a rank takes."
    )


def _most(fits: Callable[[int], bool], ranks: int) -> int:
    """The most trainers below a number that fit, at least two, of whom more take more; 0 where none do."""
    low, high = 1, ranks  # one that counts as fitting, one that does not
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low if low > 1 else 0


def _fewer(fits: Callable[[Setting], bool], setting: Setting) -> list[str]:
    """Settings under which trainers fit, of those that take less of each."""
    changes = {"model.lora.rank=16": replace(setting, lora=setting.lora or Lora())}
    return [key for key, other in changes.items() if other != setting and fits(other)]


def _fits(shape: Shape, setting: Setting, room: Free) -> bool:
    return least_held(shape, setting) <= USABLE * room.bytes


# ------------------------------------------------------------------------------------------------- before a run


def forecast(
    what: str,
    overrides: Sequence[str] = (),
    method: str | None = None,
    gpu_memory: float | None = None,
    gpus: int | None = None,
    lengths: Lengths | None = None,
) -> Estimate:
    """What a run takes, from a recipe (file, method, run folder) or a model (folder, name in the cache, size such as
    7B), with settings on top. `gpu_memory` in GiB; `gpus` for what each of so many ranks takes (None: the recipe's
    `engine.trainers`). Where it does not fit, the least that it takes, with `fits` False.

    Lengths are those of the recipe's data where it has some and none are given. Raises ConfigError, DataError.
    """
    if gpu_memory is not None and not 0 < gpu_memory <= LARGEST_GPU:
        raise ConfigError(
            f"--gpu-memory: {gpu_memory:g} must be above 0 and at most {LARGEST_GPU:,.0f} GiB.", code="out-of-range"
        )
    subject = named(what, overrides, method, lengths)
    recipe, setting = subject.recipe, subject.setting
    if gpu_memory is not None:
        room = int(gpu_memory * GIB)
        setting = replace(setting, device="cuda", room=room, bound=f"a GPU of {gpu_memory:g} GiB")
    return sized(shape_of(recipe.model.path), shared_out(setting, gpus or recipe.engine.trainers))


@dataclass(frozen=True)
class Subject:
    """What a command was asked about."""

    recipe: Recipe
    setting: Setting
    lengths: Lengths
    """Of its data, on average; where that was not read, those that were given, or what is usual."""
    was_read: bool
    """Whether its data was read."""


def named(
    what: str, overrides: Sequence[str], method: str | None, lengths: Lengths | None, by_name: bool = False
) -> Subject:
    """A recipe (file, method, run folder) or a model, with settings on top. Data is read where no lengths are given,
    unless a model alone was named; `by_name`: nor where the recipe's model is no folder here, as a tokenizer is needed.
    Raises ConfigError, DataError."""
    document, known = _document(what, list(overrides), method)
    if not known and not lengths and by_name:
        known = not Path(resolve(document).model.path).expanduser().exists()
    if known or lengths:
        recipe, usual = resolve(document), lengths or Lengths()
        return Subject(recipe, setting_of(recipe, usual), usual, False)
    prepared = check(document)
    setting = setting_of(prepared.recipe, work_of(prepared), others_of(prepared))
    return Subject(prepared.recipe, setting, _mean(prepared), True)


def _mean(prepared: Prepared) -> Lengths:
    """Of the prompts, and of the answers that are written."""
    prompts = [len(p.tokens) for p in prepared.prompts] or [len(g.prompt.tokens) for g in prepared.items]
    answers = [len(c.tokens) for g in prepared.items for c in g.completions]
    return Lengths(*(max(1, round(sum(sizes) / len(sizes))) if sizes else 1 for sizes in (prompts, answers)))


def _document(what: str, overrides: list[str], method: str | None) -> tuple[Document, bool]:
    """The document, and whether a model alone was named: rows are then none."""
    if not _is_model(what):
        _require_no_size(what)
        return document_of(Path(what), [*([f"method={method}"] if method else []), *overrides]), False
    name = method or "grpo"
    if name not in ALGORITHMS and ".py:" not in name:
        raise ConfigError(f"--method: there is no method {name!r}.{meant(name, ALGORITHMS)}", code="unknown-method")
    entry = find_method(name)
    values: dict[str, Any] = {"method": name, "model": {"path": what}, "data": {"path": "data.jsonl"}}
    if entry.source == "rollout":
        values["reward"] = [{"use": "math"}]
    if entry.pretrain:
        values["pretrain"] = {"path": "text.jsonl"}
    document = Document(values)
    override(document, overrides, key_of)
    return document, True


def _require_no_size(what: str) -> None:
    """Raises ConfigError, with the size to ask for, where a name that is nothing here reads as a model's."""
    size = size_in(what)
    is_file = what.endswith((".yaml", ".yml"))
    if (
        size
        and not is_file
        and not Path(what).expanduser().exists()
        and what not in ALGORITHMS
        and what not in packaged.names()
    ):
        raise ConfigError(
            f"there is no recipe, run, method or model called {what!r}. A model is named by its folder, by OWNER/NAME "
            f"where Hugging Face's cache has it, or by its size: postlude memory {size}.",
            code="unknown-name",
        )


def _is_model(what: str) -> bool:
    """Whether a model is named: by its size, its folder, or its name in the cache."""
    folder = Path(what).expanduser()
    if folder.exists():
        holds = (folder / "config.json").is_file() or (folder / "adapter_config.json").is_file()
        return holds and not (folder / "config.yaml").exists()
    return bool(number_of(what)) or (what.count("/") == 1 and not what.endswith((".yaml", ".yml")) and ":" not in what)
