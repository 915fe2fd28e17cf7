"""How large micro-batches, the head's chunk and the cache may be, from what is free and what a token costs.

None of the three changes a result beyond rounding. What is chosen is written into the run's config, so that a resumed
run rounds as it would have without the break.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from postlude.errors import ConfigError
from postlude.sizing.work import (
    BUDGET,
    CHUNK_ELEMENTS,
    CPU_CACHE,
    GIB,
    LEAST_BUDGET,
    LEAST_CHUNK,
    USABLE,
    Asked,
    Costs,
    Held,
    Plan,
    Work,
    columns,
)

HOLES: Mapping[str, float] = {"cpu": 2.0, "cuda": 1.2}
"""What an allocator takes over what it gives: with LoRA's many small tensors glibc was seen to take 1.9 times."""
TIGHT = 1.2
"""The same where a run would otherwise be refused."""
PER_LOGIT = 20
"""Bytes of each logit while a token is drawn."""


@dataclass(frozen=True)
class Machine:
    """A model on its device, as far as choosing goes by it."""

    free: int
    """Bytes that can be taken with the models loaded."""
    bound: str
    """What sets that bound, for people."""
    device: Literal["cpu", "cuda"]
    layers: int
    entries: int
    """Bytes of a token's hidden states before every layer."""
    logits: int
    """Per token; a scalar head has none to speak of."""
    token_bytes: int
    """Keys and values of one token in every layer."""
    most_cache: int


def choose(machine: Machine, costs: Costs, held: Held, work: Work, asked: Asked) -> Plan:
    """The largest micro-batch, chunk and cache that fit beside what is held. Raises ConfigError where none does.

    A setting of the user's stands, with a warning where it is too large.
    """
    room = room_of(machine, held, work)
    sizing = _Sizing(machine, costs, held, room, work, asked)
    plan = sizing.plan()
    plan = replace(plan, parts=sizing.parts(plan), peak=int(sizing.peak(plan)), room=machine.free + held.weights)
    return replace(plan, text=sizing.described(plan), warning=sizing.warning(plan))


def room_of(machine: Machine, held: Held, work: Work) -> float:
    """Bytes for passes and sampling, once the optimiser and models that load later have theirs."""
    return USABLE * machine.free - held.optimizer - work.other


