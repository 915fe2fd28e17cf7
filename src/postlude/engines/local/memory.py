"""How large micro-batches, the head's chunk and the cache may be, from what is free and what a token was seen to cost.

None of the three changes a result beyond rounding. What is chosen is written into the run's config, so that a resumed
run rounds as it would have without the break.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

import torch

from postlude.batch import Batch, pack
from postlude.data import Completion, Group, Prompt
from postlude.engines.local.cache import columns, token_bytes
from postlude.engines.local.free import Free, free
from postlude.engines.local.head import CHUNK_ELEMENTS
from postlude.engines.local.measuring import peak
from postlude.engines.local.model import LocalModel
from postlude.errors import ConfigError

BUDGET = 16_384
"""Tokens per micro-batch where memory allows: more gains no speed."""
LEAST_BUDGET = 64
LEAST_CHUNK = 16
CPU_CACHE = 2 << 30
GPU_CACHE = 0.4
"""Of a GPU's memory, for keys and values."""
USABLE = 0.95
"""Of what is free: other processes grow, too."""
HOLES = {"cpu": 2.0, "cuda": 1.2}
"""What an allocator takes over what it gives: with LoRA's many small tensors glibc was seen to take 1.9 times."""
TIGHT = 1.2
"""The same where a run would otherwise be refused."""
PER_LOGIT = 20
"""Bytes of each logit while a token is drawn."""
GIB = 2**30


@dataclass(frozen=True)
class Work:
    """What a run will ask of its models, in tokens; 0 where that is not known."""

    trains: bool = True
    sequence: int = 0
    """The longest prompt with its answer."""
    piece: int = 0
    """The most that a micro-batch must hold at once: a sequence, or a whole group where the loss wants it together."""
    update: int = 0
    """The most of one optimiser step."""
    answers: int = 0
    """Sampled at a time; 0 also where none are."""
    other: int = 0
    """Bytes that models will take that are loaded later: judges, reward models."""
    multi_turn: bool = False
    """Whether answers are continued: what was computed for them is then kept beside those being sampled."""


@dataclass(frozen=True)
class Held:
    """Bytes that the run holds whatever the batch."""

    weights: int
    """Of all models that are loaded by now, the fp32 master of half-precision weights included."""
    gradients: int
    optimizer: int
    decoding: int
    """The copy that sampling makes for itself and gives back."""
    apart: bool
    """Whether sampling goes on beside training."""


@dataclass(frozen=True)
class Costs:
    """Bytes of a micro-batch on top of what is held: fixed + tokens * (token + pair * longest sequence), and the head's
    chunk."""

    fixed: float
    token: float
    pair: float
    logit: float
    """Per logit of a chunk."""
    measured: bool = True

    def micro(self, tokens: int, sequence: int, logits: int) -> float:
        """Of a micro-batch of so many tokens."""
        return self.fixed + tokens * (self.token + self.pair * sequence) + self.logit * logits


@dataclass(frozen=True)
class Plan:
    """What was chosen, and what a run says of it."""

    token_budget: int
    head_chunk: int
    """Tokens whose logits are held at a time."""
    cache_bytes: int
    text: str = ""
    warning: str = ""
    parts: Mapping[str, int] = field(default_factory=dict[str, int])
    """Bytes by what holds them: weights, gradients, optimizer, other models, activations, logits, sampling."""
    peak: int = 0
    """Bytes at the worst moment; what samples and what trains need not be there together."""
    room: int = 0
    """Bytes that were free, what is held by now included."""
    prefix_bytes: int = 0
    """Of the cache, at most so many for what finished turns of a conversation leave to the next."""


@dataclass(frozen=True)
class Asked:
    """What the user set; None is for us to choose."""

    token_budget: int | None = None
    head_chunk: int | None = None
    cache_gib: float | None = None


def choose(model: LocalModel, critic: LocalModel | None, held: Held, left: Free, work: Work, asked: Asked) -> Plan:
    """The largest micro-batch, chunk and cache that fit beside what is held. Raises ConfigError where none does.

    `left` is what is free with the models loaded. A setting of the user's stands, with a warning where it is too large.
    """
    room = USABLE * left.bytes - held.optimizer - work.other
    costs = rough(model, critic)
    small = Plan(BUDGET, _chunk(model, asked), _most_cache(model))
    if _micro(small, costs, model, work) > (room - held.gradients) / 2:
        costs = measure(model, critic) if work.trains else costs
    sizing = _Sizing(model, costs, held, room, work, asked)
    plan = sizing.plan()
    plan = replace(plan, parts=sizing.parts(plan), peak=int(sizing.peak(plan)), room=left.bytes + held.weights)
    return replace(plan, text=sizing.described(plan, left), warning=sizing.warning(plan))


