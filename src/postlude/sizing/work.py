"""What memory is asked for and what is chosen from it: the values that the arithmetic of this room takes and gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

BUDGET = 16_384
"""Tokens per micro-batch where memory allows: more gains no speed."""
LEAST_BUDGET = 64
LEAST_CHUNK = 16
CHUNK_ELEMENTS = 16_000_000
"""Logits held at a time (rows x vocabulary) where memory allows: 64 MB in float32."""
CPU_CACHE = 2 << 30
GPU_CACHE = 0.4
"""Of a GPU's memory, for keys and values."""
SHARED_BEYOND = 64
"""Longer prompts are kept once per group in the cache; shorter ones are copied to every sequence."""
USABLE = 0.95
"""Of what is free: other processes grow, too."""
GIB = 2**30
SIZES: Mapping[str, int] = {"bfloat16": 2, "float16": 2, "float32": 4, "float64": 8}
"""Bytes of one number."""


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
    draw: int = 0
    """The most of a draw, which passes without a gradient go through as a whole; 0: as an update."""
    answers: int = 0
    """Sampled at a time; 0 also where none are."""
    other: int = 0
    """Bytes that models will take that are loaded later: judges, reward models."""
    multi_turn: bool = False
    """Whether answers are continued: what was computed for them is then kept beside those being sampled."""
    prompt: int = 0
    """The longest prompt."""
    group: int = 1
    """Answers to a prompt that are trained together."""
    first_prompts: int = 0
    """Different prompts that are sampled from at a time."""

    @property
    def answer(self) -> int:
        """Tokens of the longest answer."""
        return max(0, self.sequence - self.prompt)


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
    source: Literal["formulas", "measured", "bound"] = "measured"
    """Arithmetic on a shape that is known, a few small batches tried, or several times what is likely."""

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


@dataclass(frozen=True)
class Kept:
    """How a model is held, as far as memory goes by it."""

    size: int = 4
    """Bytes of a number."""
    device: Literal["cpu", "cuda"] = "cpu"
    trained: bool = True
    rank: int = 0
    """Of a LoRA adapter; 0 is none."""
    maps: int = 0
    """Linear maps of a layer that it stands on."""
    checkpointing: bool = False
    head: bool = True
    """Whether it has an output layer; a scalar head is nothing to speak of."""


def columns(longest: int) -> int:
    """Columns per sequence in the cache at most: a quarter more than the longest needs, so that dropping unused ones is
    rare."""
    return longest + longest // 4 + 1
