"""Plain values as JSON and back, as what they are. Used on both sides of the sandbox.

| value | JSON |
|---|---|
| None, True, 3, 2.5, "a", [1] | as it is |
| a whole number beyond 64 bits | {"int": hexadecimal text} |
| inf, -inf, nan | {"float": text} |
| a tuple, set, frozenset | {"tuple": [...]}, {"set": [...]}, {"frozenset": [...]} |
| a dict | {"dict": [[key, value], ...]} |
| bytes, bytearray | {"bytes": hexadecimal text}, {"bytearray": hexadecimal text} |
| complex | {"complex": [real, imaginary]} |
| a Fraction, Decimal, date, range, deque ... | {"made": [name of its type in MAKERS, [arguments]]} |
| an array of numpy | {"array": [kind of its members, lists]}; a number of numpy is sent as a number |
| a view of a dict | {"view": ["dict_keys", [...]]} |
| Counter, OrderedDict, defaultdict | {"like": [name, its dict]} |
| another subclass of a plain type | {"like": ["", the plain value in it]} |
| anything else | {"other": name of its type} |

A subclass is sent as what Python's own type holds of it: nothing that the subclass overrides is asked.
"""

from __future__ import annotations

import datetime
import math
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from itertools import repeat
from pathlib import PurePosixPath
from typing import Any

DEEPEST = 200
"""Levels of nesting; deeper values are errors."""
WIDE = 1 << 63

_Arguments = Callable[[Any], list[Any]]
MAKERS: dict[str, tuple[type, _Arguments]] = {
    "Fraction": (Fraction, lambda v: [v.numerator, v.denominator]),
    "Decimal": (Decimal, lambda v: [Decimal.__str__(v)]),
    "date": (datetime.date, lambda v: [v.year, v.month, v.day]),
    "time": (datetime.time, lambda v: [v.hour, v.minute, v.second, v.microsecond, v.tzinfo]),
    "datetime": (
        datetime.datetime,
        lambda v: [v.year, v.month, v.day, v.hour, v.minute, v.second, v.microsecond, v.tzinfo],
    ),
    "timedelta": (datetime.timedelta, lambda v: [v.days, v.seconds, v.microseconds]),
    "timezone": (datetime.timezone, lambda v: [v.utcoffset(None)]),
    "range": (range, lambda v: [v.start, v.stop, v.step]),
    "slice": (slice, lambda v: [v.start, v.stop, v.step]),
    "deque": (deque, lambda v: [list(v), v.maxlen]),
    "path": (PurePosixPath, lambda v: [str(v)]),
}
"""Types of the standard library whose values are plain arguments: name -> (type, arguments that make the value)."""
_MADE = {kind: name for name, (kind, _) in MAKERS.items()}
_VIEWS: dict[type, str] = {type(view): type(view).__name__ for view in ({}.keys(), {}.values(), {}.items())}
DICTS: dict[str, type] = {"Counter": Counter, "OrderedDict": OrderedDict, "defaultdict": defaultdict}
_SINGLE = {"Ellipsis": Ellipsis, "NotImplemented": NotImplemented}
LIBRARY = (Decimal, datetime.datetime, datetime.date, datetime.time, datetime.timedelta)
PLAIN: tuple[type, ...] = (
    *(int, float, complex, str, bytes, bytearray, list, tuple, set, frozenset, dict, deque),
    *LIBRARY,
)
"""Types whose subclasses are sent as the plain value in them."""


class Codec:
    """Values to JSON and back. One that knows objects too overrides `reference`, `like` and `referred`."""

    def encode(self, value: Any, depth: int = 0) -> Any:
        """The JSON form. Raises ValueError where the nesting is too deep."""
        kind = type(value)
        if value is None or kind is bool or kind is str:
            return value
        if kind is int:
            return value if -WIDE <= value < WIDE else {"int": hex(value)}
        if kind is float:
            return value if math.isfinite(value) else {"float": repr(value)}
        if depth > DEEPEST:
            raise ValueError(f"nested deeper than {DEEPEST}")
        return self.compound(value, kind, depth)

    def compound(self, value: Any, kind: type, depth: int) -> Any:
        """Of a value that holds others, or is of none of the commonest types."""
        if kind in _ENCODERS:
            return _ENCODERS[kind](self, value, depth + 1)
        if kind.__module__ == "numpy" and hasattr(value, "dtype") and value.dtype.kind in "biufcU":
            return self._of_numpy(value, depth)
        base = next((base for base in PLAIN if issubclass(kind, base)), None)
        return self.reference(value, depth) if base is None else self.like(value, base, depth)

    def _of_numpy(self, value: Any, depth: int) -> Any:
        """A number of numpy is a number; an array is one where numpy is."""
        if not value.shape:
            return self.encode(value.item(), depth + 1)
        return {"array": [value.dtype.str, value.tolist()]}

    def content(self, value: Any, kind: type, depth: int) -> Any:
        """What a value holds, read as `kind`, one of its own bases."""
        return _ENCODERS[kind](self, value, depth + 1)

    def items(self, values: Any, depth: int) -> list[Any]:
        return [*map(self.encode, values, repeat(depth))]  # without a frame of its own: values may be deep

    def reference(self, value: Any, depth: int) -> Any:
        """Of a value that is not plain."""
        return {"other": str(getattr(type(value), "__name__", "?"))[:80]}

    def like(self, value: Any, base: type, depth: int) -> Any:
        """Of a subclass of a plain type."""
        name = next((name for name, kind in DICTS.items() if type(value) is kind), "")
        return {"like": [name, self.content(value, base, depth)]}

    def decode(self, value: Any, depth: int = 0) -> Any:
        """The value of a JSON form. Raises ValueError for what is not plain, and for what `encode` never makes."""
        if depth > 2 * DEEPEST:
            raise ValueError("nested too deeply")
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if isinstance(value, list):
            return [self.decode(v, depth + 1) for v in value]
        if isinstance(value, dict) and len(value) == 1:
            [(kind, content)] = value.items()
            try:
                return _DECODERS[kind](self, content, depth + 1) if kind in _DECODERS else self.referred(kind, content)
            except (TypeError, AttributeError, LookupError, ArithmeticError) as error:
                raise ValueError(f"not a {kind}: {error}") from error
        raise ValueError("not a plain value")

    def referred(self, kind: str, content: Any) -> Any:
        """Of a form that `reference` made."""
        raise ValueError(f"a value of type {content} is not plain" if kind == "other" else "not a plain value")

    def alike(self, name: str, value: Any) -> Any:
        """Of a form that `like` made: the plain value in it."""
        return value

    def decoded(self, content: Any, depth: int) -> list[Any]:
        if not isinstance(content, list):
            raise ValueError("expected a list")
        return [self.decode(v, depth) for v in content]


