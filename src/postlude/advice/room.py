"""How a model is held so that training fits: all weights, gradient checkpointing, an adapter, or not at all.

Rough arithmetic by size alone, for models that are not here; see `Room.known_by`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from postlude.advice.evidence import Device

GIB = 2**30
USABLE = 0.9
"""Share of a device's memory that is planned with."""
OVERHEAD = {"gpu": 1.0, "cpu": 0.6}
"""GiB that the runtime itself takes: CUDA's context and kernels, Python and its libraries."""
LADDER = (0.135, 0.36, 0.5, 0.6, 1.0, 1.5, 1.7, 3.0, 4.0, 7.0, 8.0, 14.0, 32.0, 70.0)
"""Sizes of models that there are, in billions."""


@dataclass(frozen=True)
class Work:
    """What a method holds at a time."""

    billions: float
    reference: bool
    """Whether the starting weights are compared with."""
    critic: bool
    samples: bool
    """Whether the policy answers, so that keys and values are kept."""
    tokens: int
    """Of the longest piece that passes through the model at once."""
    rank: int = 16
    others: float = 0.0
    """Billions of parameters of other models in the process, as a judge."""


@dataclass(frozen=True)
class Holding:
    """One way to hold the model."""

    dtype: str
    checkpointing: bool
    lora: bool

    @property
    def words(self) -> str:
        how = "a LoRA adapter" if self.lora else "all weights"
        return f"{how} in {self.dtype}" + (", with gradient checkpointing" if self.checkpointing else "")


@dataclass(frozen=True)
class Room:
    """What a run asks of memory, against what there is."""

    holding: Holding
    parts: tuple[tuple[str, float], ...]
    """(component, GiB)."""
    available: float
    fits: bool
    largest: float
    """Billions of parameters of the largest model of `LADDER` that would fit; 0: none."""
    known_by: str
    tried: tuple[tuple[str, float], ...] = ()
    """(way to hold it, GiB) of those that do not fit."""

    @property
    def total(self) -> float:
        return sum(gib for _, gib in self.parts)


def ways(device: Device) -> Sequence[Holding]:
    """The ways to hold a model, the best first: an adapter last, as it learns less from written text."""
    dtype = "bfloat16" if device.kind == "gpu" else "float32"
    return [Holding(dtype, checkpointing, lora) for lora in (False, True) for checkpointing in (False, True)]


def room_for(work: Work, device: Device) -> Room:
    """The first way that fits; where none does the smallest, and the largest model that would."""
    available = device.gib * USABLE
    tried: list[tuple[str, float]] = []
    for holding in ways(device):
        parts = components(work, holding, device)
        total = sum(gib for _, gib in parts)
        if total <= available:
            break
        tried.append((holding.words, total))
    else:
        return Room(holding, parts, available, False, _largest(work, device), ROUGH, tuple(tried))
    return Room(holding, parts, available, True, work.billions, ROUGH, tuple(tried))


ROUGH = "rough: by the number of parameters alone, within about a third"


def _largest(work: Work, device: Device) -> float:
    smallest = ways(device)[-1]
    fitting = [
        billions
        for billions in LADDER
        if sum(gib for _, gib in components(replace(work, billions=billions), smallest, device)) <= device.gib * USABLE
    ]
    return max(fitting, default=0.0)


def components(work: Work, holding: Holding, device: Device) -> tuple[tuple[str, float], ...]:
    """(component, GiB) of one way (docs/specification.md, section 11)."""
    count, width, layers = (
        work.billions * 1e9,
        4096 * (work.billions / 7) ** (1 / 3),
        32 * (work.billions / 7) ** (1 / 3),
    )
    each = 2 if holding.dtype == "bfloat16" else 4
    trained = count * 1.6 * work.rank / width if holding.lora else count
    tokens = work.tokens * width * layers
    activations = tokens * each * (1 if holding.checkpointing else 17) + (17 * each * work.tokens * width)
    parts = {
        "weights": each * count,
        "adapter": 4 * trained if holding.lora else 0,
        "gradients": (each if not holding.lora else 4) * trained,
        "optimiser (AdamW)": 8 * trained,
        "master copy": 4 * trained if each == 2 and not holding.lora else 0,
        "reference": each * count if work.reference and not holding.lora else 0,
        "critic": (each + 4 * 4) * count if work.critic else 0,
        "other models": each * work.others * 1e9,
        "activations": activations,
        "logits": 3 * 4 * min(work.tokens * 100_000, 16_000_000),
        "keys and values": 0.1 * device.gib * GIB if work.samples else 0,
        "runtime": OVERHEAD[device.kind] * GIB,
    }
    return tuple((name, size / GIB) for name, size in parts.items() if size)
