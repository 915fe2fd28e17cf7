"""A run as data: recipes as text, their schema, the rules across their fields, and names of other libraries.

What other rooms use is named here, and loaded at its first use: a reward's arguments are validated by this room, while
the schema names rewards.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from postlude.recipe.documents import Document, flat, override, read
    from postlude.recipe.idle import unread
    from postlude.recipe.importing import import_file
    from postlude.recipe.resolution import frozen, in_order, key_of, resolve, resolve_with_problems, rewarded
    from postlude.recipe.schema import Frozen, Recipe

__all__ = [
    "Document",
    "Frozen",
    "Recipe",
    "flat",
    "frozen",
    "import_file",
    "in_order",
    "key_of",
    "override",
    "read",
    "resolve",
    "resolve_with_problems",
    "rewarded",
    "unread",
]

_HOMES = {
    "documents": ("Document", "flat", "override", "read"),
    "importing": ("import_file",),
    "resolution": ("frozen", "in_order", "key_of", "resolve", "resolve_with_problems", "rewarded"),
    "schema": ("Frozen", "Recipe"),
    "idle": ("unread",),
}
"""Module of this room -> the public names that stand in it."""


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
