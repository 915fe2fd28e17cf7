"""What is compared: the workloads, and the ratio each has to reach."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True)
class Shape:
    """A Qwen3 with random weights, or a real model."""

    layers: int
    width: int
    heads: int
    vocabulary: int = 58
    layer: int = 0
    """Parameters of the linear maps of a layer, where they are not 12 times the width squared."""
    folder: str = ""
    """Of a real model."""

    @property
    def linear(self) -> int:
        """Parameters that take part in a matrix product for every token, the output layer apart."""
        return (self.layer or 12 * self.width**2) * self.layers

    @property
    def parameters(self) -> int:
        return self.linear + self.vocabulary * self.width


TINY = Shape(3, 128, 4)
SMALL = Shape(7, 256, 8)
MIDDLE = Shape(9, 512, 8)
WIDE_VOCABULARY = Shape(4, 256, 8, 151_936)
SMOLLM2 = Shape(30, 576, 9, 49_152, 576 * (2 * 576 + 2 * 192 + 3 * 1536), ".models/smollm2")
"""SmolLM2-135M-Instruct, which `make real-model` brings."""


@dataclass(frozen=True)
class Cell:
    """One workload: what is run, and the ratio of CPU seconds (TRL / postlude) it must and should reach."""

    name: str
    what: str
    shape: Shape
    must: float
    aim: float
    kind: Literal["grpo", "sft", "dpo", "kto", "reward_model", "cold", "goal"] = "grpo"
    prompts: int = 4
    group: int = 8
    prompt: int = 32
    completion: int = 64
    natural: bool = False
    """Answers end by themselves (about one token in 45), so contestants are compared per token."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    memory: float | None = None
    """TRL's peak memory over ours that has to be reached."""
    packing: bool = False
    """TRL packs its rows."""
    beta: float = 0.0
    """KL coefficient of GRPO; above 0 there is a reference."""
    lora: int = 0
    """Rank of an adapter on all linear layers; the reference is the model without it."""
    quick: bool = False
    """Part of `make bench-quick`."""

    @property
    def rows(self) -> int:
        return self.prompts * self.group

    @property
    def real(self) -> bool:
        """On a real model, whose steps take so long that fewer are timed, and TRL as shipped is left out."""
        return bool(self.shape.folder)

    @property
    def compared(self) -> bool:
        """Trained on compared or judged answers; both contestants take the same rows in the same order."""
        return self.kind in ("dpo", "kto", "reward_model")

    @property
    def rate(self) -> float:
        """The learning rate: high enough to move a second loss where there is one to compare."""
        return {"goal": 3e-4, "dpo": 1e-4, "kto": 1e-4, "reward_model": 1e-4}.get(
            self.kind, 1e-3 if self.beta else 1e-6
        )

    @property
    def frozen(self) -> int:
        """The step whose answers are compared: with a reference the second, since at first its KL has no gradient."""
        return 1 if self.beta else 0

    @property
    def answer(self) -> str:
        """Tokens of an answer, in words."""
        return "8-200" if self.kind == "sft" or self.compared else str(self.completion)


def cell_of(text: str) -> Cell:
    """The inverse of `json.dumps(asdict(cell))`."""
    values = json.loads(text)
    return Cell(**{**values, "shape": Shape(**values["shape"])})


_A = Cell("A", "short", TINY, 1.6, 3.0)
_B = Cell("B", "long prompt", TINY, 4.0, 8.0, prompts=2, prompt=256)
_SFT = Cell("G", "SFT, ragged rows of 8 to 200 tokens", SMALL, 2.0, 3.0, kind="sft", prompts=16, group=1, prompt=48)
_PAIRS = Cell("G", "", SMALL, 2.0, 3.0, prompts=16, group=2, prompt=48)
_REAL = Cell("R", "real model, short", SMOLLM2, 1.4, 2.0, prompts=2, group=4)
_REFERENCE = Cell("H", "", TINY, 1.6, 2.5, beta=0.04)

CELLS = (
    replace(_A, name="A1", quick=True),
    replace(_A, name="A2", shape=SMALL),
    replace(_B, name="B1", quick=True),
    replace(_B, name="B2", prompt=512),
    replace(_B, name="B3", shape=SMALL, prompt=512, completion=48, memory=3.0),
    Cell("C", "big group", TINY, 2.5, 5.0, prompts=2, group=32, prompt=128),
    Cell("D", "natural lengths, heavy tail", TINY, 3.0, 8.0, prompts=8, completion=256, natural=True, quick=True),
    Cell("E", "vocabulary 152k", WIDE_VOCABULARY, 2.0, 3.5, prompts=2, completion=32, memory=1.2),
    Cell("F", "29 M, bf16", MIDDLE, 1.6, 2.5, prompts=2, completion=48, dtype="bfloat16"),
    replace(_SFT, name="G1", quick=True),
    replace(_SFT, name="G2", what="SFT, TRL with packing", must=1.0, aim=3.0, packing=True),
    replace(_PAIRS, name="G3", what="DPO, ragged pairs", kind="dpo", aim=4.0),
    replace(_PAIRS, name="G4", what="KTO, the same answers, each judged", kind="kto", prompts=32, group=1),
    replace(_PAIRS, name="G5", what="reward model, the same pairs", kind="reward_model"),
    replace(_REFERENCE, name="H1", what="with a reference (beta 0.04)"),
    replace(_REFERENCE, name="H2", what="with a reference, LoRA of rank 16", lora=16),
    Cell("I", "cold start: from import to the first step", TINY, 1 / 0.75, 1 / 0.6, kind="cold", quick=True),
    Cell("J", "to 0.9 on the embedded task", TINY, 1.8, 3.0, kind="goal", prompts=16, completion=48),
    Cell("K", "long completion", TINY, 1.3, 2.0, completion=512),
    replace(_REAL, name="R1"),
    replace(_REAL, name="R2", what="real model, long prompt", must=2.0, aim=3.0, prompt=256, group=8),
    replace(_SFT, name="R3", what="real model, SFT, ragged rows", shape=SMOLLM2, must=1.5, aim=2.5, prompts=8),
    replace(
        _PAIRS, name="R4", what="real model, DPO, ragged pairs", shape=SMOLLM2, must=1.8, aim=3.0, kind="dpo", prompts=3
    ),
    replace(_REAL, name="R5", what="real model, short, bf16", must=1.2, aim=2.0, dtype="bfloat16"),
)
