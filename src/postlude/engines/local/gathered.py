"""Work with a module's weights, all of them here: where they are spread over ranks, it gathers them for as long."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from torch import nn

R = TypeVar("R")
GATHER = "gather_for"
"""The method of a module whose weights are spread: (work, *what it is given) -> what it gives."""


def through(module: nn.Module, work: Callable[..., R], *inputs: Any) -> R:
    """work(*inputs), the module's own weights whole meanwhile, forth and back.

    Gradients pass by the tensors among the inputs and in the result, a tensor or a tuple: they say when a backward pass
    is at this module.
    """
    gather = module.__dict__.get(GATHER)
    return work(*inputs) if gather is None else gather(work, *inputs)
