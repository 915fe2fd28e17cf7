"""Tests of a program."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from postlude.code.obstacles import Need
from postlude.sandbox.inside.plain import decode, encode


@dataclass(frozen=True)
class AnyOf:
    """Values that a text of JSON may have meant: a program may give any of them, a tuple for a list, and 2.0 for 2."""

    values: tuple[Any, ...]


@dataclass(frozen=True)
class Call:
    """A call of the program, and the value it must return."""

    target: str
    """A function's name, or a path to it such as `Solution().solve`."""
    args: Sequence[Any]
    expected: Any
    kwargs: Mapping[str, Any] = field(default_factory=dict[str, Any])
    or_method: bool = False
    """Whether the target, a bare name, may be a method of a class of the program instead."""


@dataclass(frozen=True)
class Script:
    """A run of the program as a script: what it reads, and what it must print."""

    stdin: str
    stdout: str
    checker: str = ""
    """How its output is judged where that is not by comparing lines: a way by name, or code that defines
    `check(input, output, expected)`."""


@dataclass(frozen=True)
class Check:
    """Test code to run apart from the program, whose functions are remote calls in it."""

    source: str
    shown: str
    """As it stands in the data."""
    names: tuple[str, ...] = ()
    """Names of the program that it uses."""
    modules: tuple[str, ...] = ()
    """Modules that stand for the program where it imports them."""
    test: str | None = None
    """The one test of it that is run, `test_a` or `TestB.test_c`; None is all that it does as a script."""
    needs: tuple[Need, ...] = ()
    """What it needs besides the program and the library."""


Case = Call | Script | Check


def root_of(target: str) -> str:
    """The global name that a target begins with: `Solution` of `Solution().solve`."""
    return target.partition(".")[0].partition("(")[0]


def checked(call: Call) -> Call:
    """The call itself; ValueError where a value cannot be sent, or nothing can equal what is expected."""
    wanted = call.expected.values if isinstance(call.expected, AnyOf) else (call.expected,)
    for value in (*call.args, *call.kwargs.values(), *wanted):
        decode(encode(value))
    if any(map(_holds_nan, wanted)):
        raise ValueError("NaN is expected, and nothing equals NaN")
    return call


def _holds_nan(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_holds_nan, (*value, *value.values())))
    if isinstance(value, list | tuple | set | frozenset):
        return any(map(_holds_nan, value))
    return isinstance(value, float) and math.isnan(value)
