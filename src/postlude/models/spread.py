"""Tensors that several processes hold together, as saving and loading see them; a process alone holds all of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import Tensor, dtype


class Spread(Protocol):
    """The processes that hold a model. `most` and `whole` are collective: all of them call these, in one order."""

    rank: int
    """Of this process, from 0."""
    size: int
    """How many there are."""

    def most(self, numbers: Sequence[float]) -> list[float]:
        """The largest of each over the ranks."""
        ...

    def whole(self, tensor: Tensor) -> Tensor:
        """A spread tensor as a whole; any other as it is."""
        ...

    def rows(self, tensor: Tensor) -> tuple[int, int] | None:
        """(first, end) of the rows that this rank holds of a spread tensor; None of one that every rank holds whole."""
        ...

    def part(self, tensor: Tensor) -> Tensor:
        """What this rank holds of a tensor: of one that is not spread, all of it on rank 0, nothing elsewhere."""
        ...

    def put(self, target: Tensor, whole: Tensor) -> None:
        """Copy a whole tensor into what this rank holds of it."""
        ...


class Undivided:
    """One process that holds all of it."""

    rank, size = 0, 1

    def most(self, numbers: Sequence[float]) -> list[float]:
        """The numbers."""
        return list(numbers)

    def whole(self, tensor: Tensor) -> Tensor:
        """The tensor."""
        return tensor

    def rows(self, tensor: Tensor) -> None:
        """It is held whole."""

    def part(self, tensor: Tensor) -> Tensor:
        """The tensor."""
        return tensor

    def put(self, target: Tensor, whole: Tensor) -> None:
        """Copy it."""
        target.copy_(whole)


UNDIVIDED = Undivided()


class LeftOff(Exception):
    """Another rank could not do its share of what all do, and says why."""


def apart(spread: Spread, work: Callable[[], object]) -> None:
    """Do what this rank does without the others. Where it fails on one rank, all stop here: that one with its error,
    the others with LeftOff, and none waits for it in what comes next."""
    failed = 1.0
    try:
        work()
        failed = 0.0
    finally:
        failed = spread.most([failed])[0]
    if failed:
        raise LeftOff


def by_first(spread: Spread, work: Callable[[], object]) -> None:
    """`apart` for what rank 0 alone does."""
    apart(spread, work if spread.rank == 0 else lambda: None)


def gathered(
    spread: Spread, tensors: Mapping[str, Tensor], dtype_of: Callable[[str, Tensor], dtype] | None = None
) -> dict[str, Tensor]:
    """Whole tensors in this machine's memory, one after the other, in `dtype_of` each; on rank 0 alone, the others have
    none. What is one tensor under two names stays that."""
    wholes: dict[int, Tensor] = {}
    result: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if id(tensor) not in wholes:
            held = tensor.detach()
            one = spread.whole(held if dtype_of is None else held.to(dtype_of(name, tensor)))
            wholes[id(tensor)] = one.cpu().contiguous() if spread.rank == 0 else held
        result[name] = wholes[id(tensor)]
    return result if spread.rank == 0 else {}


def plain_class(net: Any) -> Any:
    """The class of a model as it was before its parameters were spread."""
    if not type(net).__name__.startswith("FSDP"):
        return type(net)
    from torch.distributed.fsdp import FSDPModule

    return next(cls for cls in type(net).__mro__ if not issubclass(cls, FSDPModule))
