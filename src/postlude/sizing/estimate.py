"""What a run takes, part by part and phase by phase: the peak is the largest phase, and no sum over phases."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from postlude.errors import ConfigError
from postlude.sizing import choosing
from postlude.sizing.activations import Moment, Pass, costs, is_counted, is_direct, layer, moments, read_only
from postlude.sizing.fitting import Way, largest, needed, ways
from postlude.sizing.heap import (
    HEAP,
    gradient_places,
    gradients_at,
    heap_of,
    holes_at,
    is_heaped,
    is_large,
    left_of,
    passes,
    share_of,
    tokens_of,
    with_gradients,
)
from postlude.sizing.knobs import Knob, knobs
from postlude.sizing.machine import decoded_copy
from postlude.sizing.parts import (
    LOADED,
    PHASES,
    PROCESS,
    Part,
    Phase,
    count_of,
    gradient_bytes,
    held_parts,
    loading_parts,
    root_of,
    saving_parts,
)
from postlude.sizing.ranks import ADDED_IN, added_up_bytes, gathered_bytes, gathered_parts, of_share
from postlude.sizing.setting import Setting
from postlude.sizing.shape import Shape
from postlude.sizing.work import (
    CPU_CACHE,
    GIB,
    GPU_CACHE,
    LEAST_BUDGET,
    LEAST_CHUNK,
    SHARED_BEYOND,
    Asked,
    Costs,
    Held,
    Kept,
    Plan,
    columns,
)

HOLES = "holes of the heap"
ADDING_UP = "adding the embedding's gradient up"
DRAWN = 12
"""Bytes of each logit while a token is drawn: the logits, their exponentials, and a copy whose rows are padded."""
RUNTIME = 430_000_000
"""Bytes of the process with its libraries loaded, on one machine: Python, torch for CPUs, transformers."""
LARGE = 64 << 30
"""Bytes of a GPU whose size is not said, for its cache."""


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
    refused: str = ""
    """Why the engine would not take it as it was set; this is then the least that it takes."""

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
    def at_the_head(self) -> dict[str, int]:
        """Bytes of the largest pass as it is at the output layer, by name; nothing where nothing trains."""
        if not self.setting.work.trains:
            return {}
        head = next(one for one in _moments(self.shape, self.setting, self.plan) if one.name == "the output layer")
        return {"activations": int(head.layers), "logits and their gradient": int(head.beside)}

    @property
    def process(self) -> int:
        """Bytes of the process itself."""
        return sum(part.bytes for part in self.parts if part.name == PROCESS)

    @property
    def worst(self) -> Phase:
        """The phase of the peak."""
        phases = self.phases
        return max(phases, key=lambda name: phases[name])

    @property
    def fits(self) -> bool | None:
        """Whether it fits into the room of the setting; None where that names none."""
        if self.setting.room is None:
            return None
        return not self.refused and self.peak <= self.setting.room

    @property
    def least(self) -> Estimate:
        """With the smallest micro-batches that the run can do with, and the smallest cache."""
        work = self.setting.work
        budget = min(max(LEAST_BUDGET, work.piece), self.plan.token_budget)
        one = columns(work.sequence) * token_bytes(self.shape, self.setting.size)
        asked = Asked(budget, LEAST_CHUNK, min(one, self.plan.cache_bytes) / GIB)
        return estimate(self.shape, replace(self.setting, asked=asked))

    @property
    def knobs(self) -> list[Knob]:
        """Settings that would take less, the one that saves most first; of the least where that is what stands here."""
        return knobs(self.setting, self.plan, self.peak, self._again)

    @property
    def ways(self) -> list[Way]:
        """Settings that make it fit, alone or together, the fewest first; none where it fits."""
        if self.fits is not False:
            return []
        return ways(self.setting, self.plan, self._fitting)

    @property
    def needed(self) -> int:
        """Bytes of the smallest device that it would fit with these settings: the engine leaves some room."""
        return needed(replace(self.setting, asked=Asked()), self.least.peak, self._fitting)

    @property
    def largest(self) -> str:
        """The largest usual model that fits the room with the leanest settings; empty where none does."""
        return largest(self.setting, lambda shape, setting: _fitting(shape, setting) is not None)

    def _again(self, setting: Setting) -> int:
        """The peak under another setting."""
        if not self.refused:
            return estimate(self.shape, setting).peak
        return estimate(self.shape, replace(setting, room=None)).least.peak

    def _fitting(self, setting: Setting) -> int | None:
        return _fitting(self.shape, setting)


def estimate(shape: Shape, setting: Setting) -> Estimate:
    """The memory of a run. Raises ConfigError where no micro-batch fits into the room."""
    plan = plan_of(shape, setting)
    worst = worst_moment(shape, setting, plan)
    parts = [*held_parts(shape, setting), *_sampling(shape, setting, plan), *_reading(shape, setting, plan)]
    parts += [*_update(shape, setting, plan, worst), *gathered_parts(shape, setting)]
    parts = [of_share(part, setting.ranks) for part in parts]
    if setting.device == "cpu":  # files are read into the host's memory, whatever trains
        parts += [*loading_parts(shape, setting), *saving_parts(shape, setting)]
        parts += _of_process(parts, shape, setting, plan, worst)
    notes = tuple(_notes(shape, setting))
    return Estimate(shape, setting, tuple(part for part in parts if part.bytes), plan, worst.name, notes)


def sized(shape: Shape, setting: Setting) -> Estimate:
    """The memory of a run; where it does not fit its room, the least that it takes, with `fits` False."""
    try:
        whole = estimate(shape, setting)
    except ConfigError as error:
        if error.code != "out-of-memory":
            raise
        return replace(estimate(shape, replace(setting, room=None)).least, setting=setting, refused=str(error))
    return whole


def _fitting(shape: Shape, setting: Setting) -> int | None:
    """Bytes of a device at the peak; None where that is more than its room, or the engine would refuse."""
    try:
        whole = estimate(shape, setting)
    except ConfigError:
        return None
    return whole.peak if whole.fits is not False else None


def _of_process(parts: Sequence[Part], shape: Shape, setting: Setting, plan: Plan, worst: Moment) -> Iterator[Part]:
    """What a process on a CPU takes beside tensors: its libraries, and what its heap holds for nobody."""
    yield Part(PROCESS, "always", RUNTIME, "its libraries, as seen on one machine")
    size = heap_of(shape, setting, plan, worst)
    large = is_large(shape, _read_rows(setting, plan), plan)
    phases: list[Phase] = ["sampling"] if large else ["sampling", "reading"]
    for phase in phases if is_heaped(shape, setting, plan) else ():
        passing = sum(part.bytes for part in parts if part.phase == phase)
        yield Part(HOLES, phase, int(HEAP * passing), f"{HEAP:.1%} of what comes and goes (fitted)")
    if not setting.work.trains:
        return
    share = share_of(shape, setting)
    text = f"{share:.1%} of what comes and goes in blocks below 32 MiB (fitted)"
    if gradient_places(shape, setting, plan, worst) > share * size:
        text = "places of the last step's gradients, between the optimiser's moments"
    yield Part(HOLES, "update", int(holes_at(shape, setting, plan, worst)), text)
    if setting.reads_old and large:
        text = "the heap as an update left it: large logits are in blocks of their own, and come on top"
        yield Part("left by the last update", "reading", int(left_of(shape, setting, plan, worst)), text)


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


def worst_moment(shape: Shape, setting: Setting, plan: Plan) -> Moment:
    """Of an update: at a place of its largest pass, or in the optimiser's step."""

    def size(one: Moment) -> float:
        return with_gradients(shape, setting, plan, one) + holes_at(shape, setting, plan, one)

    return max(_moments(shape, setting, plan), key=size)


