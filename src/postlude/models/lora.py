"""Arithmetic of LoRA for RL ("LoRA Without Regret", Thinking Machines, 2025; LoRA, 2106.09685)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Literal

from postlude.bounds import Bounds, hold
from postlude.facts.tables import ADAPTER_FACTOR

ALPHA = 32
"""W' = W + alpha/rank B A with alpha 32 at every rank."""

_WIDTH_POWER = {"llama": 0.781, "qwen": 0.0775}


def scale(rank: int, alpha: int = ALPHA) -> float:
    """The factor alpha/rank."""
    return alpha / rank


def lr_from_full(lr: float, factor: float = ADAPTER_FACTOR) -> float:
    """The rate for LoRA where `lr` suits full fine-tuning."""
    return lr * factor


def lr_from_width(width: int, family: Literal["llama", "qwen"]) -> float:
    """5e-5 * 10 * (2000/width)^p: the fitted rate for a hidden size."""
    return 5e-5 * ADAPTER_FACTOR * (2000 / width) ** _WIDTH_POWER[family]


SERVED_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""What vLLM takes as a bound on the ranks of the adapters that it loads (its LoRAConfig)."""


def served_rank(rank: int) -> int | None:
    """The least bound under which vLLM loads an adapter of this rank; None where there is none."""
    return next((bound for bound in SERVED_RANKS if rank <= bound), None)


TOKEN_LAYERS = ("embed_tokens", "lm_head", "wte", "embed_in", "embed_out", "word_embeddings")
"""Names of the modules that have a row for every token."""
_FULL = (
    "model.embed_tokens", "lm_head", "model.decoder.embed_tokens", "transformer.wte", "transformer.word_embeddings",
    "gpt_neox.embed_in", "embed_out",
)  # fmt: skip
"""The same by their whole names in the models that there are."""


def token_layers(targets: str | tuple[str, ...]) -> list[str]:
    """Of `Lora.targets`, the layers with a row for every token that it names or that its pattern matches."""
    if isinstance(targets, tuple):
        return [name for name in targets if name.rpartition(".")[2] in TOKEN_LAYERS]
    try:
        pattern = re.compile(targets)
    except re.error:  # which is said elsewhere
        return []
    return [name for name in _FULL if pattern.fullmatch(name)]


def parameters(inputs: int, outputs: int, rank: int) -> int:
    """Trainable parameters of one adapted linear layer."""
    return rank * (inputs + outputs)


@dataclass(frozen=True)
class Lora:
    """A low-rank adapter on the model ("LoRA Without Regret": all linear layers, alpha 32)."""

    rank: Annotated[int, Bounds(1, 65_536)] = 16
    """Width of the adapter: 8 to 32 where rewards teach, up to 256 for written answers."""
    alpha: Annotated[int, Bounds(1, 10**6)] = ALPHA
    """The adapter's product counts alpha/rank."""
    targets: str | tuple[str, ...] = "all-linear"
    """Linear layers it stands on: all of them, a pattern, or a list of names."""

    def __post_init__(self) -> None:
        hold(self)
