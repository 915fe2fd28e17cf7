"""How a run is set up, as far as its memory goes by it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from postlude.models.dtypes import Dtype
from postlude.models.lora import Lora
from postlude.sizing.shape import Shape
from postlude.sizing.work import SIZES, Asked, Kept, Work


@dataclass(frozen=True)
class Loaded:
    """A model beside the one that trains: a reward model, a judge."""

    name: str
    bytes: int


@dataclass(frozen=True)
class Setting:
    """What a method needs, and what a recipe says of models, lengths and batches."""

    method: str = "grpo"
    work: Work = Work(sequence=768, piece=768, update=16 * (512 + 8 * 256), answers=128, prompt=512, group=8)
    """Lengths and sizes of batches."""
    samples: bool = True
    """Whether the policy answers prompts in training or evaluation."""
    reads_old: bool = True
    """Whether passes without a gradient come before the updates: for the policy's, reference's or critic's numbers."""
    reference: bool = False
    without_reference: str = ""
    """KEY=VALUE under which none is needed; empty where the method cannot do without."""
    critic: Literal["own", "trunk"] | None = None
    critic_shape: Shape | None = None
    """Of a critic of its own; None: the policy's."""
    scores: bool = False
    """Whether what trains is a reward model."""
    dtype: Dtype = "float32"
    lora: Lora | None = None
    checkpointing: bool = False
    """Gradient checkpointing."""
    device: Literal["cpu", "cuda"] = "cpu"
    apart: bool = False
    """Whether sampling goes on beside training (max_lag 1), from a copy of the weights."""
    served: bool = False
    """Whether servers sample, so that nothing of that is in this process."""
    others: tuple[Loaded, ...] = ()
    asked: Asked = Asked()
    room: int | None = None
    """Bytes of the device that are free for all of it; None: any number."""
    bound: str = "the device's memory"
    """What sets that, for people."""
    ranks: int = 1
    """Ranks over which weights, gradients and optimiser are spread; of more than one this is the setting of each."""
    trains: bool = True
    """Whether anything is trained; False of a process that only samples."""
    decodes_copy: bool = True
    """Whether sampling makes a faster copy of a small model's weights: see `Direct.copied`."""
    stored: Dtype = "float32"
    """Of the weights in the model's files."""

    @property
    def size(self) -> int:
        """Bytes of a number of the model."""
        return SIZES[self.dtype]

    @property
    def masters(self) -> bool:
        """Whether the optimiser works on an fp32 copy of what trains. Several ranks hold that alone, and gather it in
        16 bits."""
        return self.size < 4 and self.ranks == 1

    @property
    def held(self) -> int:
        """Bytes of a number of what trains, as it is held between passes."""
        return self.size if self.ranks == 1 else self.owned

    @property
    def owned(self) -> int:
        """Bytes of a number as the optimiser holds it."""
        return max(4, self.size)

    def trained(self, shape: Shape) -> int:
        """Parameters of the policy that have a gradient."""
        if self.lora:
            extra = shape.width if self.scores else 0  # the scalar head is trained whole
            return shape.adapter(self.lora.rank, self.lora.targets) + extra
        return shape.parameters

    def kept(self, shape: Shape) -> Kept:
        """How the policy is held."""
        maps = len(shape.adapted(self.lora.targets)) if self.lora else 0
        rank = self.lora.rank if self.lora else 0
        return Kept(self.size, self.device, True, rank, maps, self.checkpointing)