def _moments(shape: Shape, setting: Setting, plan: Plan) -> list[Moment]:
    tokens = tokens_of(setting, plan)
    kept = replace(setting.kept(shape), head=not setting.scores)
    found = moments(shape, kept, setting.work, tokens, plan.head_chunk)
    if setting.critic == "own":
        other, kept = setting.critic_shape or shape, _of_critic(shape, setting)
        beside = max(moments(other, kept, setting.work, tokens, plan.head_chunk), key=lambda one: one.layers)
        found = [replace(one, layers=one.layers + beside.layers * (1 - one.gradients)) for one in found]
    if setting.ranks > 1 and not setting.lora:
        root = root_of(shape.scorer if setting.scores else shape)
        found.append(Moment(ADDING_UP, 0.0, float((setting.size + ADDED_IN) * root), 1.0))
    return [*found, Moment("the optimiser's step", 0.0, 0.0, 1.0)]


def _of_critic(shape: Shape, setting: Setting) -> Kept:
    """How a critic of its own is held: whole, whatever adapter the policy has."""
    return replace(setting.kept(shape), rank=0, maps=0, head=False)


def _update(shape: Shape, setting: Setting, plan: Plan, worst: Moment) -> Iterator[Part]:
    if not setting.work.trains:
        return
    count = passes(setting, plan)
    gradients = gradients_at(shape, setting, plan, worst)
    text = f"{setting.owned} B x {count_of(gradient_bytes(shape, setting) * setting.ranks // setting.owned)} trained"
    text += f", / {setting.ranks:,} ranks" if setting.ranks > 1 else ""
    if count == 1 and worst.gradients < 1:
        text += f": {worst.gradients:.0%} of them are made when the only pass is at its worst"
    yield Part("gradients", "update", gradients, text)
    if setting.masters and count > 1 and worst.gradients:
        half = int(setting.size * setting.trained(shape) * worst.gradients)
        text = f"{setting.size} B each, before they are added up in float32"
        yield Part("gradients of a pass", "update", half, text)
    through = "inputs of all layers + one layer" if setting.checkpointing else f"{shape.layers} layers"
    each = layer(shape, setting.kept(shape)).text
    text = f"{int(tokens_of(setting, plan)):,} tokens x {through} x ({each}) x {setting.size} B, and gathered keys"
    yield Part("activations", "update", int(worst.layers), text)
    if worst.name == "the output layer":
        text = f"8 B x {plan.head_chunk:,} tokens x vocabulary {shape.vocabulary:,}, or their gradient's"
        yield Part("logits and their gradient", "update", int(worst.beside), text)
    elif worst.name == ADDING_UP:
        text = f"({setting.size} + {ADDED_IN}) B x embedding, output layer and last norm, whole on every rank"
        yield Part("gradient of the embedding, added up", "update", int(worst.beside), text)
    else:
        yield Part("the way back", "update", int(worst.beside), "gradients of one layer's activations")


