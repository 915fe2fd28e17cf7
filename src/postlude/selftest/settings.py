"""What the command line may set of a self-test: keys of a recipe that change what is compared. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from postlude.bounds import Bounds, Line, hold
from postlude.models.lora import Lora
from postlude.models.spec import Holding


@dataclass(frozen=True)
class Tested:
    """Which model."""

    path: Line | None = None
    """A folder with a Hugging Face model, a run, or a hub id. Default: a tiny one made on the spot."""
    lora: Lora | None = None
    """The adapter of the checks that have one. Default: rank 4 on every linear map."""


@dataclass(frozen=True)
class Sampled:
    """How a recipe samples, as far as log-probs depend on it."""

    temperature: Annotated[float, Bounds(0, 100)] = 0.7
    """At which the sampler's log-probs are compared with the trainer's; take your recipe's."""


@dataclass(frozen=True)
class Held(Holding):
    """How the model is held."""

    threads: Annotated[int, Bounds(1, 1024)] | None = None
    """CPU threads. Default: 1 for models under 5 M parameters, else what torch chooses."""

    def __post_init__(self) -> None:
        hold(self)


@dataclass(frozen=True)
class Settings:
    """All that can be set."""

    model: Tested = Tested()
    sampling: Sampled = Sampled()
    engine: Held = Held()


for _kind in (Tested, Lora, Sampled, Held, Settings):  # an unknown key is an error
    _kind.__pydantic_config__ = {"extra": "forbid", "allow_inf_nan": False}  # type: ignore[attr-defined]
