"""What an operator of a program's object may say in a test.

An operator is handed the value that the test expects (`f(2) - 4`, `4 in f(2)`), or stands where a number is tested
(`round(f(2), 2)`), so one that lies passes every test of a function. It is asked of the program as far as the test is
about the object's class:

| object | arithmetic, conversion to a number | `in` |
|---|---|---|
| of a class that the test names | the program's; but an object and a number give no number | the program's |
| of a subclass of a plain type | as of the plain value in it | as of the plain value in it |
| any other | gives an object; a plain value is refused | decided here, by what it iterates over |

A subclass of a plain type answers what that type answers (`len`, items, `count`, `index`, `items`, `union`) as the
plain value in it: the program is asked for what its class adds, for what changes, copies or writes it as text, and for
keys and places that the value does not have. Questions that plain types have (`startswith`, `isdigit`) are refused of
any other object. A class `Solution` counts
as not named: it holds functions. Texts, lengths, items, iteration, attributes, calls and other methods are the
program's for every object: they are results like those of a function.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from .mirrors import Mirror
from .plain import PLAIN

_BINARY = "add sub mul matmul truediv floordiv mod divmod pow lshift rshift and xor or"
_UNARY = "neg pos abs invert int float complex index round trunc floor ceil bytes"
PAIRED = frozenset(f"__{before}{name}__" for name in _BINARY.split() for before in ("", "r", "i"))
COMPUTING = PAIRED | {f"__{name}__" for name in (*_UNARY.split(), "format")}
"""Special methods whose result stands for a number, or a value computed with what the test has. (`format`: with a
specification, which is a number's.)"""
QUESTIONS = frozenset(
    name
    for kind in PLAIN
    for name in dir(kind)
    if (name.startswith("is") and not name.startswith("iso")) or name in ("startswith", "endswith")
)
"""Methods of plain types that answer with True or False."""
HOLDERS = frozenset({"Solution"})
"""Names of classes that hold functions: a test that names one is not about its objects."""


_CHANGES = (
    "append appendleft extend extendleft insert remove pop popleft popitem clear sort reverse rotate update setdefault "
    "add discard difference_update intersection_update symmetric_difference_update subtract move_to_end __setitem__ "
    "__delitem__"
)
_COPIES = "copy replace fromkeys __dir__ __repr__ __str__ __hash__ __copy__ __deepcopy__ __init__ __class_getitem__"
ASKED_ALWAYS = frozenset(f"{_CHANGES} {_COPIES}".split())
"""Methods of plain types that a subclass may have its own of for every test: what changes it, copies and texts."""


def plain_base(thing: Any) -> type | None:
    """The plain type, or the one of the library below it, that an object's class is a subclass of."""
    if isinstance(thing, type) or not isinstance(thing, PLAIN):
        return None
    return next(line for line in type(thing).__mro__ if not isinstance(line, Mirror))


def is_computing(name: str, args: tuple[Any, ...]) -> bool:
    return name in COMPUTING and (name != "__format__" or args != ("",))


def decided(name: str, owner: Any, args: tuple[Any, ...], words: Mapping[str, Any] = MappingProxyType({})) -> Any:
    """What a method of an object of a class that the test does not name gives, where that needs no answer of the
    program; else `UNDECIDED`. What a dict or a list does not hold, the program may have."""
    base = plain_base(owner)
    if base is not None and hasattr(base, name) and name not in ASKED_ALWAYS:
        try:
            if name == "get" and isinstance(owner, dict) and not dict.__contains__(owner, args[0]):
                return UNDECIDED
            return getattr(base, name)(owner, *args, **words)
        except LookupError:
            return UNDECIDED
    iterates = any(how in vars(line) for line in type(owner).__mro__ for how in ("__iter__", "__getitem__"))
    if name == "__contains__" and iterates:
        return any(one is args[0] or one == args[0] for one in owner)
    return UNDECIDED


UNDECIDED = object()


def is_fit(name: str, args: tuple[Any, ...], value: Any, named: bool) -> bool:
    """Whether a result may be what a computing method of an object gives."""
    if not named:
        return value is NotImplemented or (isinstance(type(value), Mirror) and plain_base(value) is None)
    return name not in PAIRED or not all(type(x) in (int, float, complex, bool) for x in (args[0], value))


def refusal(name: str, owner: Any) -> str:
    kind = owner.__name__ if isinstance(owner, type) else type(owner).__name__
    return f"the program gave an object of class {kind} where a plain value is tested: its {name} has no say in that"
