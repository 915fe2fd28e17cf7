"""What a run needs, once all of it was checked: `check` fills it, `build` makes engine and streams of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from postlude.data import Group, Prompt
from postlude.models.chat import Renderer
from postlude.models.load import Facts
from postlude.recipe import Recipe
from postlude.rewards.rewards import Rewards
from postlude.sources.order import Share


@dataclass
class Prepared:
    """Everything a run needs except the weights, already checked."""

    recipe: Recipe
    facts: Facts = None  # type: ignore[assignment]  # the three are set by `prepare`, or it reports why not
    renderer: Renderer = None  # type: ignore[assignment]
    rewards: Rewards = None  # type: ignore[assignment]
    prompts: list[Prompt] = field(default_factory=list[Prompt])
    items: list[Group] = field(default_factory=list[Group])
    held_out: list[Prompt] = field(default_factory=list[Prompt])
    """Held-out prompts to sample from."""
    judged: list[Group] = field(default_factory=list[Group])
    """Held-out written or compared answers, to measure the loss on."""
    pretrain: list[Group] = field(default_factory=list[Group])
    pretrain_held_out: list[Group] = field(default_factory=list[Group])
    rejected: list[str] = field(default_factory=list[str])
    counts: dict[str, int] = field(default_factory=dict[str, int])
    shares: list[Share] = field(default_factory=list[Share])
    """The sets of a mixture; prompts or items stand in their order."""
    notes: list[str] = field(default_factory=list[str])
    """What the rows of each file were recognised as."""
