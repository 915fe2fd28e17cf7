"""What several ranks take together of the machine that they share with the driver, where there are no GPUs."""

from __future__ import annotations

from dataclasses import dataclass

from postlude.sizing.estimate import RUNTIME, held_of, least_held
from postlude.sizing.ranks import sampler_of, shared_out
from postlude.sizing.setting import Setting
from postlude.sizing.shape import Shape
from postlude.sizing.work import SIZES


@dataclass(frozen=True)
class Host:
    """Bytes that are taken however small the passes are."""

    rank: int
    """Of each rank, its process included."""
    driver: int
    """Of the process that has the loop: what it samples with, reward models and judges."""
    loading: int
    """Of all ranks while each reads the whole model, whose files they share, in float32."""
    ranks: int

    @property
    def needs(self) -> int:
        """Of all of them at the worst moment."""
        return max(self.loading, self.ranks * self.rank + self.driver)


def host_of(shape: Shape, setting: Setting, ranks: int, samples: bool) -> Host:
    """Of so many ranks on one host; `samples`: whether the driver does."""
    others = sum(other.bytes for other in setting.others)
    driver = least_held(shape, sampler_of(setting)) if samples else 0
    one = shared_out(setting, ranks)
    file = SIZES[setting.stored] * shape.parameters
    each = max(4, setting.size) * shape.parameters + RUNTIME
    return Host(training_of(shape, one) + RUNTIME, driver + others, file + ranks * each, ranks)


def training_of(shape: Shape, setting: Setting) -> int:
    """Bytes that a rank holds once it trains, however small its passes are."""
    held = held_of(shape, setting)
    return held.weights + held.gradients + held.optimizer
