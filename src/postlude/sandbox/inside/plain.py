"""Plain values as JSON and back, with their exact types. Used on both sides of the sandbox.

| value | JSON |
|---|---|
| None, True, 3, 2.5, "a", [1] | as it is |
| a whole number beyond 64 bits | {"int": hexadecimal text} |
| inf, -inf, nan | {"float": text} |
| a tuple, set, frozenset | {"tuple": [...]}, {"set": [...]}, {"frozenset": [...]} |
| a dict | {"dict": [[key, value], ...]} |
| bytes | {"bytes": hexadecimal text} |
| complex | {"complex": [real, imaginary]} |
| anything else, a subclass of these included | {"other": name of its type} |
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

DEEPEST = 200
"""Levels of nesting; deeper values are errors."""
WIDE = 1 << 63


def encode(value: Any, depth: int = 0) -> Any:
    """The JSON form. Raises ValueError where the nesting is too deep."""
    if depth > DEEPEST:
        raise ValueError(f"nested deeper than {DEEPEST}")
    kind = type(value)
    if value is None or kind is bool or kind is str:
        return value
    if kind is int:
        return value if -WIDE <= value < WIDE else {"int": hex(value)}
    if kind is float:
        return value if math.isfinite(value) else {"float": repr(value)}
    if kind is list:
        return [encode(v, depth + 1) for v in value]
    if kind is tuple or kind is set or kind is frozenset:
        return {kind.__name__: [encode(v, depth + 1) for v in value]}
    if kind is dict:
        return {"dict": [[encode(k, depth + 1), encode(v, depth + 1)] for k, v in value.items()]}
    if kind is bytes:
        return {"bytes": value.hex()}
    if kind is complex:
        return {"complex": [encode(value.real), encode(value.imag)]}
    return {"other": str(getattr(kind, "__name__", "?"))[:80]}


def decode(value: Any, depth: int = 0) -> Any:
    """The value of a JSON form. Raises ValueError for what is not plain, and for what `encode` never makes."""
    if depth > 2 * DEEPEST:
        raise ValueError("nested too deeply")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list):
        return [decode(v, depth + 1) for v in value]
    if isinstance(value, dict) and len(value) == 1:
        [(kind, content)] = value.items()
        if kind in _DECODERS:
            try:
                return _DECODERS[kind](content, depth + 1)
            except (TypeError, AttributeError, KeyError, OverflowError) as error:
                raise ValueError(f"not a {kind}: {error}") from error
    raise ValueError("not a plain value")


def _items(content: Any, depth: int) -> list[Any]:
    if not isinstance(content, list):
        raise ValueError("expected a list")
    return [decode(v, depth) for v in content]


def _unique(build: Callable[[list[Any]], Any]) -> Callable[[Any, int], Any]:
    def decoder(content: Any, depth: int) -> Any:
        items = _items(content, depth)
        found = build(items)
        if len(found) != len(items):
            raise ValueError("a member appears twice")
        return found

    return decoder


def _dict(content: Any, depth: int) -> dict[Any, Any]:
    pairs = _items(content, depth)
    if any(type(pair) is not list or len(pair) != 2 for pair in pairs):
        raise ValueError("expected pairs")
    found = {key: value for key, value in pairs}  # noqa: C416  the pairs are lists, which dict() would take as well
    if len(found) != len(pairs):
        raise ValueError("a key appears twice")
    return found


def _float(content: Any, depth: int) -> float:
    return {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}[content]


def _complex(content: Any, depth: int) -> complex:
    real, imaginary = _items(content, depth)
    return complex(float(real), float(imaginary))


def _other(content: Any, depth: int) -> Any:
    raise ValueError(f"a value of type {content} is not plain")


_DECODERS: dict[str, Callable[[Any, int], Any]] = {
    "int": lambda content, depth: int(content, 16),
    "float": _float,
    "tuple": lambda content, depth: tuple(_items(content, depth)),
    "set": _unique(set),
    "frozenset": _unique(frozenset),
    "dict": _dict,
    "bytes": lambda content, depth: bytes.fromhex(content),
    "complex": _complex,
    "other": _other,
}
