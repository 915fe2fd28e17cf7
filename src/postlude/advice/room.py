"""How a model is held so that training fits: all weights, gradient checkpointing, an adapter, or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from postlude.advice.evidence import Device
from postlude.errors import ConfigError
from postlude.models.lora import Lora
from postlude.sizing.estimate import Estimate, estimate
from postlude.sizing.setting import Loaded, Setting
from postlude.sizing.shape import Shape
from postlude.sizing.typical import MODELS
from postlude.sizing.work import GIB, USABLE

BYTES = 4
"""Of a parameter of a model beside the one that trains, which is held in float32."""


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
    """(component, GiB) at the worst moment."""
    available: float
    """GiB that can be planned with."""
    fits: bool
    largest: float
    """Billions of parameters of the largest usual model that would fit; 0: none."""
    known_by: str
    rough: tuple[str, ...] = ()
    """What is rough about it."""
    tried: tuple[tuple[str, float], ...] = ()
    """(way to hold it, GiB at the least) of those that do not fit."""

    @property
    def total(self) -> float:
        return sum(gib for _, gib in self.parts)

    def part(self, name: str) -> float:
        """GiB of one component; 0 where there is none."""
        return sum(gib for one, gib in self.parts if one == name)


def ways(device: Device) -> Sequence[Holding]:
    """The ways to hold a model, the best first: an adapter last, as it learns less from written text."""
    dtype = "bfloat16" if device.kind == "gpu" else "float32"
    return [Holding(dtype, checkpointing, lora) for lora in (False, True) for checkpointing in (False, True)]


def room_for(shape: Shape, setting: Setting, rank: int, device: Device) -> Room:
    """The first way that fits; where none does the leanest, and the largest usual model that would."""
    tried: list[tuple[str, float]] = []
    for holding in ways(device):
        sized = held(shape, setting, holding, rank, device)
        if sized is not None:
            return _room(sized, holding, device, True, shape.parameters / 1e9, tried)
        tried.append((holding.words, _least(shape, setting, holding, rank, device).peak / GIB))
    leanest = ways(device)[-1]
    sized = _least(shape, setting, leanest, rank, device)
    return _room(sized, leanest, device, False, _largest(setting, rank, device), tried)


def held(shape: Shape, setting: Setting, holding: Holding, rank: int, device: Device) -> Estimate | None:
    """What one way takes, with micro-batches as the engine would choose them; None where it does not fit."""
    try:
        sized = estimate(shape, _setting(setting, holding, rank, device, int(device.gib * GIB)))
    except ConfigError:
        return None
    return sized if sized.peak <= USABLE * device.gib * GIB else None


def _least(shape: Shape, setting: Setting, holding: Holding, rank: int, device: Device) -> Estimate:
    """The same with the smallest micro-batches, whether or not it fits."""
    return estimate(shape, _setting(setting, holding, rank, device, None)).least


def _setting(setting: Setting, holding: Holding, rank: int, device: Device, room: int | None) -> Setting:
    return replace(
        setting,
        dtype="bfloat16" if holding.dtype == "bfloat16" else "float32",
        lora=Lora(rank) if holding.lora else None,
        checkpointing=holding.checkpointing,
        device="cuda" if device.kind == "gpu" else "cpu",
        room=room,
    )


def _room(
    sized: Estimate, holding: Holding, device: Device, fits: bool, largest: float, tried: Sequence[tuple[str, float]]
) -> Room:
    there = [part for part in sized.parts if part.phase in ("always", sized.worst)]
    if sized.worst == "loading":
        there = [part for part in sized.parts if part.phase == "loading" or part.name in ("weights", "the process")]
    parts = tuple((part.name, part.bytes / GIB) for part in there)
    rough = tuple(dict.fromkeys(note for note in sized.notes if note))
    known_by = "by the formulas of postlude memory" + (", rough: see --details" if rough else "")
    return Room(holding, parts, USABLE * device.gib, fits, largest, known_by, rough, tuple(tried))


def _beside(setting: Setting, shape: Shape) -> tuple[Loaded, ...]:
    """Models beside one of another size, each as large as it."""
    return tuple(replace(other, bytes=BYTES * shape.parameters) for other in setting.others)


def _largest(setting: Setting, rank: int, device: Device) -> float:
    leanest = ways(device)[-1]
    shapes = {name: Shape.of_size(name) for name in MODELS}
    fitting = [
        shape.parameters / 1e9
        for shape in shapes.values()
        if held(shape, replace(setting, others=_beside(setting, shape)), leanest, rank, device) is not None
    ]
    return round(max(fitting, default=0.0), 1)
