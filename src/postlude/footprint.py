"""What a run will ask of memory, from its recipe and data, before any weights are read."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable
from math import ceil, prod
from pathlib import Path

from postlude.data import Group
from postlude.engines.local.free import free
from postlude.errors import ConfigError
from postlude.models.load import base_path, device_of
from postlude.prepared import Prepared
from postlude.rewards.functions import JudgedReward, LearnedReward
from postlude.runs.checkpoints import latest_model
from postlude.sizing.work import GIB, SIZES, USABLE, Work


def work_of(prepared: Prepared) -> Work:
    """The longest sequence, piece and update of a run, and the models that its rewards will load."""
    recipe = prepared.recipe
    whole = not recipe.objective.splits_groups
    if recipe.algorithm.source == "rollout":
        longest = max((len(p.tokens) for p in [*prepared.prompts, *prepared.held_out, *prepared.sheet]), default=0)
        answer = recipe.sampling.max_tokens
        sequence, group = longest + answer, longest + answer * recipe.group_size
        piece = group if whole else sequence
        answers = max(recipe.prompts_per_step * recipe.group_size, _asked(prepared))
    else:
        sequence, group = _longest(prepared.items, whole=False), _longest(prepared.items, whole=True)
        piece = group if whole else sequence
        answers = _asked(prepared)
        if answers:
            longest = max(len(p.tokens) for p in [*prepared.held_out, *prepared.sheet])
            sequence = max(sequence, longest + recipe.sampling.max_tokens)
    update = ceil(recipe.prompts_per_step / recipe.updates) * group
    if recipe.pretrain:
        text = _longest(prepared.pretrain, whole=False)
        sequence, piece = max(sequence, text), max(piece, text)
        update = max(update, ceil(recipe.pretrain.rows / recipe.updates) * text)
    return Work(True, sequence, piece, update, answers, _others(prepared))


def _asked(prepared: Prepared) -> int:
    """Answers that an evaluation, or the sheet, samples at a time."""
    evaluate = prepared.recipe.evaluate
    evaluation = sum(map(len, prepared.asked.values())) * evaluate.samples
    return max(evaluation, len(prepared.sheet) * (evaluate.sheet.answers if evaluate.sheet else 0))


def _longest(groups: Iterable[Group], whole: bool) -> int:
    """Tokens of the longest prompt with one of its answers, or with all of them."""
    sizes = [(len(g.prompt.tokens), [len(c.tokens) for c in g.completions]) for g in groups]
    return max((prompt + (sum(own) if whole else max(own, default=0)) for prompt, own in sizes), default=0)


def _others(prepared: Prepared) -> int:
    """Bytes of the reward models and judges in this process, which load when they are first asked."""
    models: list[tuple[str, str]] = []
    for member in [*prepared.rewards.members, *prepared.metrics.members]:
        function = member.function
        if isinstance(function, LearnedReward):
            models += [(spec.path, spec.dtype) for spec in function.specs]
        if isinstance(function, JudgedReward) and function.asker.spec.url is None:
            models.append((latest_model(function.asker.spec.model), function.asker.spec.dtype))
    return sum(numbers(path) * SIZES[dtype] for path, dtype in models)


def numbers(path: str) -> int:
    """Weights of a model folder, by the headers of its files; 0 where that cannot be known without a download."""
    folder = Path(base_path(path)).expanduser()
    total = 0
    for file in folder.glob("*.safetensors"):
        with file.open("rb") as source:
            (size,) = struct.unpack("<Q", source.read(8))
            header = json.loads(source.read(size))
        total += sum(prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")
    return total


def require_room(prepared: Prepared, reference: bool) -> None:
    """Refuse a model whose weights, gradients and optimiser alone are more than what is free. Raises ConfigError."""
    recipe = prepared.recipe
    model, critic = recipe.model, recipe.critic
    room = free(device_of(recipe.engine))
    count = numbers(model.path)
    own = numbers(critic.path or model.path) if critic and critic.form == "own" else 0
    rest = 16 * own + _others(prepared)
    needs = _bytes(recipe.engine.dtype, count, reference, recipe.max_lag > 0, bool(model.lora)) + rest
    if needs <= USABLE * room.bytes:
        return
    smaller = _bytes(recipe.engine.dtype, count, reference, recipe.max_lag > 0, True) + rest
    fits = (
        []
        if model.lora or smaller > USABLE * room.bytes
        else ["model.lora.rank=16 (an adapter instead of all weights)"]
    )
    if recipe.max_lag and needs - 4 * count <= USABLE * room.bytes:
        fits.append("max_lag=0")
    tail = f"This would fit: {'; or '.join(fits)}." if fits else "Take a smaller model, or a machine with more memory."
    raise ConfigError(
        f"memory: the weights of {model.path!r} ({count / 1e6:,.0f} M) with gradients, optimiser and copies take "
        f"{needs / GIB:.2g} GiB, and {room.bytes / GIB:.2g} GiB are free ({room.bound}). {tail}",
        code="out-of-memory",
    )


def _bytes(dtype: str, count: int, reference: bool, apart: bool, lora: bool) -> int:
    """Bytes of so many weights in training; they are read in float32 whatever they become."""
    each = SIZES[dtype]
    owned = max(4, each)  # half precision has a master copy, and gradients of both kinds
    held = each * (1 + (reference and not lora) + apart)
    trained = 0 if lora else 3 * owned + (owned + each if each < owned else 0)
    return max(4, held + trained) * count
