"""The tester's side of the conversation: names of the program in test code.

`Tester.remote(name)` is what stands for a name of the program. A verdict rests on what happens here, so what a
stand-in answers to a comparison is decided here:

* An object of the program equals no plain value, and has no order with one; the program is not asked.
* Two of them are equal where they are the same object; else where their class is one that the test names, what they
  hold is equal (compared here), and the program says `==` and not `!=`. They are unequal where it says the opposite of
  both. An order is what the program says of two objects of a class that the test names, unless it says both a < b and
  b < a. What this cannot see: two equal objects that hold different things (1/2 and 2/4) count as unequal.
* The truth of an object is asked where the test names its class or it is of the standard library; an object of
  another class is true where it holds something and its class does not say otherwise, and an error else.
* A subclass of a plain type (str, int, dict, a named tuple) compares as the plain value in it.
* Operators, conversions and `in` of an object whose class the test does not name give no plain value (`operators.py`).
* An exception of the program never ends a loop, skips a test or leaves as a clean exit.
"""

from __future__ import annotations

import builtins
import copy
import sys
from collections.abc import Callable
from importlib import import_module
from types import (
    AsyncGeneratorType,
    BuiltinFunctionType,
    CodeType,
    CoroutineType,
    FrameType,
    FunctionType,
    GeneratorType,
    MethodType,
    ModuleType,
    TracebackType,
)
from typing import Any

from .belongings import is_kept, is_method, is_mock
from .callables import Function, Unnamed
from .descriptions import NATIVE, SPECIAL, resolved
from .failures import Leaving, is_failure, never_ran, said
from .lines import Lines
from .mirrors import Mirror, Remote
from .operators import HOLDERS, QUESTIONS, UNDECIDED, decided, is_computing, is_fit, refusal
from .peer import Passing, Peer

_MODULES = (
    "asyncio binascii builtins concurrent configparser copy csv dataclasses decimal enum json pickle queue re socket "
    "sqlite3 statistics struct subprocess urllib xml zipfile zlib"
)
EXCEPTIONS_OF = frozenset(_MODULES.split())
"""Modules whose exceptions are themselves in the tester's process."""
CLOSED = (FunctionType, MethodType, BuiltinFunctionType, GeneratorType, AsyncGeneratorType, CoroutineType, ModuleType)
CLOSED += (FrameType, TracebackType, CodeType)
"""Of these the program may use nothing but a call: their attributes lead to the test code."""
_ALWAYS = "eq ne lt le gt ge hash bool repr str format copy deepcopy"
ASKED = SPECIAL | {f"__{name}__" for name in _ALWAYS.split()}


class RemoteExit(SystemExit):
    """SystemExit that the program raised: it ends no test as passed."""


