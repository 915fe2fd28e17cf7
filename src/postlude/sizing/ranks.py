"""What one of several ranks holds: its share of weights, gradients and optimiser, and what it gathers to compute with.

Every layer is a unit of FSDP2 that is gathered when it is run and let go; the embedding, the output layer and the last
norm are the root unit, which stays gathered from the beginning of a pass to its end. With 16-bit weights a rank keeps
its share in float32, which is the optimiser's master, and gathers it in 16 bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from postlude.sizing.parts import Part, count_of, root_of
from postlude.sizing.setting import Setting
from postlude.sizing.shape import Shape
from postlude.sizing.work import Work

ADDED_IN = 4
"""Bytes of a number of a gradient while ranks add it up."""


def shared_out(setting: Setting, ranks: int) -> Setting:
    """One of so many ranks: it trains its share of an update, samples nothing, and asks no reward model or judge."""
    if ranks == 1:
        return replace(setting, ranks=1)
    return replace(setting, ranks=ranks, work=share_of(setting.work, ranks), apart=False, samples=False, others=())


def share_of(work: Work, ranks: int) -> Work:
    """The largest share that one of so many ranks has of an update and of a draw: whole pieces; all of it alone."""
    if ranks == 1:
        return work

    def share(tokens: int) -> int:
        return max(work.piece, -(-tokens // ranks)) if tokens else 0

    return replace(work, update=share(work.update), draw=share(work.draw), answers=0, first_prompts=0)


def sampler_of(setting: Setting) -> Setting:
    """The driver beside the ranks: a model of its own that samples, and trains nothing."""
    work = replace(setting.work, trains=False, update=0, draw=0, piece=0)
    return replace(
        setting, work=work, reads_old=False, reference=False, critic=None, apart=False, ranks=1, others=(), trains=False
    )


def gathered_bytes(shape: Shape, setting: Setting) -> int:
    """What a rank gathers in a pass: the layer that is run, the next, and the roots of what is run in it."""
    if setting.ranks == 1:
        return 0
    roots = root_of(shape.scorer if setting.scores else shape)
    if setting.critic == "own":
        roots += root_of((setting.critic_shape or shape).scorer)
    return setting.size * (2 * shape.of_layer + roots)


def added_up_bytes(shape: Shape, setting: Setting) -> int:
    """A layer's whole gradient on a rank, and the same in float32 on its way to the others."""
    if setting.ranks == 1 or not setting.work.trains:
        return 0
    layer = setting.trained(shape) // shape.layers if setting.lora else shape.of_layer
    return (setting.size + ADDED_IN) * layer


def gathered_parts(shape: Shape, setting: Setting) -> Iterator[Part]:
    """As parts of the phases in which they are there."""
    if setting.ranks == 1:
        return
    e = setting.size
    text = f"{e} B x (2 layers x {count_of(shape.of_layer)} + embedding, output layer and last norm)"
    if setting.work.trains and setting.reads_old:
        yield Part("gathered weights", "reading", gathered_bytes(shape, setting), text)
    yield Part("gathered weights", "update", gathered_bytes(shape, setting), text)
    text = f"({e} + {ADDED_IN}) B x a layer's {count_of(added_up_bytes(shape, setting) // (e + ADDED_IN))}"
    yield Part("a layer's gradients, added up", "update", added_up_bytes(shape, setting), text)


def of_share(part: Part, ranks: int) -> Part:
    """What a rank holds of a part."""
    if not part.sharded or ranks == 1:
        return part
    return replace(part, bytes=part.bytes // ranks, formula=f"{part.formula}, / {ranks:,} ranks")
