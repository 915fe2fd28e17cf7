"""What a pass forth and back keeps: the tensors that each layer saves for its gradient, token by token.

The numbers are those of the engine's own code (`engines/local/direct.py`, `kernels.py`, `attention.py`, `head.py`) and
of transformers' modules for the families that it does not serve itself. D is the width, A that of all queries, K that
of all keys, I that of the feed-forward block, V the vocabulary, T tokens, N those that are trained, c a chunk of N.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from postlude.sizing.shape import Shape
from postlude.sizing.work import Costs, Kept, Work

DIRECT = ("llama", "mistral", "qwen2", "qwen3")
"""Families that the engine computes itself; the modules of transformers compute the others."""
GELU: Mapping[str, int] = {"gelu_new": 5, "gelu_fast": 6, "gelu_pytorch_tanh": 2, "gelu": 2, "relu": 2, "silu": 2}
"""Activation of an ungated block -> arrays [T, I] that it and the maps around it keep."""
INDEX = 8
"""Bytes of a row's number."""


@dataclass(frozen=True)
class Layer:
    """Bytes that one layer keeps for its gradient."""

    token: float
    """Of each token that goes through it, what attention gathers aside."""
    entry: float
    """Of each token of the layer's input, which checkpointing keeps of all layers."""
    text: str
    """The arithmetic, in numbers of the model's own precision."""


def is_direct(shape: Shape) -> bool:
    """Whether the engine computes this family itself."""
    return shape.family in DIRECT and shape.activation == "silu"


def is_counted(shape: Shape) -> bool:
    """Whether what a layer keeps is counted, and not only likely."""
    return is_direct(shape) or (shape.family == "gpt2" and shape.activation in GELU)


def layer(shape: Shape, kept: Kept) -> Layer:
    """What one layer keeps."""
    d, a, k, i, e = shape.width, shape.query_width, shape.key_width, shape.inner, kept.size
    low = kept.rank * kept.maps
    indices = 4 * INDEX  # rows of queries, and of what comes back: two for each place of a padded block
    norms, sums = 2 * 4, 4 * shape.heads
    if is_direct(shape):
        numbers, text = 4 * d + 3 * a + 3 * i + low, "4D + 3A + 3I"
        if shape.family == "qwen3":
            numbers, text = numbers + a + k, text + " + A + K"
    elif shape.gated:
        numbers, text = 8 * d + 3 * a + 4 * i + low * 3, "8D + 3A + 4I"
        norms = 2 * (4 - e) * d if e < 4 else norms
    else:
        arrays = GELU.get(shape.activation, 5)
        numbers, text = 4 * d + 3 * a + arrays * i + low * 3, f"4D + 3A + {arrays}I"
        norms = 4 * 4
    if low:
        text += " + rank x maps"
    return Layer(e * numbers + indices + norms + sums, e * d, text)


FOLDED = 32_000_000
"""Entries of a mask up to which heads that share keys are folded; beyond, and without a mask, keys are repeated."""


@dataclass(frozen=True)
class Pass:
    """The largest pass of an update."""

    tokens: float
    rows: float
    """Trained ones."""
    prompts: float
    """Keys of prompts, among themselves."""
    seen: float
    """Keys that answers see: their own and, once for each answer, their prompt's."""
    pairs: float
    """Entries of masks: answers' tokens by what they may see."""

    @classmethod
    def of(cls, work: Work, tokens: float) -> Pass:
        """So many tokens of groups like the longest."""
        group = work.prompt + work.group * work.answer
        if not group:
            return cls(tokens, tokens, 0.0, tokens, 0.0)
        share = tokens / group
        answers = share * work.group
        rows, seen = answers * work.answer, answers * work.sequence
        return cls(tokens, rows, share * work.prompt, seen, rows * work.sequence if work.prompt else 0.0)


@dataclass(frozen=True)
class Moment:
    """Bytes at one moment of a pass forth and back, by what holds them."""

    name: str
    layers: float
    """What the layers keep."""
    beside: float
    """What the way back through one layer takes, or the output layer's logits and gradient."""
    gradients: float
    """Share of the weights' gradients that a first pass has made by then."""

    def bytes(self, gradients: float, first: bool) -> float:
        """With so many bytes of gradients; those of earlier passes are all there."""
        return self.layers + self.beside + (self.gradients if first else 1.0) * gradients


