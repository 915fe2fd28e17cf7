"""Which model a run is about and how it is held: the parts of a recipe that name one. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from postlude.bounds import Bounds, Count, CountOrZero, Line, Rate, hold
from postlude.models.dtypes import Dtype
from postlude.models.lora import Lora


@dataclass(frozen=True)
class Refreshed:
    """A reference that follows the policy: after every so many steps it becomes the policy as it is then."""

    every: Count
    """Steps (draws) between refreshes; the first follows step `every`, the start is the reference until then."""
    mix: Annotated[float, Bounds(0, 1, above=True)] = 1.0
    """The policy's share in the new reference: mix x policy + (1 - mix) x reference, weight by weight (TR-DPO's alpha,
    2404.09656). 1 replaces the reference."""

    def __post_init__(self) -> None:
        hold(self)


@dataclass(frozen=True)
class ModelSpec:
    """Which model."""

    path: Line
    """A folder with a Hugging Face model, or a hub id such as Qwen/Qwen3-0.6B."""
    lora: Lora | None = None
    """Train an adapter instead of all weights."""
    reference: Literal["start", "none"] | Refreshed = "start"
    """What methods with a reference compare with: the starting weights, or the policy of a few steps ago. `none`
    promises that no copy of any weights is kept; methods that compare then refuse."""
    chat_template: Line | None = None
    """A Jinja file used instead of the tokenizer's own template."""


@dataclass(frozen=True)
class Critic:
    """The value function of a method that has one."""

    form: Literal["own", "trunk"] = "own"
    """`own` is a second model; `trunk` a linear map on the policy's hidden states, which its gradient then changes."""
    path: Line | None = None
    """Where a critic of its own starts, a reward model (whose head is kept) or any other. Default: where the policy
    starts, with a head of zeros."""
    lr: Rate | None = None
    """Its learning rate. Default: ten times the policy's."""
    warmup: CountOrZero = 0
    """Steps in which the critic alone learns."""

    def __post_init__(self) -> None:
        hold(self)
        if self.form == "trunk" and self.path:
            raise ValueError("a critic on the policy's trunk starts with the policy; path is for a critic of its own")


@dataclass(frozen=True)
class Holding:
    """How a model is held in this process."""

    dtype: Dtype = "float32"
    """Of the weights while training; with bfloat16 the optimiser keeps an fp32 master copy. float64 is for small models
    and tests: a run then samples the same tokens on every processor."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, about a third more time."""
    packed: bool = True
    """Use the packed path where the self-check passes; false forces plain padded rows."""
