"""Stand-ins for what lives in the other process: classes, their objects, functions, generators, coroutines.

A class has a class of its own here, with the same name and with stand-ins of its bases, so that isinstance, type,
`except` and subclassing work without a question. What an object does is asked of the other side.
"""

from __future__ import annotations

import dataclasses
import sys
from abc import ABCMeta
from collections import OrderedDict, deque
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

from .descriptions import BUILT, SPECIAL, is_special, resolved
from .plain import LIBRARY, MAKERS, PLAIN
from .shared import BASES

if TYPE_CHECKING:
    from .peer import Peer

PEER = "__other_side__"
"""Attribute of a class that stands for one of the other side."""


def stand_in(peer: Peer, number: int, what: str, description: list[Any]) -> Any:
    """Of an object that the other side described. ValueError for what it never describes."""
    if what not in _STAND_INS:
        raise ValueError("not an object")
    return _STAND_INS[what](peer, number, *description)


class Mirror(type):
    """The class of classes that stand for one of the other side, and of their subclasses made on this side."""

    def __new__(mcs, name: str, bases: tuple[type, ...], members: dict[str, Any], **words: Any) -> Any:
        if PEER in members or not any(isinstance(b, Mirror) and PEER in vars(b) for b in _lines_of(bases)):
            return super().__new__(mcs, name, bases, members)
        cls = super().__new__(mcs, name, bases, members)
        peer_of(cls).derive(cls, bases, members)
        return cls

    def __init__(cls, name: str, bases: tuple[type, ...], members: dict[str, Any], **words: Any) -> None:
        super().__init__(name, bases, members)

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        return peer_of(cls).call(cls, args, kwargs)

    def __getattr__(cls, name: str) -> Any:
        if is_not_asked(name) or not any(PEER in vars(line) for line in cls.__mro__):
            raise AttributeError(f"type object {cls.__name__!r} has no attribute {name!r}")
        return peer_of(cls).peek(cls, name) if name[0] == "_" or name in FRAMEWORKS else peer_of(cls).get(cls, name)

    def __setattr__(cls, name: str, value: Any) -> None:
        if is_special(name):
            type.__setattr__(cls, name, value)
        else:
            peer_of(cls).set(cls, name, value)

    def __delattr__(cls, name: str) -> None:
        peer_of(cls).delete(cls, name)

    def __len__(cls) -> int:
        return peer_of(cls).op("__len__", cls)

    def __bool__(cls) -> bool:
        return True

    def __iter__(cls) -> Any:
        return peer_of(cls).op("__iter__", cls)

    def __contains__(cls, value: Any) -> Any:
        return peer_of(cls).op("__contains__", cls, (value,))

    def __getitem__(cls, key: Any) -> Any:
        return peer_of(cls).op("__getitem__", cls, (key,))


FRAMEWORKS = {"pytestmark", "patchings"}
"""Attributes that what runs the tests looks for: no use of the program by the test."""
_NAMES = (
    "dict slots name qualname doc module annotations notes members match_args dataclass_fields dataclass_params "
    "type_params args origin parameters total required_keys optional_keys defaults kwdefaults version author init "
    "bool lt le gt ge eq ne hash repr str format"
)
_READ = SPECIAL | {f"__{name}__" for name in _NAMES.split()}
"""Names with underscores around them that a test itself may ask an object for. Any other is a hook by which a library
lets an object decide (`__array_function__`, `__fspath__` of a function, `__instancecheck__`): not asked."""


def is_not_asked(name: str) -> bool:
    return (is_special(name) and name not in _READ) or name == "__set_name__"


def _lines_of(bases: tuple[type, ...]) -> list[type]:
    return [line for base in bases for line in base.__mro__]


def peer_of(thing: Any) -> Peer:
    """The conversation that a stand-in belongs to."""
    return getattr(thing if isinstance(thing, type) else type(thing), PEER)


def _op(name: str, thing: Any, args: tuple[Any, ...] = ()) -> Any:
    """A special method; of an object whose class the test derived, the one of the class above."""
    cls = type(thing)
    if PEER in vars(cls):
        return peer_of(cls).op(name, thing, args)
    above = next(line for line in cls.__mro__ if PEER in vars(line))
    return peer_of(cls).method(above, name, (thing, *args), {})


def _special(name: str) -> Callable[..., Any]:
    def method(self: Any, *args: Any) -> Any:
        return _op(name, self, args)

    def following(self: Any) -> Any:
        peer = peer_of(self)
        done, value = peer.ask("advance", peer.numbers[id(self)], name, [])
        if done:
            raise StopIteration(value)
        return value

    def leaving(self: Any, kind: Any = None, error: Any = None, trace: Any = None) -> Any:
        with peer_of(self).passing(error) as passed:
            passed.caught = _op(name, self, (kind, error, None))
        return passed.caught

    async def leaving_later(self: Any, kind: Any = None, error: Any = None, trace: Any = None) -> Any:
        with peer_of(self).passing(error) as passed:
            passed.caught = await _op(name, self, (kind, error, None))
        return passed.caught

    method = {"__next__": following, "__exit__": leaving, "__aexit__": leaving_later}.get(name, method)
    method.__name__ = name
    return method


