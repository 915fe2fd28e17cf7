"""What a run takes, part by part and phase by phase: the peak is the largest phase, and no sum over phases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from postlude.sizing import choosing
from postlude.sizing.activations import Moment, costs, is_counted, is_direct, layer, moments, read_only
from postlude.sizing.knobs import Knob, knobs
from postlude.sizing.machine import decoded_copy
from postlude.sizing.setting import Setting
from postlude.sizing.shape import Shape
from postlude.sizing.work import (
    CPU_CACHE,
    GPU_CACHE,
    LEAST_BUDGET,
    LEAST_CHUNK,
    SHARED_BEYOND,
    SIZES,
    Costs,
    Held,
    Kept,
    Plan,
    columns,
)

Phase = Literal["always", "loading", "sampling", "reading", "update", "saving"]
PHASES: Mapping[Phase, str] = {
    "loading": "loading: weights on their way from files",
    "sampling": "sampling: keys and values, logits, a faster copy of the weights",
    "reading": "log-probs and values before an update: passes without a gradient",
    "update": "update: the largest pass forth and back, or the optimiser's step",
    "saving": "saving: what was written is read again",
}
"""Phases of a run; what they take is there one after another, unless sampling goes on beside training."""
HEAP, HEAP_AGAIN, HEAP_MODULES = 0.115, 0.94, 0.28
"""Of what comes and goes in a phase: what glibc's heap holds beside tensors. With gradient checkpointing, and for
families that transformers' modules compute, it is more. Fitted: docs/memory.md says on what."""
HEAP_BLOCK = 32 << 20
"""Bytes from which on glibc takes a block from the kernel and gives it back, whatever went before."""
DRAWN = 12
"""Bytes of each logit while a token is drawn: the logits, their exponentials, and a copy whose rows are padded."""
RUNTIME = 430_000_000
"""Bytes of the process with its libraries loaded, on one machine: Python, torch for CPUs, transformers."""
LARGE = 64 << 30
"""Bytes of a GPU whose size is not said, for its cache."""


@dataclass(frozen=True)
class Part:
    """Something that takes memory, while a phase lasts or always."""

    name: str
    phase: Phase
    bytes: int
    formula: str
    """With the numbers in it."""
    sharded: bool = False
    """Whether ranks hold a share of it each."""


@dataclass(frozen=True)
class Estimate:
    """What a run takes."""

    shape: Shape
    setting: Setting
    parts: tuple[Part, ...]
    plan: Plan
    """Micro-batches, chunk and cache as the engine would choose them."""
    at: str
    """The worst moment of an update."""
    notes: tuple[str, ...] = ()
    """What is rough about it, for people."""

    @property
    def always(self) -> int:
        """Bytes that are there in every phase after loading."""
        return sum(part.bytes for part in self.parts if part.phase == "always")

    @property
    def phases(self) -> dict[Phase, int]:
        """Bytes of every phase, with what is always there; loading has the weights alone."""
        sums: dict[Phase, int] = dict.fromkeys(PHASES, 0)
        for part in self.parts:
            if part.phase != "always":
                sums[part.phase] += part.bytes
        beside = sums["sampling"] if self.setting.apart else 0
        loaded = sum(part.bytes for part in self.parts if part.name in LOADED)
        return {
            name: size + (loaded if name == "loading" else self.always + (beside if name == "update" else 0))
            for name, size in sums.items()
            if size
        }

    @property
    def peak(self) -> int:
        """Bytes at the worst moment."""
        return max(self.phases.values(), default=self.always)

    @property
    def process(self) -> int:
        """Bytes of the process itself."""
        return sum(part.bytes for part in self.parts if part.name == PROCESS)

    @property
    def worst(self) -> Phase:
        """The phase of the peak."""
        phases = self.phases
        return max(phases, key=lambda name: phases[name])

    def of_rank(self, ranks: int) -> int:
        """Bytes of each of so many ranks at the peak: weights, gradients and optimiser are shared out among them, one
        layer at a time is gathered, and each has a batch of its own. The design's arithmetic; nothing measured it."""
        phases: dict[Phase, float] = {}
        for phase in self.phases:
            there = [part for part in self.parts if part.phase in ("always", phase)]
            phases[phase] = sum(part.bytes / (ranks if part.sharded else 1) for part in there)
        gathered = 2 * self.shape.of_layer * self.setting.size if ranks > 1 else 0
        return int(max(phases.values()) + gathered)

    @property
    def least(self) -> Estimate:
        """With the smallest micro-batches that the run can do with."""
        budget = max(LEAST_BUDGET, self.setting.work.piece)
        asked = replace(self.setting.asked, token_budget=min(budget, self.plan.token_budget), head_chunk=LEAST_CHUNK)
        return estimate(self.shape, replace(self.setting, asked=asked))

    @property
    def knobs(self) -> list[Knob]:
        """Settings that would take less, the one that saves most first."""
        return knobs(self.setting, self.plan, self.peak, lambda setting: estimate(self.shape, setting).peak)


