"""Seconds of a step by part: arithmetic on what a step asks, and on what GPUs, links and disks can do.

Every part says its formula with the numbers in it. What goes on beside other work is marked as hidden, and counts only
with what sticks out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Literal

from postlude.facts import hardware as hw
from postlude.facts.hardware import Gpu
from postlude.sizing.draw import Draw, back_and_forth, operations, read_parameters
from postlude.sizing.estimate import token_bytes
from postlude.sizing.layout import Layout
from postlude.sizing.setting import Setting
from postlude.sizing.shape import Shape
from postlude.sizing.work import Plan

Phase = Literal["sample", "learn", "publish", "drive"]


@dataclass(frozen=True)
class Seconds:
    """A part of a step."""

    name: str
    phase: Phase
    seconds: float
    """That the step is longer by."""
    formula: str
    """With the numbers in it."""
    hidden: float = 0.0
    """Seconds of it that go on beside other work."""


@dataclass(frozen=True)
class Step:
    """Who does a step: a model as it is set up, on a layout of GPUs."""

    shape: Shape
    setting: Setting
    draw: Draw
    layout: Layout
    gpu: Gpu
    plan: Plan
    """How the ranks cut their work."""
    rows: int
    """Answers that a server samples at a time at most."""
    way: Literal["files", "lora", "stream"] = "files"
    """How servers get weights."""
    commit_every: int = 1
    """Steps from one checkpoint to the next; 0: none that counts."""

    @property
    def flops(self) -> float:
        """Operations a second of one GPU, as far as they are reached."""
        peak = self.gpu.flops if self.setting.size == 2 else self.gpu.flops32
        return peak * hw.COMPUTE.value

    @property
    def weights(self) -> float:
        """Bytes of the whole model."""
        return float(self.setting.size * self.shape.parameters)

    @property
    def published(self) -> float:
        """Bytes of a version of the weights."""
        return float(self.setting.size * self.setting.trained(self.shape)) if self.setting.lora else self.weights


def parts_of(step: Step) -> list[Seconds]:
    """All parts of a step, in the order in which they come."""
    parts: list[Seconds] = []
    if step.layout.servers:
        parts += _sampling(step)
    parts += _learning(step)
    if step.layout.servers:
        parts += _publishing(step)
    parts += _committing(step)
    return [*parts, *_driving(step, sum(one.seconds for one in parts if one.phase == "sample"))]


def total(parts: Sequence[Seconds], lag: int) -> float:
    """Seconds of a step."""
    return together(*phases(parts), lag)


def phases(parts: Sequence[Seconds]) -> tuple[float, float, float]:
    """Seconds of sampling, of learning, and of what comes after both."""
    sums = {"sample": 0.0, "learn": 0.0, "publish": 0.0, "drive": 0.0}
    for one in parts:
        sums[one.phase] += one.seconds
    return sums["sample"], sums["learn"], sums["publish"] + sums["drive"]


def together(sampling: float, learning: float, rest: float, lag: int) -> float:
    """One after the other, or the longer of sampling and learning where they go on together."""
    return (max(sampling, learning) if lag else sampling + learning) + rest


# ---------------------------------------------------------------------------------------------------- sampling


def decoding(step: Step, rows: float, context: float) -> float:
    """Seconds of a decoding step of so many answers with so many tokens each, on one server."""
    gpus, size = step.layout.gpus, step.setting.size
    bandwidth = gpus * step.gpu.bandwidth * hw.READING.value
    reading = size * read_parameters(step.shape, rows) / bandwidth
    computing = 2.0 * read_parameters(step.shape, 1) * rows / (gpus * step.flops)
    keys = rows * context * token_bytes(step.shape, size) / bandwidth
    return max(reading, computing) + keys + hw.STEP.value


def _sampling(step: Step) -> Iterator[Seconds]:
    draw, layout = step.draw, step.layout
    each = draw.answers / layout.servers
    rows = min(ceil(each), step.rows)
    context = draw.prompt + draw.answer / 2
    prompts = replace(draw, answer=0.0, longest=0.0)
    reading = operations(step.shape, prompts).forward / (layout.sampling * step.flops)
    one = decoding(step, rows, context)
    seconds = reading + each * draw.answer / rows * one
    formula = (
        f"{each:,.0f} answers of each of {layout.servers:,} x {draw.answer:,.0f} tokens / {rows:,} at a time x "
        f"{1e3 * one:.1f} ms a step, and prompts {reading:.2g} s"
    )
    yield Seconds("sampling", "sample", seconds, formula)
    few = max(1.0, draw.tail * rows)
    slow = decoding(step, few, draw.prompt + (draw.answer + draw.longest) / 2)
    more = max(0.0, draw.longest - draw.answer)
    formula = f"({draw.longest:,.0f} - {draw.answer:,.0f}) tokens x {1e3 * slow:.1f} ms a step of {few:,.0f} answers"
    yield Seconds("the longest answer", "sample", more * slow, formula)


# ---------------------------------------------------------------------------------------------------- learning


def _learning(step: Step) -> Iterator[Seconds]:
    draw, ranks = step.draw, step.layout.trainers
    forward, critic = operations(step.shape, draw, not step.setting.scores).forward, _of_critic(step)
    busiest = draw.busiest(ranks)
    rate = f"{busiest:.3g} of it on the busiest rank / {step.flops / 1e12:,.0f} TFLOP/s"
    read = draw.readings * forward + critic
    reading = read * busiest / step.flops
    if read:
        text = f"{draw.readings} x {forward / 1e15:,.3g} PFLOP"
        text += f" + {critic / 1e15:,.3g} of the critic" if critic else ""
        yield Seconds("passes without a gradient", "learn", reading, f"{text} x {rate}")
    times = back_and_forth(step.setting) * draw.epochs
    learning = times * (forward + critic) * busiest / step.flops
    text = f"{times:g} x {(forward + critic) / 1e15:,.3g} PFLOP x {rate}"
    yield Seconds("forward and backward", "learn", learning, text)
    if ranks > 1:
        yield _links(step, reading + learning)
    moved = 28.0 * _trained(step) * draw.updates * draw.epochs
    seconds = moved / ranks / (step.gpu.bandwidth * hw.READING.value)
    formula = f"28 B x {_trained(step) / 1e9:,.3g} B trained x {draw.updates * draw.epochs} / {ranks:,} ranks / memory"
    yield Seconds("optimiser", "learn", seconds, formula)


def _of_critic(step: Step) -> float:
    """Operations of a pass forth through a critic of its own."""
    if step.setting.critic != "own":
        return 0.0
    return operations(step.setting.critic_shape or step.shape, step.draw, False).forward


def _trained(step: Step) -> float:
    return float(step.setting.trained(step.shape) + _critic_parameters(step))


def _critic_parameters(step: Step) -> int:
    return (step.setting.critic_shape or step.shape).scorer.parameters if step.setting.critic == "own" else 0


def passes(step: Step) -> int:
    """Of an optimiser step with a gradient, on each rank."""
    each = step.draw.tokens / step.draw.updates * step.draw.busiest(step.layout.trainers)
    return max(1, ceil(each / step.plan.token_budget))


def _links(step: Step, computing: float) -> Seconds:
    """Gathering layers, forth and back, and adding gradients up: beside computing as far as that lasts."""
    draw = step.draw
    back, forth = draw.updates * draw.epochs * passes(step), draw.updates * draw.readings * passes(step)
    each, added = step.weights + step.setting.size * _critic_parameters(step), 4.0 * _trained(step)
    gathers = 2 * back + forth
    calls = (3 * back + forth) * (step.shape.layers + 1)
    seconds, where = moving(step.gpu, step.layout.trainers, gathers * each + back * added, calls)
    most = max(0.0, seconds - computing)
    formula = (
        f"{gathers:,} x {each / 1e9:,.3g} GB gathered + {back:,} x {added / 1e9:,.3g} GB added up, {where}, and "
        f"{calls:,} calls: {seconds:,.3g} s, beside {computing:,.3g} s of computing"
    )
    return Seconds("links between ranks", "learn", most, formula, seconds - most)


def moving(gpu: Gpu, ranks: int, size: float, calls: int) -> tuple[float, str]:
    """Seconds in which every rank gets so many bytes of the others, in so many calls; and over what."""
    hosts = ceil(ranks / hw.PER_HOST)
    inside = size * (ranks - 1) / ranks / (gpu.link * hw.LINK.value)
    if hosts == 1:
        return inside + calls * hw.HOP.value, f"at {gpu.link * hw.LINK.value / 1e9:,.0f} GB/s in the host"
    between = gpu.network * hw.PER_HOST * hw.NETWORK.value
    outside = size * (hosts - 1) / hosts / between
    text = f"at {between / 1e9:,.0f} GB/s into each of {hosts:,} hosts"
    return max(inside, outside) + calls * hosts * hw.HOP.value, text


# -------------------------------------------------------------------------------------------- publish and commit


def _publishing(step: Step) -> Iterator[Seconds]:
    size, servers = step.published, step.layout.servers
    if step.layout.alone:
        return
    if step.way == "stream":
        seconds = size / hw.GATHER.value
        text = f"{size / 1e9:,.3g} GB through rank 0 at {hw.GATHER.value / 1e9:g} GB/s"
        yield Seconds("publish", "publish", seconds, text)
        return
    write, read = size / hw.WRITE.value, size / hw.READ.value
    formula = (
        f"{size / 1e9:,.3g} GB: rank 0 writes at {hw.WRITE.value / 1e9:g} GB/s, {servers:,} servers read at "
        f"{hw.READ.value / 1e9:g} GB/s, one after the other"
    )
    yield Seconds("publish", "publish", write + servers * read, formula)


def _committing(step: Step) -> Iterator[Seconds]:
    """Weights are written for the publication already where there is one; the optimiser's part is spread over hosts."""
    if not step.commit_every:
        return
    written = step.draw.samples and not step.layout.alone and step.way != "stream"
    weights = 0.0 if written else step.published
    state = 12.0 * _trained(step)
    hosts = ceil(step.layout.trainers / hw.PER_HOST)
    seconds = (weights + state / hosts) / hw.WRITE.value / step.commit_every
    formula = (
        f"({weights / 1e9:,.3g} GB of weights + {state / 1e9:,.3g} GB of the optimiser over {hosts:,} hosts) at "
        f"{hw.WRITE.value / 1e9:g} GB/s, every {step.commit_every} steps"
    )
    yield Seconds("commit", "publish", seconds, formula)


# ------------------------------------------------------------------------------------------------------- driver


def _driving(step: Step, sampling: float) -> Iterator[Seconds]:
    draw = step.draw
    parse = draw.sampled / hw.PARSE.value if draw.samples and not step.layout.alone else 0.0
    pack = draw.tokens * hw.PACK.value
    ship = draw.tokens * hw.SHIP.value / hw.SHIPPING.value if step.layout.trainers > 1 else 0.0
    most = max(0.0, parse - sampling)
    formula = f"{draw.tokens:,.0f} tokens x {1e6 * hw.PACK.value:.2g} us"
    formula += f", {ship:.2g} s to the ranks" if ship else ""
    if parse:
        formula += f"; JSON {parse:,.3g} s at {hw.PARSE.value:,.0f} tokens/s, beside {sampling:,.3g} s of sampling"
    yield Seconds("driver", "drive", pack + ship + most, formula, parse - most)
