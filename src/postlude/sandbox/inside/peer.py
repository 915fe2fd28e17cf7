"""The conversation between test code and the program it tests: alike on both sides, each in a process of its own.

One side speaks at a time. Who asks waits for `value` or `raised`, and serves what the other asks meanwhile, so calls
nest both ways. Plain values travel as themselves. What is not plain travels as a number, under which the other side
keeps a stand-in (`mirrors.py`). A list, dict, set, bytearray or deque travels with a number too: both sides keep one,
and what one side changed in it is sent before it speaks (`shared.py`).

| record | asks for |
|---|---|
| ["call", f, args, kwargs] | f(*args, **kwargs) |
| ["method", x, name, args, kwargs] | x.name(*args, **kwargs) |
| ["get", x, name], ["peek", x, name], ["set", x, name, value], ["del", x, name] | an attribute |
| ["op", "__len__", x, args] | a special method |
| ["changed", [[number, content] ...]], ["forget", [number ...]] | nothing: said before another record |
| ["print", stream, text] | nothing, too |
| ["value", value], ["raised", exception] | nothing: the answer |
"""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from collections.abc import Callable
from importlib import import_module
from typing import Any

from .descriptions import described, importable, resolved
from .lines import Lines
from .mirrors import stand_in
from .plain import Codec
from .shared import KINDS, Shared

DEEPEST_CALLS = 200
"""Calls within calls, from each side."""
RECURSION, FRAMES = 1000, 40
"""Frames that Python allows, and how many more for each call that waits for an answer."""


class Unreadable(Exception):
    """A record of the other side that cannot be."""


class Passing:
    """An exception of this side at the end of a `with` of the other, which may catch it."""

    caught: Any = False

    def __enter__(self) -> Passing:
        return self

    def __exit__(self, kind: Any, other: BaseException | None, trace: Any) -> None: ...


