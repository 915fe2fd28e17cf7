"""Tensors in safetensors files, written and read one at a time, and no more of each than is wanted."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Self

from postlude.errors import EngineError
from postlude.models.spread import Spread, by_first

if TYPE_CHECKING:
    from torch import Tensor, dtype

KINDS = {"float16": "F16", "bfloat16": "BF16", "float32": "F32", "float64": "F64"}
"""Kinds of numbers as torch and safetensors name them, in the opposite order of their tensors in a file."""


def write(
    file: Path,
    tensors: Mapping[str, Tensor],
    spread: Spread,
    dtype_of: Callable[[str, Tensor], dtype] | None = None,
) -> None:
    """A file of whole tensors, in `dtype_of` each, byte for byte as safetensors writes it: gathered one after the
    other, and written by rank 0, whose memory need not hold more than one. Fails as `by_first` does."""
    dtypes = {name: one.dtype if dtype_of is None else dtype_of(name, one) for name, one in tensors.items()}
    kinds = {name: str(dtypes[name]).removeprefix("torch.") for name in tensors}
    ranked = list(KINDS)
    order = sorted(tensors, key=lambda name: (-ranked.index(kinds[name]), name))
    head = _head({name: (KINDS[kinds[name]], tensors[name].shape, dtypes[name].itemsize) for name in order})
    opened: list[BinaryIO] = []
    with ExitStack() as stack:
        by_first(spread, lambda: opened.append(stack.enter_context(file.open("wb"))))
        by_first(spread, lambda: opened[0].write(head))
        for name in order:
            one = spread.whole(tensors[name].detach().to(dtypes[name]))
            by_first(spread, partial(_append, opened, one))
        by_first(spread, lambda: opened[0].close())


def _head(entries: Mapping[str, tuple[str, Sequence[int], int]]) -> bytes:
    """What stands before the numbers: each tensor's kind, shape and place, padded to whole eights."""
    start, said = 0, dict[str, Any]()
    for name, (kind, shape, size) in entries.items():
        end = start + size
        for length in shape:
            end = start + (end - start) * length
        said[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [start, end]}
        start = end
    text = json.dumps(said, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def _append(opened: Sequence[BinaryIO], tensor: Tensor) -> None:
    import torch

    opened[0].write(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)


class Pieces:
    """Files side by side. A tensor that several of them hold is what these have of it, one below the other: so each of
    several processes writes its rows alone, and any number of them reads these again."""

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = files
        self._open = ExitStack()
        self._places: dict[str, list[Any]] = {}
        self._fields: dict[str, list[str]] | None = None

    def __enter__(self) -> Self:
        from safetensors import safe_open

        for file in self.files:
            stored = self._open.enter_context(safe_open(file, framework="pt"))
            for name in stored.keys():  # noqa: SIM118  # it is no mapping
                self._places.setdefault(name, []).append(stored)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    @property
    def names(self) -> set[str]:
        return {*self._places}

    def fields(self, name: str) -> list[str]:
        """Of the tensors called `name::field`, the fields."""
        if self._fields is None:
            self._fields = {}
            for one in sorted(self._places):
                whole, _, key = one.rpartition("::")
                self._fields.setdefault(whole, []).append(key)
        return self._fields.get(name, [])

    def shape(self, name: str) -> tuple[int, ...]:
        """Of the whole tensor."""
        shapes = [tuple(stored.get_slice(name).get_shape()) for stored in self._places[name]]
        return shapes[0] if len(shapes) == 1 else (sum(shape[0] for shape in shapes), *shapes[0][1:])

    def read(self, name: str, rows: tuple[int, int] | None = None) -> Tensor:
        """A tensor, or its rows from the first to before the second."""
        import torch

        held = self._places[name]
        if len(held) == 1 and rows is None:
            return held[0].get_tensor(name)
        first, end = rows or (0, self.shape(name)[0])
        taken: list[Tensor] = []
        start = 0
        for piece in (stored.get_slice(name) for stored in held):
            count = piece.get_shape()[0]
            low, high = (min(max(row - start, 0), count) for row in (first, end))
            if low < high or not taken:  # of no rows at all it has the shape all the same
                taken.append(piece[low:high])
            start += count
        return taken[0] if len(taken) == 1 else torch.cat(taken)

    def fill(self, target: Tensor, name: str, spread: Spread) -> None:
        """Copy what this rank holds of a tensor. Raises EngineError where it has another shape."""
        if self.shape(name) != tuple(target.shape):
            raise EngineError(
                f"{self.files[0].parent}: {name!r} is {self.shape(name)}, and the model's is {tuple(target.shape)}: "
                "the checkpoint is of another model.",
                code="misfit-weights",
            )
        rows = spread.rows(target)
        if rows is None:
            spread.put(target, self.read(name))
        else:
            spread.part(target).copy_(self.read(name, rows))


def fill_all(net: Any, files: Sequence[Path], spread: Spread) -> bool:
    """Put the weights of a model's files into it; False, and nothing done, where they have other names than in it.
    Raises EngineError where one is missing."""
    live: Mapping[str, Tensor] = net.state_dict(keep_vars=True)
    with Pieces(files) as pieces:
        if not pieces.names <= {*live}:
            return False
        shared = {id(live[name]) for name in pieces.names}
        missing = sorted(name for name, tensor in live.items() if id(tensor) not in shared)
        if missing:
            raise EngineError(f"{files[0].parent} lacks {missing[0]!r}: it is damaged.", code="missing-weights")
        for name in sorted(pieces.names):
            pieces.fill(live[name].detach(), name, spread)
    return True