def moments(shape: Shape, kept: Kept, work: Work, tokens: float, chunk: int) -> list[Moment]:
    """Where a pass may be at its worst: at the output layer, at the last layers, at the first."""
    part = Pass.of(work, tokens)
    e, d, i = kept.size, shape.width, shape.inner
    once, mask = _of_attention(shape, kept, part)
    angles = e * 2 * shape.head_width * part.tokens
    ends = e * 2 * part.rows * d  # the last norm and what it gives
    one = layer(shape, kept)
    whole = one.token * part.tokens + once
    back = e * part.tokens * (2 * i + 2 * d)
    head = logits(shape, kept, part.rows, chunk)
    if kept.checkpointing:
        entries = shape.layers * one.entry * part.tokens + mask + angles
        first = one.entry * part.tokens + mask + angles
        return [
            Moment("the output layer", entries + ends, head, 0.0),
            Moment("the last layer again", entries + whole, back, 0.0),
            Moment("the first layer again", first + whole, back, 1.0),
        ]
    spared = e * (part.tokens - part.rows) * (3 * d + 3 * i)  # the last layer owes prompts nothing
    entries = (shape.layers - 1) * whole + mask + angles
    last = entries + max(0.0, whole - spared) + ends
    return [
        Moment("the output layer", last, max(head, e * part.rows * (2 * i + 2 * d)), 0.0),
        Moment("the last layers", entries, back, 1 / shape.layers),
        Moment("the embedding", mask + angles, embedding_gradient(shape, kept), 1.0),
    ]


def embedding_gradient(shape: Shape, kept: Kept) -> float:
    """Bytes of the embedding's gradient, which is made whole before it is added to what is there."""
    return shape.embedding * kept.size if kept.trained and not kept.rank else 0.0


def _of_attention(shape: Shape, kept: Kept, part: Pass) -> tuple[float, float]:
    """Bytes of the keys and values that one layer's attention gathers, and of the masks that all layers share."""
    e, k, a = kept.size, shape.key_width, shape.query_width
    if kept.device == "cuda":  # flex_attention gathers nothing and has no mask of that size
        return e * 2 * k * part.tokens, 0.0
    repeat = a // k
    folded = part.pairs * repeat <= FOLDED
    seen = 2 * k if folded else 2 * a
    once = e * (2 * a * part.prompts + seen * part.seen) + INDEX * (part.prompts + part.seen)
    return once, part.pairs * e * (repeat if folded else 1)


def logits(shape: Shape, kept: Kept, rows: float, chunk: float) -> float:
    """Bytes at the output layer: logits and their exponentials of a chunk, in float32, and its own gradient."""
    if not kept.head:
        return 0.0
    c, v = min(rows, chunk), shape.vocabulary
    gradient = embedding_gradient(shape, kept)
    if rows <= chunk:
        return max(8 * c * v, 4 * c * v + gradient)
    return max(8 * c * v + gradient, 4 * c * v + 2 * gradient)


def read_only(shape: Shape, kept: Kept, tokens: float, rows: float, chunk: float) -> float:
    """Bytes of a pass without a gradient: the widest moment of one layer, or the output layer."""
    e, d, i = kept.size, shape.width, shape.inner
    inside = max(2 * d + 3 * i, 2 * d + 3 * shape.query_width + 4 * shape.key_width)
    head = 2 * rows * d * e + 8 * min(rows, chunk) * shape.vocabulary
    return max(tokens * inside * e, head)


def costs(shape: Shape, kept: Kept, work: Work) -> Costs:
    """The same as costs per token, for choosing how many go at a time."""
    few, many = (max(one.layers for one in moments(shape, kept, work, 1024.0 * n, 1)) for n in (1, 2))
    return Costs(2 * embedding_gradient(shape, kept), (many - few) / 1024, 0.0, 8.0, "formulas")
