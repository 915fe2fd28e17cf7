"""What a step asks of processors: how much is sampled and trained, in tokens, operations and bytes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import e

from postlude.sizing.setting import Setting
from postlude.sizing.shape import Linear, Shape


@dataclass(frozen=True)
class Draw:
    """One step of a run, with the lengths that its answers have on average."""

    prompts: int
    """Prompts in a draw; of written answers, rows."""
    group: int
    """Answers to each."""
    prompt: float
    """Tokens of a prompt, on average."""
    answer: float
    """Tokens of an answer, on average."""
    longest: float
    """Tokens of the longest answer."""
    updates: int = 1
    """Optimiser steps that a draw is cut into."""
    epochs: int = 1
    """How often it is gone through."""
    readings: int = 0
    """Passes without a gradient over the whole draw: of the old policy, of the reference."""
    samples: bool = True
    """Whether the policy answers."""
    whole_groups: bool = False
    """Whether the answers to a prompt have to be on one rank."""
    lag: int = 0
    """Steps that sampling may be ahead of training."""

    @property
    def answers(self) -> int:
        return self.prompts * self.group

    @property
    def sampled(self) -> float:
        """Tokens of all answers."""
        return self.answers * self.answer

    @property
    def tokens(self) -> float:
        """That a pass over the draw goes through; a prompt once for its group."""
        return self.prompts * (self.prompt + self.group * self.answer)

    @property
    def pairs(self) -> float:
        """Of a token and one that it sees."""
        return self.prompts * (self.prompt**2 / 2 + self.group * self.answer * (self.prompt + self.answer / 2))

    @property
    def units(self) -> int:
        """What ranks share out of one optimiser step."""
        return max(1, (self.prompts if self.whole_groups else self.answers) // self.updates)

    def busiest(self, ranks: int) -> float:
        """Share of an optimiser step that the rank with most of it has."""
        return -(-self.units // ranks) / self.units

    @property
    def tail(self) -> float:
        """Share of a draw's answers that are still sampled, on average, from the mean length to the longest: as of
        lengths that fall off exponentially, mean / e / (longest - mean), and 1 / e at most."""
        more = self.longest - self.answer
        return min(1.0, self.answer / more) / e if more > 0 else 1 / e

    @property
    def longest_sequence(self) -> float:
        return self.prompt + self.longest


def active(shape: Shape) -> float:
    """Parameters of the layers that one token meets: of a mixture, those of its experts alone."""
    return shape.layers * (sum(_met(shape, one) for one in shape.linears) + shape.vectors)


def _met(shape: Shape, one: Linear) -> float:
    return one.parameters if one.copies == 1 else one.parameters / one.copies * met_experts(shape)


def met_experts(shape: Shape) -> int:
    """Experts of a layer that one token meets."""
    gate = next((one for one in shape.linears if one.copies > 1), None)
    return max(1, shape.inner // gate.outputs) if gate else 1


def read_parameters(shape: Shape, answers: float) -> float:
    """Parameters that a decoding step of so many answers reads: of a mixture, the experts that any of them meets."""
    head = shape.embedding
    total = 0.0
    for one in shape.linears:
        touched = 1.0 if one.copies == 1 else 1 - (1 - met_experts(shape) / one.copies) ** max(1.0, answers)
        total += touched * one.parameters
    return shape.layers * (total + shape.vectors) + head


@dataclass(frozen=True)
class Operations:
    """Floating-point operations of a pass over a draw, forth alone."""

    layers: float
    attention: float
    head: float

    @property
    def forward(self) -> float:
        return self.layers + self.attention + self.head


def operations(shape: Shape, draw: Draw, head: bool = True) -> Operations:
    """2 for each parameter that a token meets, 4 A L for each pair of tokens, 2 V D for each token of an answer."""
    return Operations(
        2.0 * active(shape) * draw.tokens,
        4.0 * shape.query_width * shape.layers * draw.pairs,
        2.0 * shape.embedding * draw.sampled if head else 0.0,
    )


def back_and_forth(setting: Setting) -> float:
    """Passes forth that one with a gradient is worth: 3; 2 where an adapter trains, whose weights' gradients are next
    to nothing; one more where the layers are computed again."""
    return (2.0 if setting.lora else 3.0) + (1.0 if setting.checkpointing else 0.0)


def with_answers(draw: Draw, share: float) -> Draw:
    """The same with answers so much as long."""
    return replace(draw, answer=draw.answer * share, longest=draw.longest * share)
