"""The most memory that some computation holds at once, counted rather than guessed."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def peak(work: Callable[[], None], device: torch.device) -> int:
    """Bytes that `work` held at its worst beyond what was there before: of tensors on a CPU, of the allocator on a GPU.

    What an operation needs for itself while it runs is not seen on a CPU.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        work()
        return torch.cuda.max_memory_allocated(device) - before
    with _Counting() as counted:
        work()
    return counted.most


class _Counting(TorchDispatchMode):
    """Bytes of the storages that operations made and that are still alive, and the most there were."""

    def __init__(self) -> None:
        super().__init__()
        self._alive: dict[int, tuple[weakref.ref[Any], int]] = {}
        self._bytes = self.most = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation; count what it made, which is what neither its arguments nor anything counted holds."""
        inputs = {_key(x) for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)}
        outputs = func(*args, **(kwargs or {}))
        for x in tree_leaves(outputs):
            if isinstance(x, Tensor) and _key(x) not in inputs:
                self._count(x)
        return outputs

    def _count(self, x: Tensor) -> None:
        storage, key = x.untyped_storage(), _key(x)
        if key in self._alive:
            return
        size = storage.nbytes()
        self._alive[key] = weakref.ref(storage, lambda _: self._gone(key)), size
        self._bytes += size
        self.most = max(self.most, self._bytes)

    def _gone(self, key: int) -> None:
        self._bytes -= self._alive.pop(key)[1]


def _key(x: Tensor) -> int:
    return x.untyped_storage()._cdata
