"""Whether a value of a recipe or a row is a mapping, a list or a number, in a way that type checkers follow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard


def is_dict(value: Any) -> TypeGuard[dict[str, Any]]:
    """A mapping as YAML and JSON have them: they write every key as text."""
    return isinstance(value, dict)


def is_mapping(value: Any) -> TypeGuard[Mapping[str, Any]]:
    """Any mapping."""
    return isinstance(value, Mapping)


def is_list(value: Any) -> TypeGuard[list[Any]]:
    """A list as YAML and JSON have them."""
    return isinstance(value, list)


def is_series(value: Any) -> TypeGuard[Sequence[Any]]:
    """A list or a tuple."""
    return isinstance(value, list | tuple)


def is_number(value: Any) -> TypeGuard[int | float]:
    """A number as YAML and JSON have them: yes and no are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)