class Tester(Peer):
    """What test code sees of the program."""

    def __init__(self, lines: Lines) -> None:
        super().__init__(lines, 2)
        self.classes: set[type] = set()
        """Classes of the program that the test names."""
        self._spare: list[int] = []
        """Containers that are shared no more, which the program has not heard yet."""
        self.crossed: dict[int, str] = {}
        """id() of each failure of the test that went to the program and has not come back -> its text."""
        self.spoiled: list[str] = []
        """Why no test may pass now: a failure of it that the program may have swallowed, or an answer that is none."""

    def remote(self, name: str) -> Any:
        """What stands for a name of the program; where it has no such name, every use is a NameError."""
        try:
            value = self.ask("name", name)
        except NameError:
            return Unnamed(self, name)
        if isinstance(value, Mirror):
            self.classes.add(value)
            return value
        return value if isinstance(value, Function) else self.ask("use", name)  # a constant that is tested

    def bind(self, name: str, value: Any) -> None:
        """Give a name of the program another value there."""
        self.ask("bind", name, self.encode(value))

    def judged(self, record: tuple[Any, ...]) -> tuple[Any, ...]:
        """An outcome of a test, which is no pass where something went wrong that the test could not see."""
        if record[0] == "loaded":
            return record
        reason = [*self.spoiled, *self.crossed.values()][:1]
        self.spoiled.clear()
        self.crossed.clear()
        return ("failed", "", reason[0]) if reason and record[0] in ("passed", "skipped") else record

    def get(self, owner: Any, name: str) -> Any:
        if name in QUESTIONS and self._is_foreign(owner):
            raise self._refused(name, owner)
        value = super().get(owner, name)
        if isinstance(owner, type) and owner in self.classes and isinstance(value, Mirror):
            self.classes.add(value)
        return value

    def ask(self, *record: Any) -> Any:
        try:
            return super().ask(*record)
        except BaseException as error:
            self.crossed.pop(id(error), None)
            raise
        finally:
            if self._depth == 0:
                self._spare += self.shared.spare()

    def say(self, *record: Any) -> None:
        spare, self._spare = self._spare, []
        if spare:
            self._lines.write("forget", spare)
        super().say(*record)

    def function(self, name: str, doc: str | None, signature: Any, waits: bool) -> Any:
        return Function(self, name, doc, signature, waits)

    def is_named(self, thing: Any) -> bool:
        return any(cls in self.classes for cls in type(thing).__mro__)

    # --------------------------------------------------------------------------------------------- what it answers here

    def method(self, owner: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not self._is_foreign(owner):
            return super().method(owner, name, args, kwargs)
        answer = decided(name, owner, args, kwargs)
        if answer is UNDECIDED and name in QUESTIONS:
            raise self._refused(name, owner)
        return super().method(owner, name, args, kwargs) if answer is UNDECIDED else answer

    def op(self, name: str, owner: Any, args: tuple[Any, ...] = ()) -> Any:
        foreign, computing = self._is_foreign(owner), is_computing(name, args)
        answer = decided(name, owner, args) if foreign else UNDECIDED
        if answer is not UNDECIDED:
            return answer
        if foreign and name == "__contains__":
            raise self._refused(name, owner)
        value = super().op(name, owner, args)
        if computing and not is_fit(name, args, value, not foreign):
            raise self._refused(name, owner)
        return value

    def _is_foreign(self, owner: Any) -> bool:
        """Whether it is an object, or a class, of the program that the test does not name."""
        kind = owner if isinstance(owner, type) else type(owner)
        if not isinstance(kind, Mirror):
            return False
        return not any(cls in self.classes and cls.__name__ not in HOLDERS for cls in kind.__mro__)

    def _refused(self, name: str, owner: Any) -> TypeError:
        """The error of an operator that is not the program's to decide; the test fails also where it catches that."""
        self.spoiled.append(refusal(name, owner))
        return TypeError(self.spoiled[-1])

    def equal(self, one: Any, other: Any) -> Any:
        if one is other:
            return True
        if not isinstance(other, Remote):
            return NotImplemented
        if type(one) is not type(other) or not self.is_named(one):
            return False
        return self._says(one, other) == [True, False] and self._alike(one, other, set())

    def unequal(self, one: Any, other: Any) -> Any:
        if one is other:
            return False
        if not isinstance(other, Remote):
            return NotImplemented
        return self._says(one, other) == [False, True]

    def _says(self, one: Any, other: Any) -> list[Any]:
        """What the program says to == and !=; it does not learn which of them is wanted."""
        return self.ask("compare", self.encode(one), self.encode(other))

    def _alike(self, one: Any, other: Any, seen: set[tuple[int, int]]) -> bool:
        """Whether two values hold the same, by what their parts are."""
        if one is other or (id(one), id(other)) in seen:
            return True
        seen.add((id(one), id(other)))
        if isinstance(one, Remote) and isinstance(other, Remote):
            if type(one) is not type(other):
                return False
            ours, theirs = (self.ask("state", self.encode(x)) for x in (one, other))
            return bool(ours) and self._alike(ours, theirs, seen)
        if type(one) is not type(other):
            return False
        if isinstance(one, list | tuple):
            return len(one) == len(other) and all(self._alike(a, b, seen) for a, b in zip(one, other, strict=True))
        if isinstance(one, dict):
            return one.keys() == other.keys() and all(
                self._alike(value, other[key], seen) for key, value in one.items()
            )
        return bool(one == other)

    def ordered(self, name: str, one: Any, other: Any) -> Any:
        if not isinstance(other, Remote) or not self.is_named(one):
            return NotImplemented
        forth, back = self.ask("order", name, self.encode(one), self.encode(other))
        if not isinstance(forth, bool) or (name in ("__lt__", "__gt__") and forth and back is True):
            raise TypeError(f"two objects of class {type(one).__name__} have no order: the program contradicts itself")
        return forth

    def truth(self, thing: Any) -> bool:
        about = type(thing).__about__
        if not about["truth"]:
            if self.is_named(thing) or about["standard"] or self.ask("state", self.encode(thing)):
                return True
        elif self.is_named(thing) or about["standard"]:
            return self.op("__bool__", thing) is True
        raise TypeError(
            f"the truth of an object of class {type(thing).__name__} is wanted, which the test does not name: "
            "the program gave it where a plain value is tested"
        )

    def hashed(self, thing: Any) -> int:
        how = type(thing).__about__["hash"]
        if how == "none":
            raise TypeError(f"unhashable type: {type(thing).__name__!r}")
        return self.op("__hash__", thing) if how == "asked" else object.__hash__(thing)

    def raisable(self, cls: type[BaseException]) -> type[BaseException]:
        """The class that an exception of the program has in the test."""
        if issubclass(cls, SystemExit):
            return RemoteExit
        fine = issubclass(cls, Exception | KeyboardInterrupt) and not issubclass(cls, _ENDS_LOOPS)
        return cls if fine else RuntimeError

    def imported(self, module: str, name: str) -> Any:
        if (native := resolved(sys.modules.get(module), name)) in NATIVE:
            return native
        if module.partition(".")[0] not in EXCEPTIONS_OF:
            raise ValueError(f"{module}.{name} is not plain")
        kind = resolved(sys.modules.get(module) or import_module(module), name)
        if isinstance(kind, type) and issubclass(kind, Exception):
            return kind
        raise ValueError(f"{module}.{name} is not plain")

    def derive(self, cls: Any, bases: tuple[type, ...], members: dict[str, Any]) -> None:
        """A class of the test below one of the program: the program gets one like it, whose methods are the test's."""
        sent: dict[str, Any] = {}
        for name, value in members.items():
            if name not in ("__module__", "__qualname__", "__classcell__", "__slots__", "__dict__", "__weakref__"):
                kind = type(value).__name__ if isinstance(value, staticmethod | classmethod) else ""
                sent[name] = [kind, self.encode(value.__func__ if kind else value)]
        number = self.ask("derive", cls.__name__, [self.encode(base) for base in bases], sent)
        self.know(number, cls)
        if any(base in self.classes for base in cls.__mro__):
            self.classes.add(cls)

    # ------------------------------------------------------------------------------------ what the program may ask for

    @property
    def services(self) -> dict[str, Callable[..., Any]]:
        return {
            "call": self._called,
            "method": lambda owner, name, args, kwargs: self._run(self._got(owner, name), args, kwargs),
            "get": self._got,
            "set": self._set,
            "op": self._op,
            "advance": self._advanced,
            "wait": self._waited,
            "input": lambda prompt: builtins.input(*([prompt] if prompt else [])),
            "read": lambda how, *size: getattr(sys.stdin, {"line": "readline", "all": "read"}[how])(*size),
        }

    def _ours(self, target: Any) -> Any:
        thing = self.decode(target)
        if isinstance(thing, Function | Remote | Mirror):
            raise TypeError("that is an object of the program itself")
        return thing

    def _called(self, target: Any, args: list[Any], kwargs: dict[str, Any]) -> Any:
        return self._run(self._ours(target), args, kwargs)

    def _run(self, function: Any, args: list[Any], kwargs: dict[str, Any]) -> Any:
        values, words = self.values(args, kwargs)
        try:
            return function(*values, **words)
        except TypeError as error:
            if never_ran(error, function):
                self.crossed[id(error)] = said(error)
            raise

    def _open(self, target: Any, name: str) -> Any:
        """An object of the test whose attribute of that name the program may use."""
        thing = self._ours(target)
        ours = not isinstance(thing, type) and type(thing).__module__ in ("__main__", "tests", "checks")
        unittest = sys.modules.get("unittest")
        if isinstance(thing, CLOSED) or (unittest is not None and isinstance(thing, unittest.TestCase)):
            raise AttributeError(f"{name} of a {type(thing).__name__} of the test cannot be used from the program")
        if not isinstance(name, str) or name.startswith("__") or (name.startswith("_") and not ours):
            raise AttributeError(f"{type(thing).__name__!r} object has no attribute {name!r}")
        if is_kept(thing, name):
            raise AttributeError(f"{name} of a mock of the test cannot be used from the program")
        return thing

    def _got(self, target: Any, name: str) -> Any:
        return getattr(self._open(target, name), name)

    def _set(self, target: Any, name: str, value: Any) -> None:
        thing = self._open(target, name)
        if isinstance(thing, type):
            raise AttributeError(f"{name} of a class of the test cannot be set from the program")
        content = self.decode(value)
        if is_method(thing, name) or (is_mock(thing) and isinstance(content, Function | Remote | Mirror)):
            raise AttributeError(f"{name} of a {type(thing).__name__} of the test cannot be replaced by the program")
        setattr(thing, name, content)

    def _op(self, name: str, target: Any, args: list[Any]) -> Any:
        if name not in ASKED:
            raise AttributeError(name)
        thing, values = self._ours(target), [self.decode(a) for a in args]
        if name in ("__copy__", "__deepcopy__"):
            return {"__copy__": copy.copy, "__deepcopy__": copy.deepcopy}[name](thing)
        return getattr(type(thing), name)(thing, *values)

    def _advanced(self, number: int, name: str, args: list[Any]) -> tuple[bool, Any]:
        return advanced(self.objects[number], name, [self.decode(a) for a in args])

    def _waited(self, number: int) -> tuple[str, Any]:
        """Run a coroutine of the test up to its end."""
        coroutine = self.objects[number]
        for _ in range(10_000):
            try:
                if coroutine.send(None) is not None:
                    raise RuntimeError("the program cannot wait for what a coroutine of the test waits for")
            except StopIteration as stop:
                return "done", stop.value
        raise RuntimeError("a coroutine of the test does not end")

    def raised(self, error: BaseException) -> BaseException:
        if is_failure(error):
            self.crossed[id(error)] = said(error)
        return error

    def passing(self, error: BaseException | None) -> Passing:
        return Leaving(error, self.spoiled)

    def fault(self, reason: str) -> Exception:
        self.spoiled.append(reason)
        return RuntimeError(reason)

    def printed(self, stream: Any, text: str) -> None:
        (sys.stderr if stream == "stderr" else sys.stdout).write(text)


_ENDS_LOOPS = (StopIteration, StopAsyncIteration)


def advanced(iterator: Any, name: str, args: list[Any]) -> tuple[bool, Any]:
    """(whether it ended, the next item or what it returned)."""
    try:
        return False, next(iterator) if name == "__next__" else {
            "send": lambda: iterator.send(*args),
            "throw": lambda: iterator.throw(*args),
            "close": lambda: iterator.close(),
        }[name]()
    except StopIteration as stop:
        return True, stop.value


def bind_of(remote: Callable[[str], Any]) -> Callable[[str, Any], None]:
    """What gives a name of the program another value, beside what reads it."""
    tester = remote.__self__ if isinstance(remote, MethodType) else None
    if not isinstance(tester, Tester):
        raise AttributeError("names of the program cannot be changed here")
    return tester.bind
