"""Every key that a recipe can have, walked from the schema, so that none is left out of a test."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, get_args, get_type_hints

from postlude.recipe.schema import Recipe
from postlude.validation import members


@cache
def keys_of_schema() -> tuple[str, ...]:
    """Dotted keys, an entry of a list as its first: `reward.0.weight`."""
    return tuple(dict.fromkeys(_keys(Recipe, "")))


def _keys(hint: Any, path: str) -> Iterator[str]:
    for option in members(hint):
        if is_dataclass(option) and isinstance(option, type):
            hints = get_type_hints(option, include_extras=True)
            for f in fields(option):
                below = f"{path}.{f.name}" if path else f.name
                yield below
                yield from _keys(hints[f.name], below)
        else:
            for inner in get_args(option):
                if any(is_dataclass(one) for one in members(inner)):
                    yield from _keys(inner, f"{path}.0")