PROCESS = "the process"
"""The part that is there without any model."""
LOADED = ("weights", PROCESS)
"""Parts that are there while weights are read."""


def estimate(shape: Shape, setting: Setting) -> Estimate:
    """The memory of a run. Raises ConfigError where no micro-batch fits into the room."""
    plan = plan_of(shape, setting)
    worst = worst_moment(shape, setting, plan)
    parts = [*_held(shape, setting), *_sampling(shape, setting, plan), *_reading(shape, setting, plan)]
    parts += _update(shape, setting, plan, worst)
    if setting.device == "cpu":  # files are read into the host's memory, whatever trains
        parts += [*_loading(shape, setting), *_saving(shape, setting)]
        parts += _of_process(parts, shape, setting, _tokens(setting, plan))
    notes = tuple(_notes(shape, setting))
    return Estimate(shape, setting, tuple(part for part in parts if part.bytes), plan, worst.name, notes)


def holes_of(shape: Shape, setting: Setting) -> float:
    """Share of passing tensors that the heap takes beside them."""
    return HEAP_AGAIN if setting.checkpointing else HEAP if is_direct(shape) else HEAP_MODULES


def _of_process(parts: Sequence[Part], shape: Shape, setting: Setting, tokens: float) -> list[Part]:
    """What a process on a CPU takes beside tensors: its libraries, and the holes of its heap."""
    more = [Part(PROCESS, "always", RUNTIME, "its libraries, as seen on one machine")]
    large = {True: shape.width * shape.inner * setting.owned, False: tokens * shape.inner * setting.size}
    shares: dict[Phase, float] = {"sampling": HEAP, "reading": HEAP, "update": holes_of(shape, setting)}
    for phase, share in shares.items():
        there = [part for part in parts if part.phase == phase and large[part.sharded] < HEAP_BLOCK]
        text = f"{share:.1%} of what comes and goes in blocks below 32 MiB (fitted)"
        more.append(Part("holes of the heap", phase, int(share * sum(part.bytes for part in there)), text))
    return more


# ------------------------------------------------------------------------------------------- what is always there


def _held(shape: Shape, setting: Setting) -> Iterator[Part]:
    """Weights and what belongs to them."""
    e, o, count, trained = setting.size, setting.owned, shape.parameters, setting.trained(shape)
    if setting.scores:
        shape = shape.scorer
        count = shape.parameters
    if setting.lora:
        count += trained
    yield Part("weights", "always", e * count, f"{e} B x {_count(count)} parameters", True)
    if setting.masters:
        yield Part("fp32 master weights", "always", 4 * trained, f"4 B x {_count(trained)} trained", True)
    yield Part("optimiser (AdamW)", "always", 2 * o * trained, f"2 moments x {o} B x {_count(trained)} trained", True)
    if setting.reference and not setting.lora:
        text = f"{e} B x {_count(shape.parameters)}: a frozen copy"
        yield Part("reference", "always", e * shape.parameters, text, True)
    if setting.apart:
        yield Part("sampler's copy", "always", e * count, f"{e} B x {_count(count)}: max_lag=1", False)
    if setting.critic == "own":
        own = (setting.critic_shape or shape).scorer.parameters
        each = e + 2 * o + (4 if setting.masters else 0)
        text = f"({e} weights + {2 * o} moments{' + 4 master' if setting.masters else ''}) B x {_count(own)}"
        yield Part("critic", "always", each * own, text, True)
    if setting.critic == "trunk":
        yield Part("critic", "always", 12 * (shape.width + 1), f"12 B x {shape.width + 1}: a head on the policy", True)
    for other in setting.others:
        yield Part(other.name, "always", other.bytes, "its weights")