class Attributes(metaclass=Mirror):
    """What every stand-in of an object has."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        if is_not_asked(name):
            raise AttributeError(name)
        return peer_of(self).get(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        peer_of(self).set(self, name, value)

    def __delattr__(self, name: str) -> None:
        peer_of(self).delete(self, name)

    def __dir__(self) -> Any:
        return _op("__dir__", self)

    def __repr__(self) -> str:
        return _op("__repr__", self)

    def __str__(self) -> str:
        return _op("__str__", self)

    def __format__(self, how: str) -> str:
        return _op("__format__", self, (how,))

    def __copy__(self) -> Any:
        return peer_of(self).op("__copy__", self)

    def __deepcopy__(self, memo: Any) -> Any:
        return peer_of(self).op("__deepcopy__", self)

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError("an object of the other process cannot be pickled")


class Remote(Attributes):
    """An object of a class that is not plain. Comparisons and truth are decided by `Peer`, not by the object."""

    __slots__ = ("__weakref__",)

    def __eq__(self, other: Any) -> Any:
        return peer_of(self).equal(self, other)

    def __ne__(self, other: Any) -> Any:
        return peer_of(self).unequal(self, other)

    def __hash__(self) -> int:
        return peer_of(self).hashed(self)

    def __bool__(self) -> bool:
        return peer_of(self).truth(self)

    def __lt__(self, other: Any) -> Any:
        return peer_of(self).ordered("__lt__", self, other)

    def __le__(self, other: Any) -> Any:
        return peer_of(self).ordered("__le__", self, other)

    def __gt__(self, other: Any) -> Any:
        return peer_of(self).ordered("__gt__", self, other)

    def __ge__(self, other: Any) -> Any:
        return peer_of(self).ordered("__ge__", self, other)


class Stub:
    """A method, static method or property of a class of the other side."""

    def __init__(self, name: str, kind: str) -> None:
        self.name, self.kind = name, kind

    def __set_name__(self, owner: type, name: str) -> None:
        self.owner = owner

    def __get__(self, instance: Any, cls: Any = None) -> Any:
        owner = self.owner
        if instance is None or self.kind == "static":
            if self.kind == "property":
                return peer_of(cls).get(cls, self.name)
            return _bound(peer_of(cls or owner), cls if self.kind == "static" and cls else owner, self.name, ())
        if PEER in vars(type(instance)):
            if self.kind == "property":
                return peer_of(instance).get(instance, self.name)
            return _bound(peer_of(instance), instance, self.name, ())
        if self.kind == "property":
            return peer_of(instance).op("super", owner, (instance, self.name))
        return _bound(peer_of(owner), owner, self.name, (instance,))  # super().name, or one that is not overridden


class Property(Stub):
    def __set__(self, instance: Any, value: Any) -> None:
        peer_of(instance).set(instance, self.name, value)

    def __delete__(self, instance: Any) -> None:
        peer_of(instance).delete(instance, self.name)


def _bound(peer: Peer, owner: Any, name: str, before: tuple[Any, ...]) -> Callable[..., Any]:
    def method(*args: Any, **kwargs: Any) -> Any:
        return peer.method(owner, name, before + args, kwargs)

    method.__name__ = name
    vars(method)["__self__"] = owner
    return method


def _mirror(peer: Peer, number: int, about: dict[str, Any]) -> Any:
    """The class that stands for a class of the other side."""
    bases = _bases([peer.decode(base) for base in about["bases"]])
    members: dict[str, Any] = {
        PEER: peer,
        "__module__": "answer",
        "__qualname__": str(about["qualname"]),
        "__doc__": about["doc"],
        "__about__": about,
    }
    if about["hash"] == "none":
        members["__hash__"] = None
    members |= _fields(about["fields"])
    native = _native_names(bases)
    members |= {name: _special(name) for name in about["special"] if name in SPECIAL and name not in native}
    for name, kind in about["members"].items():
        if not is_special(name) and kind != "value" and name not in native:
            members[name] = (Property if kind == "property" else Stub)(name, kind)
    if not any(issubclass(base, BUILT) for base in bases):
        members["__slots__"] = ()
    if "__init__" in about["members"]:
        members["__init__"] = Stub("__init__", "method")
    try:
        cls = Mirror(str(about["name"]), bases, members)
    except TypeError:
        cls = Mirror(str(about["name"]), (Remote,), members)
    peer.know(number, cls)
    _register(cls, about)
    return cls


def _fields(names: list[str]) -> dict[str, Any]:
    """What the functions of `dataclasses` look for."""
    if not names:
        return {}
    alike = dataclasses.make_dataclass("Alike", [(str(name), object) for name in names])
    return {name: vars(alike)[name] for name in ("__dataclass_fields__", "__dataclass_params__")}


def _register(cls: type, about: dict[str, Any]) -> None:
    """An abstract class of the library knows the stand-in of itself, and so those below that."""
    if about["standard"]:
        kind = resolved(sys.modules.get(about["module"]), about["qualname"])
        if isinstance(kind, ABCMeta):
            kind.register(cls)


def _native_names(bases: tuple[type, ...]) -> set[str]:
    """What an object that holds an unchangeable value does by itself, as that value does: all but arithmetic."""
    fixed = next((kind for kind in _FIXED if any(issubclass(base, kind) for base in bases)), None)
    return {name for name in dir(fixed) if not is_special(name) or name in _READING} if fixed else set()


_FIXED = (int, float, complex, str, bytes, tuple, frozenset, *LIBRARY)
_READING = {
    f"__{name}__" for name in ("len", "getitem", "contains", "iter", "index", "int", "float", "complex", "bytes")
}


def _bases(bases: list[Any]) -> tuple[type, ...]:
    """Those that a class here can have: stand-ins, and one type of values or exceptions."""
    kinds = [base for base in bases if isinstance(base, type)]
    mirrored = [base for base in kinds if isinstance(base, Mirror)]
    native = [base for base in kinds if issubclass(base, BUILT) and base not in mirrored]
    if native and not mirrored:
        return (Failing if issubclass(native[0], BaseException) else Attributes, native[0])
    return (*mirrored, *(n for n in native if not any(issubclass(m, n) for m in mirrored))) or (Remote,)


class Failing(Attributes):
    """An exception of a class of the other side: raised and caught here, with its text and arguments as they were."""

    __slots__ = ()

    def __str__(self) -> str:
        return vars(self)["__said__"]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, vars(self)['__args__']))})"

    def __setattr__(self, name: str, value: Any) -> None:
        if is_special(name):
            BaseException.__setattr__(self, name, value)  # type: ignore[arg-type]
        else:
            super().__setattr__(name, value)

    def __copy__(self) -> Any:
        return self


def _instance(peer: Peer, number: int, kind: Any) -> Any:
    cls = peer.decode(kind)
    value = object.__new__(cls)
    peer.know(number, value)
    return value


def _valued(peer: Peer, number: int, kind: Any, content: Any, bound: int | None = None) -> Any:
    """An object of a subclass of a plain type: it holds the plain value here, too. `bound`: of a deque."""
    cls = peer.decode(kind)
    base = next(b for b in PLAIN if issubclass(cls, b))
    if base in BASES:
        value: Any = (OrderedDict if issubclass(cls, OrderedDict) else base).__new__(cls)
        if base is deque:
            deque.__init__(value, (), bound)
        peer.know(number, value)
        peer.shared.fill(value, peer.decode(content))
        peer.shared.add(number, value)
    else:
        plain = peer.decode(content)
        value = base.__new__(cls, *(MAKERS[base.__name__][1](plain) if base in LIBRARY else [plain]))
        peer.know(number, value)
    return value


def _function(peer: Peer, number: int, name: str | None, doc: str | None, signature: Any, waits: bool) -> Any:
    function = peer.function(name or "function", doc, signature, waits is True)
    peer.know(number, function)
    return function


def _raised(peer: Peer, number: int, kind: Any, args: list[Any], text: str, cause: Any) -> Any:
    named, values = peer.decode(kind), tuple(peer.decode(a) for a in args)
    if not issubclass(named, BaseException):
        raise ValueError("not an exception")
    cls: Any = peer.raisable(named)
    try:
        error = cls.__new__(cls, *values) if isinstance(cls, Mirror) else cls(*values)
    except (TypeError, ValueError):
        error, values = cls.__new__(cls), (text,)  # type: ignore[call-arg]
    BaseException.args.__set__(error, values)  # type: ignore[attr-defined]
    if isinstance(cls, Mirror):
        vars(error).update({"__said__": text, "__args__": values})
    peer.know(number, error)
    error.__cause__ = peer.decode(cause)
    return error


def _generator(peer: Peer, number: int) -> Any:
    generator = _generated(peer, number)
    peer.know(number, generator)
    return generator


def _generated(peer: Peer, number: int) -> Generator[Any, Any, Any]:
    """A generator that asks the other side's for each item."""
    name, args = "__next__", ()
    while True:
        done, value = peer.ask("advance", number, name, [peer.encode(a) for a in args])
        if done:
            return value
        try:
            sent = yield value
        except GeneratorExit:
            peer.ask("advance", number, "close", [])
            raise
        except BaseException as error:
            name, args = "throw", (error,)
        else:
            name, args = ("__next__", ()) if sent is None else ("send", (sent,))


def _coroutine(peer: Peer, number: int, name: str | None) -> Any:
    coroutine = _awaited(peer, number)
    coroutine.__name__ = name or "coroutine"
    peer.know(number, coroutine)
    return coroutine


async def _awaited(peer: Peer, number: int) -> Any:
    """A coroutine that lets the other side's loop run until that one is done."""
    import asyncio

    while True:
        state, value = peer.ask("wait", number)
        if state == "ends a loop":
            raise StopAsyncIteration
        if state == "done":
            return value
        await asyncio.sleep(0)


_STAND_INS: dict[str, Callable[..., Any]] = {
    "class": _mirror,
    "instance": _instance,
    "valued": _valued,
    "function": _function,
    "exception": _raised,
    "generator": _generator,
    "coroutine": _coroutine,
}