def _reading(shape: Shape, setting: Setting, plan: Plan) -> Iterator[Part]:
    if setting.work.trains and setting.reads_old:
        kept, tokens = setting.kept(shape), _read_tokens(setting, plan)
        size = int(read_only(shape, kept, tokens, _read_rows(setting, plan), plan.head_chunk))
        yield Part("one layer and the output layer", "reading", size, "the widest moment of a pass that keeps nothing")


def _read_tokens(setting: Setting, plan: Plan) -> int:
    """Of the largest pass without a gradient."""
    return min(plan.token_budget, setting.work.draw or setting.work.update or plan.token_budget)


def _read_rows(setting: Setting, plan: Plan) -> float:
    """Tokens of answers in it, which alone have logits."""
    return Pass.of(setting.work, _read_tokens(setting, plan)).rows


# ---------------------------------------------------------------------------------------------------- choosing


def held_of(shape: Shape, setting: Setting) -> Held:
    """What a device of the run holds whatever the batch."""
    held = [of_share(part, setting.ranks) for part in held_parts(shape, setting)]
    optimizer = sum(part.bytes for part in held if part.name.startswith("optimiser"))
    copies = setting.work.answers and setting.decodes_copy and is_direct(shape)
    decoding = decoded_copy(shape, setting) if copies else 0
    weights = sum(part.bytes for part in held) - optimizer - sum(other.bytes for other in setting.others)
    weights += gathered_bytes(shape, setting) + added_up_bytes(shape, setting)
    gradients = gradient_bytes(shape, setting) if setting.work.trains else 0
    return Held(weights, gradients, optimizer, decoding, setting.apart)


def least_held(shape: Shape, setting: Setting) -> int:
    """Bytes that a run takes however small its passes are: while it is loaded, and once it trains."""
    held, others = held_of(shape, setting), sum(other.bytes for other in setting.others)
    loading = sum(part.bytes for part in loading_parts(shape, setting))
    loading += setting.size * shape.parameters // setting.ranks
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
    if setting.served:
        yield (
            "answers are sampled by engine.servers, and not here: what those take (the weights again, keys and values) "
            "is theirs and not counted"
        )
    if setting.device == "cuda":
        yield (
            "nothing was measured on a GPU: its context (0.3 to 0.6 GB), what its allocator keeps beside tensors, and "
            "attention's own needs come on top"
        )
        host = sum(part.bytes for part in loading_parts(shape, setting)) + setting.size * shape.parameters
        yield f"the machine itself needs {host / 1e9:,.3g} GB while weights are read, before they go to the GPU"
    if setting.ranks > 1:
        yield (
            f"all of it is of each of {setting.ranks:,} ranks, which train; what samples (this process, or servers) "
            "holds the weights once more"
        )