@dataclass(frozen=True)
class _Sizing:
    """Everything that the choice depends on."""

    model: LocalModel
    costs: Costs
    held: Held
    room: float
    work: Work
    asked: Asked

    @property
    def _holes(self) -> float:
        return HOLES[self.model.device.type]

    def plan(self) -> Plan:
        cache = self._cache()
        room = self.room - self.held.gradients - (self.sampling(cache) if self.held.apart else 0)
        plan = Plan(BUDGET, _chunk(self.model, self.asked), cache, prefix_bytes=self._prefixes(cache))
        if self.asked.head_chunk is None:
            while plan.head_chunk > LEAST_CHUNK and self._head(plan) > room / 8:
                plan = replace(plan, head_chunk=max(LEAST_CHUNK, plan.head_chunk // 2))
        if self.asked.token_budget is not None:
            return replace(plan, token_budget=self.asked.token_budget)
        if not self.work.trains:
            return plan
        while plan.token_budget > LEAST_BUDGET and self._spacious(plan) > room:
            plan = replace(plan, token_budget=plan.token_budget // 2)
        if TIGHT * self.micro(plan) > room:
            raise ConfigError(self._refusal(plan, room), code="out-of-memory")
        return plan

    def micro(self, plan: Plan) -> float:
        return _micro(plan, self.costs, self.model, self.work)

    def _spacious(self, plan: Plan) -> float:
        """With what the allocator takes on top; what is fixed is of the size of weights, and gets whole pages."""
        return self._holes * (self.micro(plan) - self.costs.fixed) + TIGHT * self.costs.fixed

    def _head(self, plan: Plan) -> float:
        return self._holes * self.costs.logit * plan.head_chunk * _width(self.model)

    def _prefixes(self, cache: int) -> int:
        """Bytes of the cache for what finished turns leave: half of it, or less where the run's answers need less."""
        if not self.work.answers:
            return cache // 2
        needed = self.work.answers * columns(self.work.sequence) * token_bytes(self.model)
        return min(cache // 2, needed) if self.work.multi_turn else 0

    def _cache(self) -> int:
        """Halved until it fits; at least one answer has to."""
        if self.asked.cache_gib is not None:
            return int(self.asked.cache_gib * GIB)
        share = 0.3 if self.held.apart else 0.8
        size = _most_cache(self.model)
        while size > CPU_CACHE // 64 and self.sampling(size) > share * self.room:
            size //= 2
        if self.work.answers and TIGHT * self.sampling(size) > self.room:
            raise ConfigError(
                f"memory: sampling answers takes {_gib(self.sampling(size))} GiB beside the weights, and "
                f"{_gib(self.room)} are free. Lower sampling.max_tokens, or shorten the prompts.",
                code="out-of-memory",
            )
        return size

    def sampling(self, cache: int) -> float:
        """Bytes that sampling takes with such a cache: keys, values and their copies, logits, its own weights."""
        each = columns(self.work.sequence) * token_bytes(self.model)
        rows = max(1, cache // each)
        rows = min(rows, self.work.answers) if self.work.answers else min(rows, 64)
        used = rows * each if self.work.answers else cache
        used += min(self._prefixes(cache), max(0, cache - used))
        return self.held.decoding + 1.5 * used + PER_LOGIT * rows * _width(self.model)

    def parts(self, plan: Plan) -> dict[str, int]:
        """Bytes by what holds them."""
        held, work, tokens = self.held, self.work, self._tokens(plan)
        logits = self.costs.logit * min(plan.head_chunk, tokens) * _width(self.model)
        return {
            "weights": held.weights,
            "gradients": held.gradients,
            "optimizer": held.optimizer,
            "other models": work.other,
            "activations": int(self.micro(plan) - logits),
            "logits": int(logits),
            "sampling": int(self._at_once(plan)),
        }

    def _tokens(self, plan: Plan) -> int:
        """Of the largest micro-batch."""
        return min(plan.token_budget, max(self.work.update, self.work.piece) or plan.token_budget)

    def _at_once(self, plan: Plan) -> float:
        return self.sampling(plan.cache_bytes) if self.work.answers else 0.0

    @property
    def _fixed(self) -> int:
        return self.held.weights + self.held.optimizer + self.held.gradients + self.work.other

    def peak(self, plan: Plan) -> float:
        micro, cache = self.micro(plan), self._at_once(plan)
        return self._fixed + (micro + cache if self.held.apart else max(micro, cache - self.held.gradients))

    def described(self, plan: Plan, left: Free) -> str:
        """For the first lines of a run."""
        held, micro, cache = self.held, self.micro(plan), self._at_once(plan)
        least = "" if self.costs.measured else "at most "
        parts = [f"memory: {_gib(self._fixed)} GiB weights, gradients and optimiser"]
        each = self.costs.token + self.costs.pair * self.work.sequence
        tokens = self._tokens(plan)
        rest = f" and {_gib(micro - tokens * each)} GiB for the output layer" if self.costs.measured else ""
        parts.append(f"{least}{_gib(tokens * each)} GiB for micro-batches of {tokens:,} tokens{rest}")
        beside = "beside it" if held.apart else "at other times"
        sampled = f"; sampling {beside} {least}{_gib(cache)} GiB" if cache else ""
        total = left.bytes + held.weights
        return f"{' + '.join(parts)} = {_gib(self.peak(plan))} of {_gib(total)} GiB free in {left.bound}{sampled}"

    def warning(self, plan: Plan) -> str:
        """Where what the user set is more than fits."""
        room = self.room - self.held.gradients
        names = {
            "token_budget": self.asked.token_budget is not None and TIGHT * self.micro(plan) > room,
            "head_chunk": self.asked.head_chunk is not None and self._head(plan) > room,
            "cache_gib": self.asked.cache_gib is not None and self.sampling(plan.cache_bytes) > self.room,
        }
        large = [name for name, applies in names.items() if applies]
        if not large or not (self.work.trains or large == ["cache_gib"]):
            return ""
        try:
            fits = replace(self, asked=Asked()).plan()
        except ConfigError as error:
            return f"{' and '.join(large)} as set may not fit, and neither would less: {error}"
        chosen = {"token_budget": fits.token_budget, "head_chunk": fits.head_chunk}
        advice = {**{k: str(v) for k, v in chosen.items()}, "cache_gib": f"{fits.cache_bytes / GIB:g}"}
        return (
            f"memory: {' and '.join(large)} as set may not fit into the {_gib(room)} GiB that are left; this would: "
            f"{' '.join(f'{name}={advice[name]}' for name in large)}"
        )

    def _refusal(self, plan: Plan, room: float) -> str:
        needs = TIGHT * self.micro(plan) + self.held.gradients + self.held.optimizer + self.work.other
        has = self.room + self.held.optimizer + self.work.other
        large = self.work.piece > plan.token_budget
        what = f"the longest piece of {self.work.piece:,} tokens" if large else "training"
        fits = self._would_fit(room)
        tail = f"This would fit: {'; or '.join(fits)}." if fits else "A smaller model, or more memory, is needed."
        return (
            f"memory: {what} needs {_gib(needs)} GiB beside the weights, and {_gib(has)} are free. {tail} "
            "Setting token_budget tries it as it is."
        )

    def _would_fit(self, room: float) -> list[str]:
        """Settings under which the smallest micro-batch fits, alone or both, and the length that does."""
        config, layers = self.model.config, self.model.config.num_hidden_layers
        saved_token = (
            layers * config.hidden_size * torch.finfo(self.model.dtype).bits // 8 + 2 * self.costs.token / layers
        )
        plain, saving = self.costs, replace(self.costs, token=saved_token, pair=0.0)
        freed = self.held.gradients + self.held.optimizer
        full = self.held.gradients > self.held.weights / 2
        checkpointing = saved_token < 0.7 * self.costs.token
        lora, recompute = "model.lora.rank=16", "engine.gradient_checkpointing=true"
        tries = [(recompute, saving, 0)] if checkpointing else []
        tries += [(lora, replace(plain, fixed=0.0), freed)] if full else []
        tries += [(f"{lora} {recompute}", replace(saving, fixed=0.0), freed)] if full and checkpointing else []
        least = Plan(LEAST_BUDGET, LEAST_CHUNK, 0)
        ideas = [
            name for name, costs, more in tries if TIGHT * _micro(least, costs, self.model, self.work) <= room + more
        ]
        return ideas[:2] + self._shorter(room)

    def _shorter(self, room: float) -> list[str]:
        """The longest piece that fits, where one does and it is shorter than the work's."""
        left = room / TIGHT - self.costs.fixed - self.costs.logit * LEAST_CHUNK * _width(self.model)
        most = int(left / (self.costs.token + self.costs.pair * self.work.sequence))
        short = LEAST_BUDGET <= most < self.work.piece
        return [f"pieces of at most {most:,} tokens (shorter prompts, sampling.max_tokens, rows)"] if short else []


def _micro(plan: Plan, costs: Costs, model: LocalModel, work: Work) -> float:
    """Bytes of the largest micro-batch: as large as the budget, unless all there is is smaller, or one piece larger."""
    tokens = min(plan.token_budget, work.update) if work.update else plan.token_budget
    tokens = max(tokens, work.piece)
    return costs.micro(tokens, work.sequence, min(plan.head_chunk, tokens) * _width(model))


def _chunk(model: LocalModel, asked: Asked) -> int:
    return asked.head_chunk or max(1, CHUNK_ELEMENTS // max(1, _width(model)))


def _width(model: LocalModel) -> int:
    """Logits per token; a scalar head has none to speak of."""
    return model.vocabulary if model.reads == "logprobs" else 0


def _most_cache(model: LocalModel) -> int:
    if model.device.type == "cuda":
        return int(GPU_CACHE * torch.cuda.get_device_properties(model.device).total_memory)
    return CPU_CACHE


def spare_cache(model: LocalModel) -> int:
    """Bytes for keys and values of a model beside the one that trains: halved until four of its like would be free."""
    size, room = _most_cache(model), free(model.device).bytes
    while size > CPU_CACHE // 64 and 4 * size > room:
        size //= 2
    return size


def _gib(size: float) -> str:
    """Two digits are enough for people."""
    return f"{size / GIB:.2g}"


# ------------------------------------------------------------------------------------------------------- costs


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
    return Costs(0.0, token, pair, 28.0, measured=False)


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
