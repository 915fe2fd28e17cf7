"""A rank without a model, for tests of what stands around ranks."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import torch
import torch.distributed as dist

from postlude.engines.ranks.crew import Blueprint, Place
from postlude.errors import RewardError


class Tiny:
    """As `Rank` is made and called."""

    def __init__(self, blueprint: Blueprint, place: Place) -> None:
        self.rank = place.rank

    def product(self, shared: float, factor: float) -> float:
        """The sum of all ranks' products: they wait for each other."""
        tensor = torch.tensor([shared * factor])
        dist.all_reduce(tensor)
        return tensor.item()

    def batch(self, shared: Any, rows: Any) -> Any:
        shared[rows] = -1.0  # an array that travelled is its own
        return shared[rows], float(shared.sum())

    def about(self, shared: None, nothing: None) -> dict[str, Any]:
        return {"pid": os.getpid(), "environment": dict(os.environ), "folder": os.getcwd(), "path": sys.path}

    def both_raise(self, shared: None, nothing: None) -> None:
        raise RewardError(f"wrong on {self.rank}", "do this", code="reward-raised")

    def one_dies(self, number: int, nothing: None) -> float:
        if self.rank == 1:
            print("the last words", flush=True)
            os.kill(os.getpid(), number)
        return self.product(1.0, 1.0)

    def one_stops(self, shared: None, nothing: None) -> float:
        return self.one_dies(signal.SIGSTOP, None)
