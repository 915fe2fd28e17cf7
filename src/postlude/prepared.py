"""What a run needs, once all of it was checked: `check` fills it, `build` makes engine and streams of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from postlude.data import Group, Prompt
from postlude.engines.servers.interpreter import Vllm
from postlude.models.chat import Renderer
from postlude.models.load import Facts
from postlude.recipe import Recipe
from postlude.rewards.rewards import Rewards
from postlude.sources.order import Share


@dataclass
class HeldOut:
    """A held-out set."""

    name: str
    prompts: list[Prompt] = field(default_factory=list[Prompt])
    """To sample from."""
    judged: list[Group] = field(default_factory=list[Group])
    """Written or compared answers, to measure the loss on."""

    @property
    def rows(self) -> list[Prompt]:
        """What it holds, each row once."""
        return self.prompts or [group.prompt for group in self.judged]


@dataclass
class Prepared:
    """Everything a run needs except the weights, already checked."""

    recipe: Recipe
    facts: Facts = None  # type: ignore[assignment]  # the three are set by `prepare`, or it reports why not
    renderer: Renderer = None  # type: ignore[assignment]
    rewards: Rewards = None  # type: ignore[assignment]
    prompts: list[Prompt] = field(default_factory=list[Prompt])
    items: list[Group] = field(default_factory=list[Group])
    metrics: Rewards = field(default_factory=lambda: Rewards([]))
    """What evaluations measure beside the rewards."""
    eval_sets: list[HeldOut] = field(default_factory=list[HeldOut])
    sheet: list[Prompt] = field(default_factory=list[Prompt])
    """Prompts of the sheet that is answered again and again."""
    pretrain: list[Group] = field(default_factory=list[Group])
    pretrain_held_out: list[Group] = field(default_factory=list[Group])
    rejected: list[str] = field(default_factory=list[str])
    counts: dict[str, int] = field(default_factory=dict[str, int])
    shares: list[Share] = field(default_factory=list[Share])
    """The sets of a mixture; prompts or items stand in their order."""
    vllm: Vllm | None = None
    """What the interpreter of servers that are started has; None where none are."""
    devices: tuple[str, ...] = ()
    """The GPUs of servers that are started."""
    notes: list[str] = field(default_factory=list[str])
    """What the rows of each file were recognised as."""

    @property
    def held_out(self) -> list[Prompt]:
        """Held-out prompts to sample from, of all sets."""
        return [prompt for one in self.eval_sets for prompt in one.prompts]

    @property
    def judged(self) -> list[Group]:
        """Held-out written or compared answers, of all sets."""
        return [group for one in self.eval_sets for group in one.judged]

    @property
    def asked(self) -> dict[str, list[Prompt]]:
        """Name of a held-out set -> the prompts that an evaluation samples answers to."""
        most = self.recipe.evaluate.prompts
        return {one.name: one.prompts[:most] for one in self.eval_sets if one.prompts}

    @property
    def evaluation_answers(self) -> int:
        """Answers that one evaluation samples."""
        return sum(map(len, self.asked.values())) * (1 + self.recipe.evaluate.samples)