class Peer(Codec):
    """One side. Numbers of its own objects are even in the test code's process and odd in the program's."""

    def __init__(self, lines: Lines, first: int) -> None:
        self._lines, self._next, self._parity = lines, first, first % 2
        self.objects: dict[int, Any] = {}
        """Number -> the object, or the stand-in of the other side's."""
        self.numbers: dict[int, int] = {}
        """id() of those -> number."""
        self.shared = Shared(self)
        self._turn = threading.RLock()
        self._depth = 0

    # ------------------------------------------------------------------------------------------------ asking, serving

    def ask(self, *record: Any) -> Any:
        """The other side's answer. Raises what it raised; RecursionError where calls nest too deeply."""
        with self._turn:
            if self._depth >= DEEPEST_CALLS:
                raise RecursionError(f"calls between the test and the program nest deeper than {DEEPEST_CALLS}")
            self._depth += 1
            sys.setrecursionlimit(max(sys.getrecursionlimit(), RECURSION + FRAMES * self._depth))
            try:
                self.say(*record)
                return self._answer()
            finally:
                self._depth -= 1

    def say(self, *record: Any) -> None:
        """Send a record of encoded values, and before it what has changed."""
        with self._turn:
            self.flush()
            changes = self.shared.changes()
            if changes:
                self._lines.write("changed", changes)
            self._lines.write(*record)

    def flush(self) -> None:
        """Send what waits to be sent."""

    def _answer(self) -> Any:
        """What the other side answers, after what it says and asks before that."""
        while True:
            try:
                record = self._lines.read()
                if record is None:
                    os._exit(1)
                what, content = record[0], record[-1]
                answer = self.decode(content) if what in ("value", "raised") else None
            except (ValueError, TypeError, LookupError, RecursionError) as error:
                raise self.fault(f"an answer that cannot be read: {error}"[:200]) from None
            if what == "value":
                return answer
            if what == "raised":
                raise answer if isinstance(answer, BaseException) else self.fault("what was raised is no exception")
            if what == "unfit":
                raise self.fault(f"a result that cannot be sent: {content}")
            try:
                self.serve(record)
            except Unreadable as error:
                raise self.fault(str(error)) from None

    def fault(self, reason: str) -> Exception:
        """The other side does not speak as it should."""
        return RuntimeError(reason)

    def serve(self, record: list[Any]) -> None:
        """Do what a record asks for and answer it."""
        match record:
            case ["changed", list(changes)]:
                self._change(changes)
            case ["forget", list(numbers)]:
                self.shared.forget(numbers)
            case ["print", stream, str(text)]:
                self.printed(stream, text)
            case [str(kind), *arguments] if kind in self.services:
                try:
                    answer = ("value", self.encode(self.services[kind](*arguments)))
                except BaseException as error:
                    answer = ("raised", self.encode(self.raised(error)))
                self.say(*answer)
            case _:
                self.say("raised", self.encode(RuntimeError(f"a record that cannot be read: {str(record)[:80]}")))

    def _change(self, changes: list[Any]) -> None:
        try:
            self.shared.apply(changes)
        except (ValueError, TypeError, LookupError) as error:
            raise Unreadable(f"a change that cannot be made: {error}"[:200]) from None

    @property
    def services(self) -> dict[str, Callable[..., Any]]:
        """What the other side may ask for: functions of encoded values."""
        return {}

    def raised(self, error: BaseException) -> BaseException:
        """An exception on its way to the other side."""
        return error

    def passing(self, error: BaseException | None) -> Passing:
        """What stands around the end of a `with` of the other side."""
        return Passing()

    def printed(self, stream: Any, text: str) -> None:
        """The other side printed."""

    def values(self, args: list[Any], kwargs: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """Arguments of a call, decoded."""
        return [self.decode(a) for a in args], {k: self.decode(v) for k, v in kwargs.items()}

    # ----------------------------------------------------------------------------------------- what is asked of theirs

    def call(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self.ask("call", self.encode(function), *self._encoded(args, kwargs))

    def method(self, owner: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self.ask("method", self.encode(owner), name, *self._encoded(args, kwargs))

    def get(self, owner: Any, name: str) -> Any:
        return self.ask("get", self.encode(owner), name)

    def peek(self, owner: Any, name: str) -> Any:
        """An attribute, without a use of the program that would count as a test of it."""
        return self.ask("peek", self.encode(owner), name)

    def set(self, owner: Any, name: str, value: Any) -> None:
        self.ask("set", self.encode(owner), name, self.encode(value))

    def delete(self, owner: Any, name: str) -> None:
        self.ask("del", self.encode(owner), name)

    def op(self, name: str, owner: Any, args: tuple[Any, ...] = ()) -> Any:
        return self.ask("op", name, self.encode(owner), [self.encode(a) for a in args])

    def _encoded(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        return [self.encode(a) for a in args], {k: self.encode(v) for k, v in kwargs.items()}

    # ------------------------------------------------------------------- what a stand-in is here: each side has its own

    def equal(self, one: Any, other: Any) -> Any:
        """What == of a stand-in and something else gives."""
        raise NotImplementedError

    def unequal(self, one: Any, other: Any) -> Any:
        raise NotImplementedError

    def ordered(self, name: str, one: Any, other: Any) -> Any:
        """What <, <=, > or >= gives, by the name of its method."""
        raise NotImplementedError

    def truth(self, thing: Any) -> bool:
        raise NotImplementedError

    def hashed(self, thing: Any) -> int:
        raise NotImplementedError

    def function(self, name: str, doc: str | None, signature: Any, waits: bool) -> Any:
        """A stand-in of a function. `waits`: it is one of `async def`."""
        raise NotImplementedError

    def raisable(self, cls: type[BaseException]) -> type[BaseException]:
        """The class that an exception of the other side's class has here."""
        raise NotImplementedError

    def derive(self, cls: Any, bases: tuple[type, ...], members: dict[str, Any]) -> None:
        """A class of this side was made below one of the other."""
        raise NotImplementedError

    # ------------------------------------------------------------------------------------------------- as JSON and back

    def compound(self, value: Any, kind: type, depth: int) -> Any:
        number = self.numbers.get(id(value))
        if number is not None:
            return {"object": number}
        if kind in KINDS:
            return self._described(value, "shared", lambda: self.shared.described(value))
        return super().compound(value, kind, depth)

    def like(self, value: Any, base: type, depth: int) -> Any:
        bound = [value.maxlen] if base is deque else []
        return self._described(
            value, "valued", lambda: [self.encode(type(value)), self.content(value, base, depth), *bound]
        )

    def reference(self, value: Any, depth: int) -> Any:
        named = self.named(value)
        if named is not None:
            return {"import": named}
        return self._described(value, *described(self, value))

    def named(self, value: Any) -> list[str] | None:
        """[module, path] of what both sides have in their libraries, and may give each other by its name."""
        return importable(value)

    def mirrored(self, kind: type) -> Any:
        """A class whose objects get stand-ins: described, also where both sides have it."""
        number = self.numbers.get(id(kind))
        return {"object": number} if number is not None else self._described(kind, *described(self, kind))

    def _described(self, value: Any, kind: str, description: Callable[[], list[Any]]) -> Any:
        """The first mention of an object: its number is known before what it holds is encoded, which may hold it."""
        number = self.enter(value)
        if kind in ("shared", "valued"):
            self.shared.add(number, value)
        return {"object": [number, kind, *description()]}

    def enter(self, value: Any) -> int:
        """A number for an object of this side."""
        number = self._next
        self._next += 2
        self.know(number, value)
        return number

    def know(self, number: int, value: Any) -> None:
        self.objects[number] = value
        self.numbers[id(value)] = number

    def lose(self, number: int) -> None:
        value = self.objects.pop(number, None)
        self.numbers.pop(id(value), None)

    def referred(self, kind: str, content: Any) -> Any:
        if kind == "import":
            return self.imported(*content)
        if kind == "array":
            return _array(*content)
        if kind != "object":
            return super().referred(kind, content)
        if isinstance(content, int):
            return self.objects[content]
        number, what, *description = content
        if not isinstance(number, int) or number % 2 == self._parity or number in self.objects:
            raise ValueError("a number that is not new")
        if what == "shared":
            return self.shared.receive(number, *description)
        return stand_in(self, number, what, description)

    def imported(self, module: str, name: str) -> Any:
        """A thing of the standard library."""
        return resolved(sys.modules.get(module), name)


def _array(kind: str, members: Any) -> Any:
    """An array of numpy, which is there where either side has one. Raises ValueError where it is not."""
    try:
        numpy = import_module("numpy")
    except ImportError as error:
        raise ValueError("an array of numpy, which is not installed") from error
    return numpy.array(members, kind)
