"""Small tables of the notes that commands choose by: beta, ranks, rates, memory, PPO's usual settings.

Where the notes' numbers are wrong or only a habit, the entry says so (docs/specification.md, sections 11 and 14).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Moves = Literal["far", "usual", "little", "hardly"]
Training = Literal["sft", "rl"]


@dataclass(frozen=True)
class Beta:
    """A strength of the pull to the reference in DPO and its relatives on summed log-ratios."""

    value: float
    effect: str
    moves: Moves
    """How far the policy may move."""


BETAS = (
    Beta(0.05, "learns aggressively; may overfit the preferences and drift from the reference", "far"),
    Beta(0.1, "the usual balance, and the default here", "usual"),
    Beta(0.5, "conservative: most of the reference's behaviour stays", "little"),
    Beta(1.0, "very conservative: hardly any change from the reference", "hardly"),
)
"""For summed log-ratios (dpo, cdpo, dpo_robust, ipo, hinge, kto, online_dpo). Where a method averages over tokens
(dpo_length_normalised, simpo) the ratios are smaller, and beta is 2 to 10 for the same pull."""


@dataclass(frozen=True)
class Rank:
    """LoRA ranks for a size of model."""

    billions: float
    sft: int
    rl: int


RANKS = (Rank(8.0, 64, 8), Rank(70.0, 256, 32))
"""Starting points, not findings: where rewards teach, rank 1 has matched full training, as an episode tells the model
about one bit; written text tells it about a bit per token, and wants ranks up to 256 (specification section 11)."""

DPO_RANK = 32
"""The notes' rank for DPO, whatever the size. The same remark holds."""
SMALLEST_RANK = 8
"""Below this a smaller rank saves nothing worth naming."""


def rank_for(billions: float, training: Training) -> int:
    """A power of two for a model of so many billions of parameters: on the line through both rows in log-log, at
    least `SMALLEST_RANK`; beyond the last row the last row's, as nothing says that it should grow on.

    Rows are `RANKS`, so what lies between or below them is a guess by the same habit, and no measurement.
    """
    if not billions > 0:
        raise ValueError(f"a model has more than 0 parameters, got {billions}")
    low, high = RANKS
    first, last = (low.sft, high.sft) if training == "sft" else (low.rl, high.rl)
    slope = math.log2(last / first) / math.log2(high.billions / low.billions)
    rank = first * (billions / low.billions) ** slope
    power = 2 ** round(math.log2(rank))
    return max(SMALLEST_RANK, min(power, last))


def rank_basis(billions: float) -> str:
    """What a rank of `rank_for` rests on, as a clause."""
    low, high = RANKS
    if billions in (low.billions, high.billions):
        return f"the notes' row for {billions:g}B"
    if billions > high.billions:
        return f"the notes' row for {high.billions:g}B, the last there is"
    where = "between" if billions > low.billions else "below"
    rows = f"{low.billions:g}B and {high.billions:g}B" if where == "between" else f"{low.billions:g}B"
    return f"a guess {where} the notes' row{'s' if where == 'between' else ''} for {rows}"


@dataclass(frozen=True)
class Rate:
    """A learning rate with AdamW for full training; an adapter takes `ADAPTER_FACTOR` times as much."""

    training: str
    """Names of methods, or words for several."""
    full: float
    remark: str


ADAPTER_FACTOR = 10.0
"""An adapter's learning rate by that of full training: 9.8 in the fitted sweep (specification section 11)."""
RATES = (
    Rate("sft, rft, expert_iteration", 2e-5, "written or accepted answers"),
    Rate("online methods", 1e-6, "a policy gradient is noisy: a tenth of what preferences bear, and below"),
    Rate("dpo and its relatives", 1e-6, "the notes give 1e-6 to 1e-5, for LoRA"),
    Rate("orpo", 8e-6, "the likelihood of the chosen answer carries it"),
    Rate("reward models", 9e-6, "InstructGPT, one epoch"),
    Rate("critic", 1e-5, "ten times the policy's rate"),
)
"""The first column's defaults are in the catalogue (`postlude methods NAME`), which is what a run takes."""


@dataclass(frozen=True)
class NotedMemory:
    """What the notes say that an 8B model takes."""

    setting: str
    gigabytes: float
    remark: str
    """What is right."""


MEMORY = (
    NotedMemory("PPO (policy and critic)", 48.0, "the states of Adam alone exceed it: 16 bytes a parameter, twice"),
    NotedMemory("GRPO (policy only)", 24.0, "full training of 8B holds 128 GB of weights, gradients and Adam"),
    NotedMemory("GRPO with LoRA", 16.0, "just the weights in bfloat16; activations and caches come on top"),
)
"""Corrected error 2.5. `postlude memory` computes and shows the parts instead."""


EQUAL = "postlude memory 8B --method {} engine.dtype=bfloat16 engine.token_budget=3072"
"""Memory of methods side by side. With one budget for the tokens of a micro-batch: else each takes as many as its
updates have, and the difference of the models that are held drowns in it."""


@dataclass(frozen=True)
class Usual:
    """A setting of PPO as the notes have it, and as it is here."""

    name: str
    key: str
    noted: float
    default: float
    remark: str


PPO_SETTINGS = (
    Usual("clip ratio", "objective.surrogate.low", 0.2, 0.2, "both sides (objective.surrogate.high)"),
    Usual(
        "KL coefficient",
        "objective.advantage.kl_coef",
        0.1,
        0.05,
        "in the reward, not in the loss, where 0.05 is usual (TRL; others have 0.001 to 0.1). The notes' objective has "
        "it in the loss (corrected error 2.4), which is objective.kl here, off by default; for the notes' number: "
        "objective.advantage.kl_coef=0.1",
    ),
    Usual("value coefficient", "objective.value.coef", 0.5, 0.5, "of a loss that is halved already"),
    Usual(
        "entropy coefficient",
        "objective.entropy",
        0.01,
        0.0,
        "of the full vocabulary. Most that train language models have none: with tens of thousands of tokens a bonus "
        "lifts unlikely ones. Where entropy collapses, or for the notes' number: objective.entropy=0.01",
    ),
    Usual("GAE's lambda", "objective.advantage.lam", 0.95, 0.95, "with a discount of 1: rewards come at the end"),
)
