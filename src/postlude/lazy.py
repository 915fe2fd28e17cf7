"""torch and numpy, imported at their first use.

Importing torch takes seconds. Reading a recipe, naming methods and finding a misspelt key need the classes of the
schema, whose modules compute with torch, but only inside functions: they take it from here. Type checkers see the real
ones.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import wraps
from types import ModuleType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class Lazy(ModuleType):
    """Stands for a module; what was asked for once is kept, so that later uses cost nothing."""

    def __getattr__(self, name: str) -> Any:
        value = getattr(importlib.import_module(self.__name__), name)
        self.__dict__[name] = value
        return value


if TYPE_CHECKING:
    import numpy as np
    import torch as torch
    import torch.nn.functional as F
else:
    np = Lazy("numpy")
    torch = Lazy("torch")
    F = Lazy("torch.nn.functional")


def no_grad(function: Callable[P, R]) -> Callable[P, R]:
    """`torch.no_grad()` as a decorator."""

    @wraps(function)
    def without(*args: P.args, **kwargs: P.kwargs) -> R:
        with torch.no_grad():
            return function(*args, **kwargs)

    return without
