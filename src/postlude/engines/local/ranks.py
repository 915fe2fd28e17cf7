"""What a trainer asks of the processes that train the same model with it; alone, there is nothing to ask."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from torch import Tensor

from postlude.models.spread import Undivided

if TYPE_CHECKING:
    from postlude.engines.local.model import LocalModel


class Ranks(Protocol):
    """The processes that hold one model together. Every method but `rows`, `part` and `put` is collective: all of them
    call it, in the same order."""

    rank: int
    """Of this process, from 0."""
    size: int
    """How many there are."""
    beside: int
    """How many of them take their memory from the same as this one, itself included."""

    def shard(self, model: LocalModel) -> None:
        """Spread a model's parameters over the ranks. Each way in which it is run gathers what it needs."""
        ...

    def most(self, numbers: Sequence[float]) -> list[float]:
        """The largest of each over the ranks."""
        ...

    def total(self, numbers: Sequence[float]) -> list[float]:
        """The sum of each over the ranks, in float64."""
        ...

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Sum tensors that every rank holds whole, in place: gradients of what is not spread."""
        ...

    def whole(self, tensor: Tensor) -> Tensor:
        """A spread tensor as a whole; any other as it is."""
        ...

    def rows(self, tensor: Tensor) -> tuple[int, int] | None:
        """(first, end) of the rows that this rank holds of a spread tensor; None of one that every rank holds whole."""
        ...

    def part(self, tensor: Tensor) -> Tensor:
        """What this rank holds of a tensor, in place: of one that is not spread, all of it on rank 0, nothing
        elsewhere."""
        ...

    def put(self, target: Tensor, whole: Tensor) -> None:
        """Copy a whole tensor into what this rank holds of it."""
        ...


class Alone(Undivided):
    """One process that holds all of it."""

    beside = 1

    def shard(self, model: LocalModel) -> None:
        """Nothing to spread."""

    def total(self, numbers: Sequence[float]) -> list[float]:
        """The numbers."""
        return list(numbers)

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Nothing to add."""