def _pairs(codec: Codec, value: Any, depth: int) -> Any:
    kind = OrderedDict if isinstance(value, OrderedDict) else dict  # which has another order than the dict in it
    return {"dict": [[codec.encode(k, depth), codec.encode(v, depth)] for k, v in kind.items(value)]}


def _sequence(kind: type) -> Callable[[Codec, Any, int], Any]:
    name = kind.__name__
    return lambda codec, value, depth: {name: codec.items(kind.__iter__(value), depth)}


def _making(name: str) -> Callable[[Codec, Any, int], Any]:
    arguments = MAKERS[name][1]
    return lambda codec, value, depth: {"made": [name, codec.items(arguments(value), depth)]}


def _view(codec: Codec, value: Any, depth: int) -> Any:
    return {"view": [_VIEWS[type(value)], codec.items(value, depth)]}


_ENCODERS: dict[type, Callable[[Codec, Any, int], Any]] = {
    str: lambda codec, value, depth: str.__str__(value),
    int: lambda codec, value, depth: codec.encode(int.__int__(value)),
    float: lambda codec, value, depth: codec.encode(float.__float__(value)),
    list: lambda codec, value, depth: codec.items(list.__iter__(value), depth),
    dict: _pairs,
    bytes: lambda codec, value, depth: {"bytes": bytes.hex(value)},
    bytearray: lambda codec, value, depth: {"bytearray": bytearray.hex(value)},
    complex: lambda codec, value, depth: {
        "complex": codec.items([complex.real.__get__(value), complex.imag.__get__(value)], depth)
    },
    **{kind: _sequence(kind) for kind in (tuple, set, frozenset)},
    **{kind: _making(name) for kind, name in _MADE.items()},
    **dict.fromkeys(_VIEWS, _view),
    **{type(v): lambda codec, value, depth: {"single": str(value)} for v in _SINGLE.values()},
}


def unique(build: Callable[[list[Any]], Any], items: list[Any]) -> Any:
    """A set of the items. Raises ValueError where one appears twice."""
    members = build(items)
    if len(members) != len(items):
        raise ValueError("a member appears twice")
    return members


def paired(pairs: list[Any]) -> dict[Any, Any]:
    """A dict of the pairs. Raises ValueError for what is not a pair, and for a key that appears twice."""
    if any(type(pair) is not list or len(pair) != 2 for pair in pairs):
        raise ValueError("expected pairs")
    members = {key: value for key, value in pairs}  # noqa: C416  the pairs are lists, which dict() would take as well
    if len(members) != len(pairs):
        raise ValueError("a key appears twice")
    return members


def _float(codec: Codec, content: Any, depth: int) -> float:
    return {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}[content]


def _complex(codec: Codec, content: Any, depth: int) -> complex:
    real, imaginary = codec.decoded(content, depth)
    return complex(float(real), float(imaginary))


def _remade(codec: Codec, content: Any, depth: int) -> Any:
    name, arguments = content
    value = MAKERS[name][0](*codec.decoded(arguments, depth))
    if isinstance(value, range) and (value.start.bit_length() > 64 or value.stop.bit_length() > 64):
        raise ValueError("a range too wide")
    return value


def _viewed(codec: Codec, content: Any, depth: int) -> Any:
    name, items = content[0], codec.decoded(content[1], depth)
    if name == "dict_keys":
        return unique(dict.fromkeys, items).keys()
    if name == "dict_values":
        return dict(enumerate(items)).values()
    return {key: value for key, value in items}.items()  # noqa: C416


def _alike(codec: Codec, content: Any, depth: int) -> Any:
    name, value = content
    return codec.alike(name, codec.decode(value, depth))


_DECODERS: dict[str, Callable[[Codec, Any, int], Any]] = {
    "int": lambda codec, content, depth: int(content, 16),
    "float": _float,
    "tuple": lambda codec, content, depth: tuple(codec.decoded(content, depth)),
    "set": lambda codec, content, depth: unique(set, codec.decoded(content, depth)),
    "frozenset": lambda codec, content, depth: unique(frozenset, codec.decoded(content, depth)),
    "dict": lambda codec, content, depth: paired(codec.decoded(content, depth)),
    "bytes": lambda codec, content, depth: bytes.fromhex(content),
    "bytearray": lambda codec, content, depth: bytearray.fromhex(content),
    "complex": _complex,
    "made": _remade,
    "view": _viewed,
    "like": _alike,
    "single": lambda codec, content, depth: _SINGLE[content],
}
_CODEC = Codec()
encode, decode = _CODEC.encode, _CODEC.decode
"""Of plain values alone."""
