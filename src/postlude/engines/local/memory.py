"""How large micro-batches, the head's chunk and the cache are: the arithmetic of `sizing` on a model that is here.

What a token costs comes from the formulas where they are counted for this kind of model, and else from a few small
batches that are tried.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Literal

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from postlude.batch import Batch, pack
from postlude.data import Completion, Group, Prompt
from postlude.engines.local.cache import token_bytes
from postlude.engines.local.free import Free, free
from postlude.engines.local.measuring import peak
from postlude.engines.local.model import LocalModel
from postlude.engines.local.ranks import Alone, Ranks
from postlude.errors import ConfigError
from postlude.models.dtypes import Dtype
from postlude.models.lora import Lora
from postlude.sizing import choosing
from postlude.sizing.activations import costs as formula_costs
from postlude.sizing.activations import is_counted
from postlude.sizing.choosing import Machine, first_chunk, micro_of, room_of
from postlude.sizing.ranks import added_up_bytes, gathered_bytes
from postlude.sizing.setting import Setting
from postlude.sizing.shape import Shape, of_values
from postlude.sizing.work import BUDGET, CPU_CACHE, GPU_CACHE, Asked, Costs, Held, Kept, Plan, Work

DTYPES: Mapping[int, Dtype] = {2: "bfloat16", 4: "float32", 8: "float64"}
"""Bytes of a number -> what stands for all that have so many."""


def choose(
    model: LocalModel,
    critic: LocalModel | None,
    held: Held,
    left: Free,
    work: Work,
    asked: Asked,
    ranks: Ranks | None = None,
) -> Plan:
    """The largest micro-batch, chunk and cache that fit beside what is held. Raises ConfigError where none does.

    `left` is what is free with the models loaded. A setting of the user's stands, with a warning where it is too large.
    What is chosen is this rank's; whether passes are tried, which are a common effort, is agreed.
    """
    machine = machine_of(model, left)
    costs = counted(model, critic, work) or rough(model, critic)
    small = Plan(BUDGET, first_chunk(machine, asked), machine.most_cache)
    enough = (room_of(machine, held, work) - held.gradients) / 2
    short = costs.source == "bound" and work.trains and micro_of(small, costs, machine, work) > enough
    if any((ranks or Alone()).most([short])):
        costs = measure(model, critic)
    return choosing.choose(machine, costs, held, work, asked)


def machine_of(model: LocalModel, left: Free) -> Machine:
    """What choosing goes by."""
    config, size = model.config, model.dtype.itemsize
    return Machine(
        left.bytes,
        left.bound,
        _device(model),
        config.num_hidden_layers,
        config.num_hidden_layers * config.hidden_size * size,
        _width(model),
        token_bytes(model),
        _most_cache(model),
    )


def _device(model: LocalModel) -> Literal["cpu", "cuda"]:
    return "cuda" if model.device.type == "cuda" else "cpu"


def _width(model: LocalModel) -> int:
    """Logits per token; a scalar head has none to speak of."""
    return model.vocabulary if model.reads == "logprobs" else 0


def _most_cache(model: LocalModel) -> int:
    if model.device.type == "cuda":
        return int(GPU_CACHE * torch.cuda.get_device_properties(model.device).total_memory)
    return CPU_CACHE


def local_of(tensor: Tensor) -> Tensor:
    """What this process holds of a tensor: of one that is spread over ranks, its part."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def gathered(model: LocalModel, critic: LocalModel | None, ranks: int) -> int:
    """Bytes that each of several ranks gathers in a pass, and of a layer's gradients on their way to the others; 0 of a
    model whose shape is not known."""
    if ranks == 1:
        return 0
    try:
        shape, other = shape_of(model), shape_of(critic) if critic else None
    except ConfigError:
        return 0
    rank = kept_of(model).rank
    setting = Setting(
        dtype=DTYPES[model.dtype.itemsize],
        ranks=ranks,
        scores=model.reads == "scores",
        critic="own" if critic else None,
        critic_shape=other,
        lora=Lora(rank) if rank else None,
    )
    return gathered_bytes(shape, setting) + added_up_bytes(shape, setting)


def spare_cache(model: LocalModel) -> int:
    """Bytes for keys and values of a model beside the one that trains: halved until four of its like would be free."""
    size, room = _most_cache(model), free(model.device).bytes
    while size > CPU_CACHE // 64 and 4 * size > room:
        size //= 2
    return size


# ------------------------------------------------------------------------------------------------------- costs


def shape_of(model: LocalModel) -> Shape:
    """The shape of a model that is loaded."""
    return of_values(model.config.to_dict(), model.config.model_type)


