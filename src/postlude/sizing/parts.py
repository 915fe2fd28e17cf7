"""The parts of a run's memory: what is always there, and what is there while it is loaded and saved."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from postlude.sizing.setting import Setting
from postlude.sizing.shape import Shape
from postlude.sizing.work import SIZES

Phase = Literal["always", "loading", "sampling", "reading", "update", "saving"]
PHASES: Mapping[Phase, str] = {
    "loading": "loading: weights on their way from files",
    "sampling": "sampling: keys and values, logits, a faster copy of the weights",
    "reading": "log-probs and values before an update: passes without a gradient",
    "update": "update: the largest pass forth and back, or the optimiser's step",
    "saving": "saving: what was written is read again",
}
"""Phases of a run; what they take is there one after another, unless sampling goes on beside training."""


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


PROCESS = "the process"
"""The part that is there without any model."""
LOADED = ("weights", PROCESS)
"""Parts that are there while weights are read."""


def held_parts(shape: Shape, setting: Setting) -> Iterator[Part]:
    """Weights and what belongs to them."""
    e, o, count, trained = setting.size, setting.owned, shape.parameters, setting.trained(shape)
    if setting.scores:
        shape = shape.scorer
        count = shape.parameters
    frozen = count if setting.lora else 0
    count = frozen + trained if setting.lora else count
    if setting.held == e or not setting.trains:
        yield Part("weights", "always", e * count, f"{e} B x {count_of(count)} parameters", True)
    else:
        text = f"{o} B x {count_of(count - frozen)} trained"
        text += f" + {e} B x {count_of(frozen)} frozen" if frozen else ""
        yield Part("weights", "always", o * (count - frozen) + e * frozen, text, True)
    if setting.masters and setting.trains:
        yield Part("fp32 master weights", "always", 4 * trained, f"4 B x {count_of(trained)} trained", True)
    if setting.trains:
        text = f"2 moments x {o} B x {count_of(trained)} trained"
        yield Part("optimiser (AdamW)", "always", 2 * o * trained, text, True)
    if setting.reference and not setting.lora:
        text = f"{e} B x {count_of(shape.parameters)}: a frozen copy"
        yield Part("reference", "always", e * shape.parameters, text, True)
    if setting.apart:
        yield Part("sampler's copy", "always", e * count, f"{e} B x {count_of(count)}: max_lag=1", False)
    if setting.critic == "own":
        own = (setting.critic_shape or shape).scorer.parameters
        each = setting.held + 2 * o + (4 if setting.masters else 0)
        master = " + 4 master" if setting.masters else ""
        text = f"({setting.held} weights + {2 * o} moments{master}) B x {count_of(own)}"
        yield Part("critic", "always", each * own, text, True)
    if setting.critic == "trunk":
        yield Part("critic", "always", 12 * (shape.width + 1), f"12 B x {shape.width + 1}: a head on the policy", True)
    for other in setting.others:
        yield Part(other.name, "always", other.bytes, "its weights")


def loading_parts(shape: Shape, setting: Setting) -> Iterator[Part]:
    """Weights are read in float32, whatever they become, from files that stand in the address space meanwhile."""
    count = shape.parameters
    file = SIZES[setting.stored]
    yield Part("weights files", "loading", file * count, f"{file} B x {count_of(count)}: files while they are read")
    more = max(0, 4 - setting.size)
    yield Part("read in float32", "loading", more * count, f"{more} B x {count_of(count)} more than they become")
    if setting.ranks > 1:
        others = setting.size * count * (setting.ranks - 1) // setting.ranks
        text = f"{setting.size} B x {count_of(count)}: every rank loads all of it, and keeps its share"
        yield Part("others' shares", "loading", others, text)


def gradient_bytes(shape: Shape, setting: Setting) -> int:
    """Of all that trains, or of a rank's share of it; half precision in one process has gradients of its own that are
    added to those of the master."""
    own = (setting.critic_shape or shape).scorer.parameters if setting.critic == "own" else 0
    return setting.owned * (setting.trained(shape) + own) // setting.ranks


def root_of(shape: Shape) -> int:
    """Parameters outside the layers: the embedding, an output layer of its own, the last norm."""
    return shape.parameters - shape.layers * shape.of_layer


def saving_parts(shape: Shape, setting: Setting) -> Iterator[Part]:
    """A tensor is written from where it is; the file is then read through the address space and compared."""
    if setting.work.trains and not setting.lora:
        size = setting.size * shape.parameters
        yield Part("the file, read again", "saving", size, f"{setting.size} B x {count_of(shape.parameters)}")


def count_of(number: int) -> str:
    return f"{number / 1e9:,.2f} B" if number >= 1e9 else f"{number / 1e6:,.1f} M" if number >= 1e5 else f"{number:,}"
