"""What one side of a conversation tells the other of an object: enough to make a stand-in of it."""

from __future__ import annotations

import builtins
import inspect
import sys
from collections.abc import Callable
from types import (
    BuiltinFunctionType,
    CoroutineType,
    FunctionType,
    GeneratorType,
    MethodDescriptorType,
    MethodType,
    ModuleType,
    WrapperDescriptorType,
)
from typing import TYPE_CHECKING, Any

from .plain import DICTS, MAKERS, PLAIN

if TYPE_CHECKING:
    from .peer import Peer

_NAMES = (
    "add sub mul matmul truediv floordiv mod divmod pow lshift rshift and xor or radd rsub rmul rmatmul rtruediv "
    "rfloordiv rmod rdivmod rpow rlshift rrshift rand rxor ror iadd isub imul imatmul itruediv ifloordiv imod ipow "
    "ilshift irshift iand ixor ior neg pos abs invert int float complex index round trunc floor ceil len "
    "length_hint getitem setitem delitem contains iter next reversed missing call enter exit await aiter anext "
    "aenter aexit bytes fspath get set delete set_name"
)
SPECIAL = frozenset(f"__{name}__" for name in _NAMES.split())
"""Methods that a stand-in has where the class has them. Comparison, truth, hash and texts it always has."""
NATIVE: tuple[type, ...] = (
    *PLAIN,
    *(kind for kind, _ in MAKERS.values()),
    *DICTS.values(),
    *(kind for kind in vars(builtins).values() if isinstance(kind, type) and issubclass(kind, BaseException)),
    object,
    bool,
    type(None),
)
"""Types that are themselves on both sides."""
BUILT = (*PLAIN, BaseException)
"""Types whose objects hold their value here, too."""


def importable(value: Any) -> list[str] | None:
    """[module, path] of a class, function or module of the standard library."""
    if isinstance(value, ModuleType):
        return [value.__name__, ""] if _standard(value.__name__) else None
    if isinstance(value, MethodDescriptorType | WrapperDescriptorType):
        owner = importable(value.__objclass__)
        return [owner[0], f"{owner[1]}.{value.__name__}"] if owner else None
    if not isinstance(value, type | FunctionType | BuiltinFunctionType):
        return None
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str) or not _standard(module):
        return None
    return [module, name] if resolved(sys.modules.get(module), name) is value else None


def _standard(module: str) -> bool:
    return module.partition(".")[0] in sys.stdlib_module_names and module != "__main__"


def resolved(thing: Any, path: str) -> Any:
    for name in path.split(".") if path else ():
        thing = vars(thing).get(name) if isinstance(thing, type | ModuleType) else None
    return thing


def described(peer: Peer, value: Any) -> tuple[str, Callable[[], list[Any]]]:
    """What the other side needs to make a stand-in."""
    if isinstance(value, type):
        return "class", lambda: [_class(peer, value)]
    if isinstance(value, BaseException):
        return "exception", lambda: _exception(peer, value)
    if isinstance(value, FunctionType | MethodType | BuiltinFunctionType):
        return "function", lambda: [
            _text(value, "__name__"),
            _text(value, "__doc__"),
            _signature(value),
            inspect.iscoroutinefunction(value),
        ]
    if isinstance(value, GeneratorType):
        return "generator", lambda: []
    if isinstance(value, CoroutineType):
        return "coroutine", lambda: [_text(value, "__name__")]
    return "instance", lambda: [peer.mirrored(type(value))]


def _text(value: Any, name: str) -> str | None:
    text = getattr(value, name, None)
    return text[:2000] if isinstance(text, str) else None


def _signature(function: Any) -> list[Any] | None:
    """[name, kind, whether it has a default] of each parameter."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (ValueError, TypeError):
        return None
    return [[p.name, int(p.kind), p.default is not p.empty] for p in parameters]


def _class(peer: Peer, kind: type) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for base in reversed(kind.__mro__):
        if base not in NATIVE:
            members |= vars(base)
    return {
        "name": kind.__name__,
        "module": kind.__module__,
        "qualname": kind.__qualname__,
        "doc": kind.__doc__ if isinstance(kind.__doc__, str) else None,
        "bases": [peer.encode(base) for base in kind.__bases__],
        "special": [name for name, value in members.items() if name in SPECIAL and value is not None],
        "members": {
            name: _kind_of(value) for name, value in vars(kind).items() if name == "__init__" or not is_special(name)
        },
        "standard": _standard(kind.__module__),
        "fields": list(vars(kind).get("__dataclass_fields__", ())),
        "truth": "__bool__" in members or "__len__" in members,
        "hash": "none" if kind.__hash__ is None else "id" if kind.__hash__ is object.__hash__ else "asked",
    }


def is_special(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")


def _kind_of(value: Any) -> str:
    """method, static (staticmethod and classmethod), property or value."""
    if isinstance(value, staticmethod | classmethod):
        return "static"
    if isinstance(value, FunctionType | MethodDescriptorType):
        return "method"
    return "property" if hasattr(type(value), "__set__") else "value"


def _exception(peer: Peer, error: BaseException) -> list[Any]:
    args = error.args if isinstance(error.args, tuple) else ()
    cause = error.__cause__ if isinstance(error.__cause__, BaseException) else None
    return [peer.encode(type(error)), [_sent(peer, a) for a in args], said(error), peer.encode(cause)]


def _sent(peer: Peer, value: Any) -> Any:
    try:
        return peer.encode(value)
    except (ValueError, RecursionError):
        return peer.encode(f"a {type(value).__name__} that cannot be sent")


def said(error: BaseException) -> str:
    """Its text, which is the program's and may itself fail."""
    try:
        return f"{error}"[:2000]
    except BaseException:
        return ""
