"""Stand-ins of the program's functions, and of names that it does not define."""

from __future__ import annotations

import inspect
from types import FunctionType, MethodType
from typing import Any

from .mirrors import FRAMEWORKS, PEER, is_not_asked
from .peer import Peer


class Unnamed:
    """A name that the program does not define. Every use of it is the program's NameError."""

    def __init__(self, peer: Peer, name: str) -> None:
        vars(self).update({PEER: peer, "name": name})

    def _missing(self, *args: Any, **kwargs: Any) -> Any:
        vars(self)[PEER].ask("use", vars(self)["name"])
        raise NameError(f"name {vars(self)['name']!r} is not defined")

    __call__ = __iter__ = __len__ = __getitem__ = __bool__ = __eq__ = __lt__ = __contains__ = __setattr__ = _missing
    __hash__ = __str__ = __repr__ = __enter__ = __instancecheck__ = __mro_entries__ = _missing

    def __getattr__(self, name: str) -> Any:
        self._missing()


def _calls(*args: Any, **kwargs: Any) -> None: ...


async def _waits(*args: Any, **kwargs: Any) -> None: ...


class Function:
    """A function, or a method, of the program."""

    def __init__(self, peer: Peer, name: str, doc: str | None, signature: Any, waits: bool) -> None:
        vars(self).update(
            {PEER: peer, "__name__": name, "__qualname__": name, "__doc__": doc, "__module__": "solution"}
        )
        code = (_waits if waits else _calls).__code__
        vars(self)["__code__"] = code.replace(co_name=name)  # for those who look whether it is to be awaited
        if signature is not None:
            vars(self)["__signature__"] = signature_of(signature)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return vars(self)[PEER].call(self, args, kwargs)

    def __get__(self, instance: Any, cls: Any = None) -> Any:
        return self if instance is None else MethodType(self, instance)

    def __getattr__(self, name: str) -> Any:
        if is_not_asked(name) or name in FRAMEWORKS:
            raise AttributeError(name)
        return vars(self)[PEER].peek(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        vars(self)[PEER].set(self, name, value)

    def __mro_entries__(self, bases: Any) -> Any:
        vars(self)[PEER].ask("use", vars(self)["__name__"])  # that it is no class is the program's doing
        raise TypeError(f"{vars(self)['__name__']} is a function, and a class is wanted")

    def __repr__(self) -> str:
        return f"<function {vars(self)['__name__']}>"

    @property
    def __class__(self) -> type:  # type: ignore[override]
        return FunctionType


def signature_of(parameters: list[Any]) -> inspect.Signature:
    kinds = list(type(inspect.Parameter.POSITIONAL_ONLY))
    return inspect.Signature(
        [
            inspect.Parameter(name, kinds[kind], default=... if default else inspect.Parameter.empty)
            for name, kind, default in parameters
        ],
        __validate_parameters__=False,
    )
