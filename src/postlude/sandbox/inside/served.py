"""The program's side of the conversation: it does what test code asks for. Nothing here is trusted."""

from __future__ import annotations

import builtins
import contextlib
import copy
import inspect
import io
import operator
import sys
from collections.abc import Callable
from importlib import import_module
from types import MemberDescriptorType
from typing import Any

from .callables import signature_of
from .descriptions import NATIVE, importable, resolved
from .lines import Lines
from .peer import Peer
from .remote import advanced

PIECE = 16_384
"""Characters printed that are sent at once."""
SLICE = 0.02
"""Seconds that the program's coroutines run before the test's may."""


class Served(Peer):
    """The program under test: `names` are those of its module."""

    def __init__(self, lines: Lines, names: dict[str, Any]) -> None:
        super().__init__(lines, 1)
        self.names = names
        self._streams = {name: Printed(self, name) for name in ("stdout", "stderr")}
        self._loop: Any = None
        self._tasks: dict[int, Any] = {}

    def take_streams(self) -> None:
        """From here on what the program prints and reads is the test's."""
        sys.stdout, sys.stderr = self._streams["stdout"], self._streams["stderr"]  # type: ignore[assignment]
        sys.stdin = Typed(self)  # type: ignore[assignment]
        builtins.input = lambda prompt="", /: self.ask("input", str(prompt))

    def flush(self) -> None:
        for name, stream in self._streams.items():
            text = stream.taken()
            for start in range(0, len(text), PIECE):
                self._lines.write("print", name, text[start : start + PIECE])

    def named(self, value: Any) -> list[str] | None:
        """Classes alone: a function of the library that the program hands out stays with the program."""
        kind = isinstance(value, type) and (value in NATIVE or issubclass(value, BaseException))
        return importable(value) if kind else None

    @property
    def services(self) -> dict[str, Callable[..., Any]]:
        return {
            "name": self._name,
            "use": self._name,
            "bind": lambda name, value: self.names.__setitem__(name, self.decode(value)),
            "call": lambda target, args, kwargs: self._run(self.decode(target), args, kwargs),
            "method": lambda owner, name, args, kwargs: self._run(getattr(self.decode(owner), name), args, kwargs),
            "get": lambda owner, name: getattr(self.decode(owner), name),
            "peek": lambda owner, name: getattr(self.decode(owner), name),
            "set": lambda owner, name, value: setattr(self.decode(owner), name, self.decode(value)),
            "del": lambda owner, name: delattr(self.decode(owner), name),
            "op": self._op,
            "compare": self._compare,
            "order": self._order,
            "state": lambda target: state_of(self.decode(target)),
            "advance": lambda number, name, args: advanced(self.objects[number], name, [self.decode(a) for a in args]),
            "wait": self._wait,
            "derive": self._derive,
        }

    def _name(self, name: str) -> Any:
        return eval(name, self.names)

    def _run(self, function: Any, args: list[Any], kwargs: dict[str, Any]) -> Any:
        values, words = self.values(args, kwargs)
        return awaitable(function(*values, **words))

    def _op(self, name: str, target: Any, args: list[Any]) -> Any:
        thing, values = self.decode(target), [self.decode(a) for a in args]
        if name == "super":
            return getattr(thing, values[1]).__get__(values[0])
        if name in _FUNCTIONS:
            return _FUNCTIONS[name](thing, *values)
        if name == "__class_getitem__" or not hasattr(type(thing), name):
            return getattr(thing, name)(*values)
        return awaitable(getattr(type(thing), name)(thing, *values), name)

    def _compare(self, one: Any, other: Any) -> list[bool]:
        a, b = self.decode(one), self.decode(other)
        return [(a == b) is True, (a != b) is True]

    def _order(self, name: str, one: Any, other: Any) -> list[Any]:
        a, b = self.decode(one), self.decode(other)
        compare = getattr(operator, name)
        return [compare(a, b), compare(b, a)]

    def _wait(self, number: int) -> tuple[str, Any]:
        """Run the program's coroutines for a while: (whether this one goes on, is done or ends a loop, its result)."""
        import asyncio

        if self._loop is None:
            self._loop = asyncio.new_event_loop()
        if number not in self._tasks:
            self._tasks[number] = self._loop.create_task(self.objects[number])
        task = self._tasks[number]
        self._loop.run_until_complete(asyncio.wait({task}, timeout=SLICE))
        if not task.done():
            return "goes on", None
        ends_loop = not task.cancelled() and isinstance(task.exception(), StopAsyncIteration)
        return ("ends a loop", None) if ends_loop else ("done", task.result())

    def _derive(self, name: str, bases: list[Any], members: dict[str, Any]) -> int:
        kinds = tuple(self.decode(base) for base in bases)
        wrap = {"": lambda v: v, "staticmethod": staticmethod, "classmethod": classmethod}
        own = {key: wrap[kind](self.decode(value)) for key, (kind, value) in members.items()}
        cls = type(kinds[0])(name, kinds, own)
        number = self.enter(cls)
        return number

    # ----------------------------------------------------------------------------------- objects of the test code here

    def function(self, name: str, doc: str | None, signature: Any, waits: bool) -> Any:
        """A function of the test: a real one here, so that it can be a method and be wrapped."""

        def function(*args: Any, **kwargs: Any) -> Any:
            return self.call(function, args, kwargs)

        async def waiting(*args: Any, **kwargs: Any) -> Any:
            return await self.call(waiting, args, kwargs)

        return self._dressed(waiting if waits else function, name, doc, signature)

    def _dressed(self, function: Any, name: str, doc: str | None, signature: Any) -> Any:

        function.__name__ = function.__qualname__ = name
        function.__doc__ = doc
        if signature is not None:
            function.__signature__ = signature_of(signature)
        return function

    def imported(self, module: str, name: str) -> Any:
        found = import_module(module)
        return resolved(found, name) if name else found

    def equal(self, one: Any, other: Any) -> Any:
        return one is other or self.op("__eq__", one, (other,))

    def unequal(self, one: Any, other: Any) -> Any:
        return one is not other and self.op("__ne__", one, (other,))

    def ordered(self, name: str, one: Any, other: Any) -> Any:
        return self.op(name, one, (other,))

    def truth(self, thing: Any) -> bool:
        about = type(thing).__about__
        if "__bool__" in about["special"]:
            return self.op("__bool__", thing)
        return self.op("__len__", thing) > 0 if "__len__" in about["special"] else True

    def hashed(self, thing: Any) -> int:
        return self.op("__hash__", thing)

    def raisable(self, cls: type[BaseException]) -> type[BaseException]:
        return cls

    def derive(self, cls: Any, bases: tuple[type, ...], members: dict[str, Any]) -> None:
        raise TypeError("a class of the program cannot be derived from one of the test")


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "__len__": len,
    "__iter__": iter,
    "__repr__": repr,
    "__str__": str,
    "__format__": format,
    "__dir__": dir,
    "__hash__": hash,
    "__bool__": bool,
    "__getitem__": operator.getitem,
    "__contains__": operator.contains,
    "__copy__": copy.copy,
    "__deepcopy__": copy.deepcopy,
    "__round__": round,
}