def kept_of(model: LocalModel) -> Kept:
    """How it is held."""
    adapted = {name.split(".lora_A")[0]: p for name, p in model.net.named_parameters() if ".lora_A" in name}
    rank = max((p.shape[0] for p in adapted.values()), default=0)
    maps = len({name.rpartition(".layers.")[2].partition(".")[2] or name for name in adapted})
    saving = any(module.__dict__.get("gradient_checkpointing") for module in model.hf.modules())
    return Kept(model.dtype.itemsize, _device(model), True, rank, maps, saving)


def _drops(model: LocalModel) -> bool:
    """Whether dropout is on, whose masks the formulas do not count."""
    return any(isinstance(module, nn.Dropout) and module.p > 0 for module in model.net.modules())


def counted(model: LocalModel, critic: LocalModel | None, work: Work) -> Costs | None:
    """Costs by the formulas; None where they are not for this kind of model, or this way to run it."""
    total: Costs | None = None
    for one in [model] + ([critic] if critic else []):
        try:
            shape = shape_of(one)
        except ConfigError:  # its config has other names: small passes are tried
            return None
        if not one.packed or not is_counted(shape) or _drops(one):
            return None
        each = formula_costs(shape, kept_of(one), work)
        total = (
            each
            if total is None
            else Costs(total.fixed + each.fixed, total.token + each.token, 0.0, total.logit, "formulas")
        )
    return total


def rough(model: LocalModel, critic: LocalModel | None) -> Costs:
    """Upper bounds from the shape alone, several times what was measured: they save small models the measuring."""
    token = pair = 0.0
    for one in [model] + ([critic] if critic else []):
        config = one.config
        inner = config.__dict__.get("intermediate_size") or 4 * config.hidden_size
        experts = config.__dict__.get("num_experts_per_tok") or 1
        size = torch.finfo(one.dtype).bits // 8
        token += config.num_hidden_layers * (32 * config.hidden_size + 8 * inner * experts) * size
        pair += 20 if one.packed else 16 * config.num_attention_heads * config.num_hidden_layers
        token += 0 if one.packed else 24 * _width(one)
    return Costs(0.0, token, pair, 28.0, "bound")


def measure(model: LocalModel, critic: LocalModel | None) -> Costs:
    """Costs from four small micro-batches, forth and back, beside gradients that are there already.

    Peaks f + n (t + p l) + c (head of so many rows): 16 tokens once and twice, 32 tokens, and a wider chunk.
    """
    trained = [p for m in (model, critic) if m for p in m.net.parameters() if p.requires_grad]
    before, rows = model.head_chunk, 8

    def of(sequences: int, length: int, chunk: int = rows) -> int:
        batch = _probe(model, sequences, length)
        model.head_chunk = chunk
        return peak(lambda: _forth_and_back(model, critic, batch), model.device)

    try:
        with torch.random.fork_rng(devices=[model.device] if model.device.type == "cuda" else []):
            of(1, 16)  # makes the gradients, and what is made once
            once, twice, longer, wider = of(1, 16), of(2, 16), of(1, 32), of(1, 16, 2 * rows)
    finally:
        model.head_chunk = before
        for p in trained:
            p.grad = None
    pair = max(0.0, (longer - twice) / 512)
    token = max(1.0, (twice - once) / 16 - 16 * pair)
    logit = max(12.0, (wider - once) / (rows * max(1, _width(model))))
    fixed = max(0.0, once - 16 * (token + 16 * pair) - logit * rows * _width(model))
    return Costs(fixed, token, pair, logit)


def _forth_and_back(model: LocalModel, critic: LocalModel | None, batch: Batch) -> None:
    """What a micro-batch does to memory, whatever its objective."""
    with ExitStack() as contexts:
        outputs = [contexts.enter_context(m.running(batch))(True) for m in (model, critic) if m]
        numbers = [x for o in outputs for x in (o.logprobs, o.entropy, o.values, o.scores) if x is not None]
        torch.stack([x.sum() for x in numbers if x.requires_grad]).sum().backward()


def _probe(model: LocalModel, sequences: int, length: int) -> Batch:
    """So many answers of pseudo-random tokens to a prompt of one, `length` tokens each with it."""
    ids = [(7919 * i + 13) % max(model.config.vocab_size - 1, 1) for i in range(length)]
    answer = Completion(tuple(ids[1:]), reward=1.0)
    return pack([Group(Prompt("", "", tokens=(ids[0],)), (answer,) * sequences)]).to(model.device)