def _loading(shape: Shape, setting: Setting) -> Iterator[Part]:
    """Weights are read in float32, whatever they become, from files that stand in the address space meanwhile."""
    count = shape.parameters
    file = SIZES[setting.stored]
    yield Part("weights files", "loading", file * count, f"{file} B x {_count(count)}: files while they are read")
    more = max(0, 4 - setting.size)
    yield Part("read in float32", "loading", more * count, f"{more} B x {_count(count)} more than they become")


# ---------------------------------------------------------------------------------------------------- sampling


def rows_at_once(shape: Shape, setting: Setting, plan: Plan) -> int:
    """Answers that are sampled at a time."""
    longest = setting.work.answer if _shared(setting) else setting.work.sequence
    fits = plan.cache_bytes // max(1, columns(longest) * token_bytes(shape, setting.size))
    return min(setting.work.answers, max(1, fits))


def _shared(setting: Setting) -> bool:
    return setting.work.prompt > SHARED_BEYOND


def token_bytes(shape: Shape, size: int) -> int:
    """Keys and values of one token in every layer."""
    return 2 * shape.layers * shape.key_width * size


def _sampling(shape: Shape, setting: Setting, plan: Plan) -> Iterator[Part]:
    """Keys and values of the answers that are sampled at a time, logits, and the copy that is faster to decode with."""
    work, each = setting.work, token_bytes(shape, setting.size)
    if not work.answers or setting.scores:
        return
    rows = rows_at_once(shape, setting, plan)
    prompts = max(1, min(rows, work.first_prompts or -(-rows // max(1, work.group))))
    own, copies = (work.answer, 2) if _shared(setting) else (work.sequence, 1)
    cached = rows * own + copies * prompts * work.prompt
    grown = 2 * rows * shape.key_width * setting.size * own
    text = f"({rows} answers x {own} + {copies} x {prompts} prompts x {work.prompt} tokens) x {each / 1e3:,.1f} kB"
    yield Part("keys and values", "sampling", cached * each + grown, f"{text}, and one layer's again")
    draw = DRAWN * rows * shape.vocabulary
    yield Part("logits while drawing", "sampling", draw, f"{DRAWN} B x {rows} x vocabulary {shape.vocabulary:,}")
    read = prompts * work.prompt
    first = read * each + int(read_only(shape, setting.kept(shape), read, prompts, prompts))
    text = f"{read:,} tokens through one layer, more than answers take later"
    yield Part("reading the prompts", "sampling", max(0, first - cached * each - grown - draw), text)
    if setting.decodes_copy and is_direct(shape):
        copied = decoded_copy(shape, setting)
        yield Part("copy for decoding", "sampling", copied, "the layers of a small model, joined and laid out anew")


# ------------------------------------------------------------------------------------------------------ passes


def _tokens(setting: Setting, plan: Plan) -> float:
    """Of the largest pass."""
    work = setting.work
    budget = plan.token_budget
    if not work.update or work.update <= budget:
        return float(work.update or budget)
    return float(max(work.piece, _whole_pieces(setting, budget)))


def _whole_pieces(setting: Setting, budget: int) -> int:
    """Tokens of as many answers, or groups, as fit into a budget."""
    work = setting.work
    group = work.prompt + work.group * work.answer
    if work.piece >= group > 0:
        return budget // group * group
    whole, rest = divmod(budget, group) if group else (0, budget)
    answers = max(0, rest - work.prompt) // max(1, work.answer)
    return whole * group + (work.prompt + answers * work.answer if answers else 0)


def passes(setting: Setting, plan: Plan) -> int:
    """Of an update."""
    tokens = _tokens(setting, plan)
    return max(1, -(-setting.work.update // max(1, int(tokens)))) if setting.work.update else 1


def gradient_bytes(shape: Shape, setting: Setting) -> int:
    """Of all that trains; half precision has gradients of its own that are added to those of the master."""
    own = (setting.critic_shape or shape).scorer.parameters if setting.critic == "own" else 0
    return setting.owned * (setting.trained(shape) + own)


def worst_moment(shape: Shape, setting: Setting, plan: Plan) -> Moment:
    """Of an update: at a place of its largest pass, or in the optimiser's step."""
    return max(_moments(shape, setting, plan), key=lambda one: _with_gradients(shape, setting, plan, one))


def _moments(shape: Shape, setting: Setting, plan: Plan) -> list[Moment]:
    tokens = _tokens(setting, plan)
    kept = replace(setting.kept(shape), head=not setting.scores)
    found = moments(shape, kept, setting.work, tokens, plan.head_chunk)
    if setting.critic == "own":
        other, kept = setting.critic_shape or shape, _of_critic(shape, setting)
        beside = max(moments(other, kept, setting.work, tokens, plan.head_chunk), key=lambda one: one.layers)
        found = [replace(one, layers=one.layers + beside.layers * (1 - one.gradients)) for one in found]
    return [*found, Moment("the optimiser's step", 0.0, 0.0, 1.0)]


def _of_critic(shape: Shape, setting: Setting) -> Kept:
    """How a critic of its own is held: whole, whatever adapter the policy has."""
    return replace(setting.kept(shape), rank=0, maps=0, head=False)


def _with_gradients(shape: Shape, setting: Setting, plan: Plan, moment: Moment) -> float:
    first = passes(setting, plan) == 1
    half = setting.size * setting.trained(shape) if setting.masters and not first else 0
    return moment.bytes(gradient_bytes(shape, setting), first) + half * moment.gradients


def _update(shape: Shape, setting: Setting, plan: Plan, worst: Moment) -> Iterator[Part]:
    if not setting.work.trains:
        return
    count = passes(setting, plan)
    gradients = int(gradient_bytes(shape, setting) * (worst.gradients if count == 1 else 1.0))
    text = f"{setting.owned} B x {_count(gradient_bytes(shape, setting) // setting.owned)} trained"
    if count == 1 and worst.gradients < 1:
        text += f": {worst.gradients:.0%} of them are made when the only pass is at its worst"
    yield Part("gradients", "update", gradients, text, True)
    if setting.masters and count > 1 and worst.gradients:
        half = int(setting.size * setting.trained(shape) * worst.gradients)
        text = f"{setting.size} B each, before they are added up in float32"
        yield Part("gradients of a pass", "update", half, text, True)
    through = "inputs of all layers + one layer" if setting.checkpointing else f"{shape.layers} layers"
    each = layer(shape, setting.kept(shape)).text
    text = f"{int(_tokens(setting, plan)):,} tokens x {through} x ({each}) x {setting.size} B, and gathered keys"
    yield Part("activations", "update", int(worst.layers), text)
    if worst.name == "the output layer":
        text = f"8 B x {plan.head_chunk:,} tokens x vocabulary {shape.vocabulary:,}, or their gradient's"
        yield Part("logits and their gradient", "update", int(worst.beside), text)
    else:
        yield Part("the way back", "update", int(worst.beside), "gradients of one layer's activations")


def _reading(shape: Shape, setting: Setting, plan: Plan) -> Iterator[Part]:
    if setting.work.trains and setting.reads_old:
        tokens = min(plan.token_budget, setting.work.draw or setting.work.update or plan.token_budget)
        size = int(read_only(shape, setting.kept(shape), tokens, tokens, plan.head_chunk))
        yield Part("one layer and the output layer", "reading", size, "the widest moment of a pass that keeps nothing")


def _saving(shape: Shape, setting: Setting) -> Iterator[Part]:
    """A tensor is written from where it is; the file is then read through the address space and compared."""
    if setting.work.trains and not setting.lora:
        size = setting.size * shape.parameters
        yield Part("the file, read again", "saving", size, f"{setting.size} B x {_count(shape.parameters)}")


# ---------------------------------------------------------------------------------------------------- choosing


def held_of(shape: Shape, setting: Setting) -> Held:
    """What the run holds whatever the batch."""
    held = list(_held(shape, setting))
    optimizer = sum(part.bytes for part in held if part.name.startswith("optimiser"))
    copies = setting.work.answers and setting.decodes_copy and is_direct(shape)
    decoding = decoded_copy(shape, setting) if copies else 0
    weights = sum(part.bytes for part in held) - optimizer - sum(other.bytes for other in setting.others)
    gradients = gradient_bytes(shape, setting) if setting.work.trains else 0
    return Held(weights, gradients, optimizer, decoding, setting.apart)


def least_held(shape: Shape, setting: Setting) -> int:
    """Bytes that a run takes however small its passes are: while it is loaded, and once it trains."""
    held, others = held_of(shape, setting), sum(other.bytes for other in setting.others)
    loading = sum(part.bytes for part in _loading(shape, setting)) + setting.size * shape.parameters
    return max(loading, held.weights + held.gradients + held.optimizer + others)


def plan_of(shape: Shape, setting: Setting) -> Plan:
    """Micro-batches, chunk and cache as the engine chooses them. Raises ConfigError where nothing fits."""
    held = held_of(shape, setting)
    free = 1 << 60 if setting.room is None else max(0, setting.room - held.weights)
    total = setting.room or LARGE
    machine = choosing.Machine(
        free,
        setting.bound,
        setting.device,
        shape.layers,
        shape.layers * shape.width * setting.size,
        0 if setting.scores else shape.vocabulary,
        token_bytes(shape, setting.size),
        int(GPU_CACHE * total) if setting.device == "cuda" else CPU_CACHE,
    )
    work = replace(setting.work, other=sum(other.bytes for other in setting.others))
    return choosing.choose(machine, _costs(shape, setting), held, work, setting.asked)


def _costs(shape: Shape, setting: Setting) -> Costs:
    mine = costs(shape, replace(setting.kept(shape), head=not setting.scores), setting.work)
    if setting.critic != "own":
        return mine
    other = costs(setting.critic_shape or shape, _of_critic(shape, setting), setting.work)
    return replace(mine, fixed=mine.fixed + other.fixed, token=mine.token + other.token)


# ----------------------------------------------------------------------------------------------------- in words


def _notes(shape: Shape, setting: Setting) -> Iterator[str]:
    if shape.note:
        yield f"{shape.name}: {shape.note}"
    if not is_counted(shape):
        yield (
            f"activations of the family {shape.family} are a likely figure: they are counted for Llama, Mistral, "
            "Qwen2, Qwen3 and GPT-2"
        )
    if setting.device == "cuda":
        yield (
            "nothing was measured on a GPU: its context (0.3 to 0.6 GB), what its allocator keeps beside tensors, and "
            "attention's own needs come on top"
        )
        host = sum(part.bytes for part in _loading(shape, setting)) + setting.size * shape.parameters
        yield f"the machine itself needs {host / 1e9:,.3g} GB while weights are read, before they go to the GPU"
    if setting.ranks > 1:
        yield f"a share of {setting.ranks} ranks is the design's arithmetic: this version runs on one device"


def _count(number: int) -> str:
    return f"{number / 1e9:,.2f} B" if number >= 1e9 else f"{number / 1e6:,.1f} M" if number >= 1e5 else f"{number:,}"
