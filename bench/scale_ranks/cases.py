"""The rows of the table of gradients: a model, how it is held, and an update of one or two parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from postlude.algorithms import ALGORITHMS
from postlude.data import Completion, Group
from postlude.engines.ranks.crew import Blueprint
from postlude.engines.settings import Local, Optimizer
from postlude.models.lora import Lora
from postlude.models.spec import Critic, ModelSpec
from postlude.objectives import Need, Objective, TokenObjective
from tests.streaming import compared, rolled_out

Groups = Callable[[], list[Group]]
EXACT, HALF = 1e-6, 0.05
"""The largest difference of a gradient over its largest entry that holds; in bf16, whose products round at 4e-3."""


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    method: str
    """Of the catalogue; with + a second part of plain text."""
    model: str = "qwen3"
    """Of `tests.conftest`."""
    what: str = ""
    """What sets it apart."""
    groups: Groups = field(default=lambda: rolled_out(7, 3))
    held: Local = Local(token_budget=90)
    lora: bool = False
    start: bool = False
    """Whether the adapter stands on another, which is frozen."""
    critic: Critic | None = None
    changes: dict[str, Any] = field(default_factory=dict[str, Any])
    """Of the objective."""
    refreshed: float = 0.0
    """Share of the policy in the reference, which is refreshed before; 0: the start is the reference."""
    fresh: bool = False
    """Whether what is known of the policy is of the weights that are trained now."""
    shares: Callable[[int, int], list[list[int]]] | None = None
    """(sequences, ranks) -> sequences of each rank; else as they are shared out."""
    limit: float = EXACT

    def objectives(self) -> list[tuple[Objective, float]]:
        """(objective, coefficient) of each part."""
        first, *second = self.method.split("+")
        lead = ALGORITHMS[first].objective
        return [(replace(lead, **self.changes), 1.0), *((ALGORITHMS[name].objective, 0.3) for name in second)]

    def blueprint(self, folder: Path) -> Blueprint:
        """What every rank builds; models are in the folder."""
        needs = self.objectives()[0][0].needs
        spec = ModelSpec(
            str(folder / (f"{self.model}-adapter" if self.start else self.model)), Lora(4) if self.lora else None
        )
        return Blueprint(
            spec,
            Optimizer(max_grad_norm=0),
            self.held,
            seed=3,
            keep_reference=Need.REFERENCE in needs,
            dropout=self.method == "sft",
            scores=Need.SCORES in needs,
            critic=self.critic,
        )


def token_objective(method: str) -> TokenObjective:
    """Of a method that is a weighted sum over tokens."""
    objective = ALGORITHMS[method].objective
    assert isinstance(objective, TokenObjective)
    return objective


def stepwise() -> list[Group]:
    """Answers whose steps are rewarded as well."""

    def with_steps(answer: Completion, place: int) -> Completion:
        length = len(answer.tokens)
        return replace(answer, steps=((length // 2, 0.3 * place), (length - 1, 0.5)))

    return [
        replace(group, completions=tuple(with_steps(c, place) for place, c in enumerate(group.completions)))
        for group in rolled_out(7, 3)
    ]


def half_idle() -> list[Group]:
    """Every second group has one reward for all, and so no gradient."""
    return [
        replace(g, completions=tuple(replace(c, reward=1.0) for c in g.completions)) if i % 2 else g
        for i, g in enumerate(rolled_out(8, 3))
    ]


def all_idle() -> list[Group]:
    return [replace(g, completions=tuple(replace(c, reward=1.0) for c in g.completions)) for g in rolled_out(5, 3)]


def pairs() -> list[Group]:
    return compared(9, 2)


def many() -> list[Group]:
    """Of very unequal lengths."""
    return rolled_out(13, 4, seed=2)


def one_sided(sequences: int, ranks: int) -> list[list[int]]:
    """All of it on the last rank: the others make empty passes alone."""
    return [[] for _ in range(ranks - 1)] + [list(range(sequences))]


def nine_to_five(sequences: int, ranks: int) -> list[list[int]]:
    """Two thirds on rank 0."""
    cut = 2 * sequences // 3
    return [list(range(cut)), list(range(cut, sequences)), *([] for _ in range(ranks - 2))]


def torn(sequences: int, ranks: int) -> list[list[int]]:
    """Sequences dealt like cards, so that every group is on every rank."""
    return [list(range(rank, sequences, ranks)) for rank in range(ranks)]


def backwards(sequences: int, ranks: int) -> list[list[int]]:
    """The last ones on rank 0."""
    return nine_to_five(sequences, ranks)[::-1]


TIGHT = Local(token_budget=40)
PADDED = Local(token_budget=200, packed=False)
LEANER = Local(token_budget=90, gradient_checkpointing=True, head_chunk=11)
DOUBLE = Local(token_budget=90, dtype="float64")
HALVES = Local(token_budget=90, dtype="bfloat16")

CAPPED = {"advantage": replace(token_objective("drpo").advantage, cap=16)}

METHODS: Sequence[Row] = [
    Row("sft"),
    Row("rft"),
    Row("grpo"),
    Row("dapo"),
    Row("dr_grpo", changes={"aggregate": replace(token_objective("dr_grpo").aggregate, length=16)}),
    Row("drpo", changes=CAPPED, fresh=True),
    Row("gspo"),
    Row("grpo_process", what="rewards of steps", groups=stepwise),
    Row("ppo", what="critic of its own", critic=Critic()),
    Row("ppo", what="critic on the trunk", critic=Critic(form="trunk")),
    Row("ppo_ptx+sft", what="two parts, own critic", critic=Critic()),
    Row("ppo_ptx+sft", what="two parts, trunk", critic=Critic(form="trunk")),
    Row("grpo", what="entropy bonus", changes={"entropy": 0.01}),
    Row("dpo", groups=pairs),
    Row("dpo", what="all pairs on one rank", shares=one_sided, groups=pairs),
    Row("orpo", groups=pairs),
    Row("kto", groups=pairs),
    Row("reward_model", groups=pairs),
    Row("reward_model_listwise", groups=lambda: compared(7, 4)),
    Row("reward_model_process", groups=lambda: compared(7, 3)),
]
CUTS: Sequence[Row] = [
    Row("grpo", what="uneven lengths, small passes", groups=many, held=TIGHT),
    Row("grpo", what="two thirds on rank 0", groups=many, held=TIGHT, shares=nine_to_five),
    Row("grpo", what="two thirds on rank 1", groups=many, held=TIGHT, shares=backwards),
    Row("grpo", what="every group on every rank", groups=many, held=TIGHT, shares=torn),
    Row("grpo", what="one rank has nothing", held=TIGHT, shares=one_sided),
    Row("ppo", what="one rank has nothing, trunk", held=TIGHT, shares=one_sided, critic=Critic(form="trunk")),
    Row("ppo_ptx+sft", what="one rank has nothing", held=TIGHT, shares=one_sided, critic=Critic()),
    Row("dapo", what="half of the groups without a gradient", groups=half_idle, held=TIGHT),
    Row("drpo", what="known from the weighing", groups=half_idle, held=TIGHT, changes=CAPPED, fresh=True),
    Row("dapo", what="no gradient at all", groups=all_idle, held=TIGHT, shares=one_sided),
    Row("grpo", what="one pass", held=Local(token_budget=10_000)),
]
MODELS: Sequence[Row] = [
    Row("grpo", "llama"),
    Row("grpo", "llama_tied", what="tied"),
    Row("dpo", "mistral", what="sliding window", groups=pairs),
    Row("grpo", "qwen2"),
    Row("grpo", "gemma", what="packed through modules"),
    Row("dpo", "gemma2", what="soft caps", groups=pairs),
    Row("grpo", "gemma3"),
    Row("grpo", "phi3"),
    Row("grpo", "granite"),
    Row("grpo", "gpt2"),
    Row("ppo", "gpt2", what="critic of its own", critic=Critic()),
    Row("reward_model", "gemma", groups=pairs),
    Row("grpo", "gpt_neo", what="padded: no other way"),
    Row("grpo", "zamba2", what="layers that share weights"),
    Row("grpo", "zamba2", what="LoRA, some of which nothing reads", lora=True),
    Row("grpo", "qwen3", what="padded", held=PADDED),
    Row("ppo", "qwen3", what="padded, critic on the trunk", held=PADDED, critic=Critic(form="trunk")),
    Row("ppo", "qwen3", what="padded, critic of its own", held=PADDED, critic=Critic()),
    Row("reward_model", "qwen3", what="padded", held=PADDED, groups=pairs),
]
HOLDING: Sequence[Row] = [
    Row("grpo", what="LoRA", lora=True),
    Row("dpo", what="LoRA", lora=True, groups=pairs),
    Row("grpo", what="LoRA on an adapter", lora=True, start=True),
    Row("grpo", "gemma", what="LoRA, through modules", lora=True),
    Row("grpo", what="LoRA, padded", lora=True, held=PADDED),
    Row("ppo", what="LoRA, critic on the trunk", lora=True, critic=Critic(form="trunk")),
    Row("ppo", what="LoRA, critic of its own", lora=True, critic=Critic()),
    Row("reward_model", what="LoRA", lora=True, groups=pairs),
    Row("grpo", what="reference refreshed", refreshed=1.0),
    Row("dpo", what="reference mixed, 0.6", refreshed=0.6, groups=pairs),
    Row("grpo", what="LoRA, reference refreshed", lora=True, refreshed=1.0),
    Row("grpo", what="LoRA on an adapter, refreshed", lora=True, start=True, refreshed=1.0),
    Row("grpo", what="checkpointed layers, chunked head", held=LEANER),
    Row("grpo", "gemma", what="the same, through modules", held=LEANER),
    Row("grpo", what="the same, LoRA", held=LEANER, lora=True),
    Row("ppo", what="the same, critic of its own", held=LEANER, critic=Critic()),
    Row("grpo", what="float64", held=DOUBLE, limit=1e-12),
    Row("ppo", what="float64, trunk", held=DOUBLE, critic=Critic(form="trunk"), limit=1e-12),
    Row("dpo", "gemma", what="float64, through modules", held=DOUBLE, groups=pairs),
    Row("grpo", what="bf16", held=HALVES, limit=HALF),
    Row("dpo", what="bf16, reference refreshed", held=HALVES, refreshed=1.0, limit=HALF, groups=pairs),
    Row("reward_model", what="bf16", held=HALVES, limit=HALF, groups=pairs),
    Row("ppo", what="bf16, critic of its own", held=HALVES, critic=Critic(), limit=HALF),
    Row("grpo", what="bf16, LoRA", held=HALVES, lora=True, limit=HALF),
]
ROWS: Sequence[Row] = [*METHODS, *CUTS, *MODELS, *HOLDING]
THREE: Sequence[Row] = [
    Row("grpo", groups=many, held=TIGHT),
    Row("dpo", groups=lambda: compared(4, 2)),
    Row("ppo_ptx+sft", critic=Critic(form="trunk")),
    Row("grpo", "gemma", what="two ranks have nothing", shares=one_sided),
    Row("grpo", what="LoRA on an adapter", lora=True, start=True, held=LEANER),
]