def state_of(thing: Any) -> dict[str, Any]:
    """What an object holds: its attributes and slots, below what its class says when it is asked for them."""
    held: Any = object.__getstate__(thing)
    attributes = held[0] if isinstance(held, tuple) else held
    state = dict(attributes or {})
    for cls in type(thing).__mro__:
        for name, member in vars(cls).items():
            if isinstance(member, MemberDescriptorType):
                with contextlib.suppress(AttributeError):  # a slot that holds nothing
                    state[name] = member.__get__(thing)
    return state


def awaitable(value: Any, name: str = "") -> Any:
    """A coroutine where the value is to be awaited and is none."""
    if name not in ("__anext__", "__aenter__", "__aexit__", "__await__") or inspect.iscoroutine(value):
        return value

    async def waiting() -> Any:
        if name != "__await__":
            return await value
        return await _Iterated(value)

    return waiting()


class _Iterated:
    def __init__(self, iterator: Any) -> None:
        self._iterator = iterator

    def __await__(self) -> Any:
        return self._iterator


class Printed(io.TextIOBase):
    """What the program prints: sent before the next record."""

    def __init__(self, peer: Served, name: str) -> None:
        self._peer, self._name, self._texts, self._size = peer, name, list[str](), 0
        self.buffer = Binary(self)

    encoding = "utf-8"

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        self._texts.append(text)
        self._size += len(text)
        if self._size > PIECE:
            with self._peer._turn:
                self._peer.flush()
        return len(text)

    def taken(self) -> str:
        text = "".join(self._texts)
        self._texts, self._size = [], 0
        return text


class Binary(io.RawIOBase):
    def __init__(self, text: Printed) -> None:
        self._text = text

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._text.write(bytes(data).decode(errors="replace"))
        return len(data)


class Typed(io.TextIOBase):
    """What the program reads: from the test's sys.stdin."""

    def __init__(self, peer: Served) -> None:
        self._peer = peer

    def readable(self) -> bool:
        return True

    def readline(self, size: int = -1) -> str:  # type: ignore[override]
        return self._peer.ask("read", "line", size)

    def read(self, size: int | None = -1) -> str:
        return self._peer.ask("read", "all", -1 if size is None else size)