@dataclass(frozen=True)
class _Sizing:
    """Everything that the choice depends on."""

    machine: Machine
    costs: Costs
    held: Held
    room: float
    work: Work
    asked: Asked

    @property
    def _holes(self) -> float:
        return HOLES[self.machine.device]

    def plan(self) -> Plan:
        cache = self._cache()
        room = self.room - self.held.gradients - (self.sampling(cache) if self.held.apart else 0)
        plan = Plan(BUDGET, first_chunk(self.machine, self.asked), cache, prefix_bytes=self._prefixes(cache))
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
        return micro_of(plan, self.costs, self.machine, self.work)

    def _spacious(self, plan: Plan) -> float:
        """With what the allocator takes on top; what is fixed is of the size of weights, and gets whole pages."""
        return self._holes * (self.micro(plan) - self.costs.fixed) + TIGHT * self.costs.fixed

    def _head(self, plan: Plan) -> float:
        return self._holes * self.costs.logit * plan.head_chunk * self.machine.logits

    def _prefixes(self, cache: int) -> int:
        """Bytes of the cache for what finished turns leave: half of it, or less where the run's answers need less."""
        if not self.work.answers:
            return cache // 2
        needed = self.work.answers * columns(self.work.sequence) * self.machine.token_bytes
        return min(cache // 2, needed) if self.work.multi_turn else 0

    def _cache(self) -> int:
        """Halved until it fits; at least one answer has to."""
        if self.asked.cache_gib is not None:
            return int(self.asked.cache_gib * GIB)
        share = 0.3 if self.held.apart else 0.8
        size = self.machine.most_cache
        while size > CPU_CACHE // 64 and self.sampling(size) > share * self.room:
            size //= 2
        if self.work.answers and TIGHT * self.sampling(size) > self.room:
            advice = "Lower sampling.max_tokens, or shorten the prompts."
            if self.room <= 0:
                advice = "The optimiser and other models take all of that: `postlude memory` says what would fit."
            raise ConfigError(
                f"memory: sampling answers takes {gib(self.sampling(size))} GiB beside the weights, and "
                f"{gib(self.room)} GiB are free for it. {advice}",
                code="out-of-memory",
            )
        return size

    def sampling(self, cache: int) -> float:
        """Bytes that sampling takes with such a cache: keys, values and their copies, logits, its own weights."""
        each = columns(self.work.sequence) * self.machine.token_bytes
        rows = max(1, cache // each)
        rows = min(rows, self.work.answers) if self.work.answers else min(rows, 64)
        used = rows * each if self.work.answers else cache
        used += min(self._prefixes(cache), max(0, cache - used))
        return self.held.decoding + 1.5 * used + PER_LOGIT * rows * self.machine.logits

    def parts(self, plan: Plan) -> dict[str, int]:
        """Bytes by what holds them."""
        held, work, tokens = self.held, self.work, self._tokens(plan)
        logits = self.costs.logit * min(plan.head_chunk, tokens) * self.machine.logits
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

    def described(self, plan: Plan) -> str:
        """For the first lines of a run."""
        held, micro, cache = self.held, self.micro(plan), self._at_once(plan)
        least = "" if self.costs.source != "bound" else "at most "
        parts = [f"memory: {gib(self._fixed)} GiB weights, gradients and optimiser"]
        each = self.costs.token + self.costs.pair * self.work.sequence
        tokens = self._tokens(plan)
        rest = f" and {gib(micro - tokens * each)} GiB for the output layer" if self.costs.source != "bound" else ""
        parts.append(f"{least}{gib(tokens * each)} GiB for micro-batches of {tokens:,} tokens{rest}")
        beside = "beside it" if held.apart else "at other times"
        sampled = f"; sampling {beside} {least}{gib(cache)} GiB" if cache else ""
        total = self.machine.free + held.weights
        return f"{' + '.join(parts)} = {gib(self.peak(plan))} of {gib(total)} GiB free in {self.machine.bound}{sampled}"

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
            f"memory: {' and '.join(large)} as set may not fit into the {gib(room)} GiB that are left; this would: "
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
            f"memory: {what} needs {gib(needs)} GiB beside the weights, and {gib(has)} are free. {tail} "
            "Setting token_budget tries it as it is."
        )

    def _would_fit(self, room: float) -> list[str]:
        """Settings under which the smallest micro-batch fits, alone or both, and the length that does."""
        layers = self.machine.layers
        saved_token = self.machine.entries + 2 * self.costs.token / layers
        plain, saving = self.costs, replace(self.costs, token=saved_token, pair=0.0)
        freed = self.held.gradients + self.held.optimizer
        full = self.held.gradients > self.held.weights / 2
        checkpointing = saved_token < 0.7 * self.costs.token
        lora, recompute = "model.lora.rank=16", "engine.gradient_checkpointing=true"
        tries = [(recompute, saving, 0)] if checkpointing else []
        tries += [(lora, replace(plain, fixed=0.0), freed)] if full else []
        tries += [(f"{lora} {recompute}", replace(saving, fixed=0.0), freed)] if full and checkpointing else []
        least = Plan(LEAST_BUDGET, LEAST_CHUNK, 0)
        needs = [(name, TIGHT * micro_of(least, costs, self.machine, self.work) - more) for name, costs, more in tries]
        ideas = [name for name, size in needs if size <= room]
        return ideas[:2] + self._shorter(room)

    def _shorter(self, room: float) -> list[str]:
        """The longest piece that fits, where one does and it is shorter than the work's."""
        left = room / TIGHT - self.costs.fixed - self.costs.logit * LEAST_CHUNK * self.machine.logits
        most = int(left / (self.costs.token + self.costs.pair * self.work.sequence))
        short = LEAST_BUDGET <= most < self.work.piece
        return [f"pieces of at most {most:,} tokens (shorter prompts, sampling.max_tokens, rows)"] if short else []


def micro_of(plan: Plan, costs: Costs, machine: Machine, work: Work) -> float:
    """Bytes of the largest micro-batch: as large as the budget, unless all there is is smaller, or one piece larger."""
    tokens = min(plan.token_budget, work.update) if work.update else plan.token_budget
    tokens = max(tokens, work.piece)
    return costs.micro(tokens, work.sequence, min(plan.head_chunk, tokens) * machine.logits)


def first_chunk(machine: Machine, asked: Asked) -> int:
    """Tokens whose logits are held at a time where memory allows."""
    return asked.head_chunk or max(1, CHUNK_ELEMENTS // max(1, machine.logits))


def gib(size: float) -> str:
    """Two digits are enough for people; what is missing to nothing is not free either."""
    return f"{max(0.0, size) / GIB:.2g}"
