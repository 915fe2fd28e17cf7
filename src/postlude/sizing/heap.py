"""What an update holds beside what is always there: its largest pass, gradients, and what the C library's heap keeps.

glibc gives blocks below 32 MiB from its heap, and what is freed there stays with the process: places between tensors
that live on, where larger ones find no room, and after a phase all that it had. Larger blocks go back to the kernel.
"""

from __future__ import annotations

from postlude.sizing.activations import Moment, Pass, is_direct
from postlude.sizing.parts import gradient_bytes
from postlude.sizing.setting import Setting
from postlude.sizing.shape import Shape
from postlude.sizing.work import Plan

HEAP, HEAP_AGAIN, HEAP_MODULES = 0.115, 0.94, 0.28
"""Of what comes and goes in a phase: what glibc's heap holds beside tensors. With gradient checkpointing, and for
families that transformers' modules compute, it is more. Fitted: docs/memory.md says on what."""
HEAP_BLOCK = 32 << 20
"""Bytes from which on glibc takes a block from the kernel and gives it back, whatever went before."""


def tokens_of(setting: Setting, plan: Plan) -> float:
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
    tokens = tokens_of(setting, plan)
    return max(1, -(-setting.work.update // max(1, int(tokens)))) if setting.work.update else 1


def with_gradients(shape: Shape, setting: Setting, plan: Plan, moment: Moment) -> float:
    """Bytes of all tensors that an update holds at a moment; those of a half-precision pass are there twice."""
    half = setting.size * setting.trained(shape) if setting.masters and passes(setting, plan) > 1 else 0
    there = gradients_at(shape, setting, plan, moment)
    return moment.layers + moment.beside + there + half * moment.gradients


def gradients_at(shape: Shape, setting: Setting, plan: Plan, moment: Moment) -> int:
    """Bytes of the gradients that are there: all but in the first pass, where they come as its activations go."""
    share = moment.gradients if passes(setting, plan) == 1 else 1.0
    return int(share * gradient_bytes(shape, setting))


def gradient_places(shape: Shape, setting: Setting, plan: Plan, moment: Moment) -> int:
    """Bytes of the heap where gradients of the step before have been and are not yet again: the optimiser's moments,
    made in the first step, stand between them, so that nothing larger finds room there. Blocks of their own go."""
    if map_bytes(shape, setting) >= HEAP_BLOCK:
        return 0
    embedding = shape.embedding * setting.owned // setting.ranks if not setting.lora else 0
    heaped = gradient_bytes(shape, setting) - (embedding if embedding >= HEAP_BLOCK else 0)
    return max(0, heaped - gradients_at(shape, setting, plan, moment))


def map_bytes(shape: Shape, setting: Setting) -> int:
    """Of a layer's largest map as the optimiser holds it."""
    return shape.width * shape.inner * setting.owned // setting.ranks


def left_of(shape: Shape, setting: Setting, plan: Plan, moment: Moment) -> float:
    """Bytes that the heap keeps of an update, for nobody, when the next phase begins; of logits in blocks of their own
    nothing."""
    kept = heap_of(shape, setting, plan, moment) + holes_at(shape, setting, plan, moment)
    rows = Pass.of(setting.work, tokens_of(setting, plan)).rows
    gone = moment.name == "the output layer" and is_heaped(shape, setting, plan) and is_large(shape, rows, plan)
    return kept - (moment.beside if gone else 0.0)


def is_heaped(shape: Shape, setting: Setting, plan: Plan) -> bool:
    """Whether what a pass keeps is in the heap."""
    return tokens_of(setting, plan) * shape.inner * setting.size < HEAP_BLOCK


def is_large(shape: Shape, rows: float, plan: Plan) -> bool:
    """Whether logits of so many tokens are in blocks of their own."""
    return 4 * min(rows, plan.head_chunk) * shape.vocabulary >= HEAP_BLOCK


def heap_of(shape: Shape, setting: Setting, plan: Plan, moment: Moment) -> float:
    """Bytes of tensors that come and go in the heap at a moment of an update."""
    passing = moment.layers + moment.beside if is_heaped(shape, setting, plan) else 0.0
    gradients = with_gradients(shape, setting, plan, moment) - moment.layers - moment.beside
    return passing + (gradients if map_bytes(shape, setting) < HEAP_BLOCK else 0.0)


def holes_at(shape: Shape, setting: Setting, plan: Plan, moment: Moment) -> float:
    """Bytes of an update's heap that nothing is in: a share of what comes and goes in it, or more where gradients of
    the step before have left their places."""
    if setting.device != "cpu":
        return 0.0
    share = share_of(shape, setting) * heap_of(shape, setting, plan, moment)
    return max(share, gradient_places(shape, setting, plan, moment))


def share_of(shape: Shape, setting: Setting) -> float:
    """Share of passing tensors that the heap takes beside them."""
    return HEAP_AGAIN if setting.checkpointing else HEAP if is_direct(shape) else HEAP_MODULES
