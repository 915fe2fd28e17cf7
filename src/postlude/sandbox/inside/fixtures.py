"""Fixtures of pytest's kind: what a test gets by the names of its arguments."""

from __future__ import annotations

import contextlib
import inspect
import io
import sys
from collections import namedtuple
from collections.abc import Callable, Iterable
from types import FunctionType
from typing import Any

MISSING = object()
Captured = namedtuple("Captured", "out err")


class Fixtures:
    """Those a module of tests defines."""

    def __init__(self, names: dict[str, Any]) -> None:
        self._module = _defined(names)
        self._wide = contextlib.ExitStack()
        self._values: dict[str, Any] = {}
        """Of the fixtures that are made once for all tests."""

    def find(self, owner: Any, name: str) -> Any:
        for cls in getattr(owner, "__mro__", ()):
            if name in (defined := _defined(vars(cls))):
                return defined[name]
        return self._module.get(name)

    def automatic(self, owner: Any) -> list[str]:
        """Those that every test gets without asking."""
        classes = [_defined(vars(c)) for c in getattr(owner, "__mro__", ())]
        everything = {n: f for some in (self._module, *classes) for n, f in some.items()}
        return [name for name, function in everything.items() if function.fixture.get("autouse")]

    def choices(self, function: Any, owner: Any, asked: Iterable[str]) -> list[list[tuple[str, Any]]]:
        """For each fixture with `params` that the test needs, (name, parameter) of each."""
        waiting, seen = [*asked, *_arguments(function)], dict[str, Any]()
        while waiting:
            name = waiting.pop(0)
            fixture = self.find(owner, name)
            if fixture is not None and name not in seen:
                seen[name] = fixture
                waiting += _arguments(fixture)
        return [[(n, _plain(p)) for p in f.fixture["params"]] for n, f in seen.items() if f.fixture.get("params")]

    def set_up(self, stack: contextlib.ExitStack, names: dict[str, Any], owner: Any, instance: Any, test: str) -> None:
        """Call what a module and a class name by convention: before now, after when the stack ends."""
        self._once(names, "setup_module", "teardown_module", "module", lambda name: names.get(name))
        _pair(stack, lambda name: names.get(name) if owner is None else None, "setup_function", "teardown_function")
        if owner is None:
            return
        self._once(vars(owner), "setup_class", "teardown_class", owner.__qualname__, lambda n: getattr(owner, n, None))
        _pair(stack, lambda name: getattr(instance, name, None), "setup", "teardown")
        _pair(stack, lambda name: getattr(instance, name, None), "setup_method", "teardown_method")

    def _once(self, names: Any, before: str, after: str, key: str, get: Callable[[str], Any]) -> None:
        if f"set up {key}" not in self._values:
            self._values[f"set up {key}"] = True
            _pair(self._wide, get, before, after)

    def value(self, name: str, request: Request) -> Any:
        """Made for this test, or, with a wider scope, once."""
        fixture = self.find(type(request.instance), name)
        if fixture is None:
            return _built_in(name, request)
        wide = fixture.fixture.get("scope", "function") != "function"
        if wide and name in self._values:
            return self._values[name]
        stack = self._wide if wide else request.stack
        inner = Request(self, stack, request.instance, request.values, request.choice)
        inner.param = request.choice.get(name)
        value = _made(fixture, inner, stack)
        if wide:
            self._values[name] = value
        return value


class Request:
    """What one test, or a fixture of it, is given."""

    param: Any = None

    def __init__(
        self,
        fixtures: Fixtures,
        stack: contextlib.ExitStack,
        instance: Any,
        values: dict[str, Any],
        choice: dict[str, Any],
    ) -> None:
        self.stack, self.instance, self.values, self.choice = stack, instance, values, choice
        self.cls = type(instance) if instance is not None else None
        self._fixtures = fixtures

    def getfixturevalue(self, name: str) -> Any:
        if name == "request":
            return self
        if name not in self.values:
            self.values[name] = self._fixtures.value(name, self)
        return self.values[name]

    def addfinalizer(self, function: Callable[[], Any]) -> None:
        self.stack.callback(function)

    def arguments(self, function: Any) -> dict[str, Any]:
        return {name: self.getfixturevalue(name) for name in _arguments(function, {*self.values})}


def _defined(names: Any) -> dict[str, Any]:
    """Fixtures among the values; stand-ins for functions of the program are not even asked."""
    functions = {name: _bare(value) for name, value in names.items() if type(_bare(value)) is FunctionType}
    fixtures = {name: function for name, function in functions.items() if "fixture" in vars(function)}
    return {function.fixture.get("name") or name: function for name, function in fixtures.items()}


def _bare(value: Any) -> Any:
    return value.__func__ if type(value) in (staticmethod, classmethod) else value


def _arguments(function: Any, values: set[str] | frozenset[str] = frozenset()) -> list[str]:
    """Arguments without a default value, or with one that has a value; none of a function that patches itself."""
    if getattr(function, "patchings", None):
        return []
    parameters = inspect.signature(function).parameters.values()
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    asked = [p for p in parameters if p.kind in kinds and (p.default is p.empty or p.name in values)]
    return [p.name for p in asked if p.name not in ("self", "cls")]


def _made(fixture: Any, request: Request, stack: contextlib.ExitStack) -> Any:
    """What the fixture returns, or yields; the rest of it runs when the stack ends."""
    arguments = request.arguments(fixture)
    bound = [request.instance] if "self" in inspect.signature(fixture).parameters else []
    value = fixture(*bound, **arguments)
    if inspect.isgenerator(value):
        stack.callback(lambda: next(value, None))
        return next(value)
    return value


def _plain(parameter: Any) -> Any:
    """The value of `pytest.param(value)`."""
    return parameter.values[0] if type(parameter).__name__ == "Param" else parameter


def _pair(stack: contextlib.ExitStack, get: Callable[[str], Any], before: str, after: str) -> None:
    for name, use in ((before, lambda call: call()), (after, stack.callback)):
        function = get(name)
        if callable(function):
            takes = bool(inspect.signature(function).parameters)
            use(lambda function=function, takes=takes: function(None) if takes else function())


# ----------------------------------------------------------------------------------------------- those of pytest itself


def _built_in(name: str, request: Request) -> Any:
    if name not in BUILT_IN:
        raise LookupError(f"fixture {name!r} is not there")
    return request.stack.enter_context(BUILT_IN[name]())


class Capture(contextlib.AbstractContextManager["Capture"]):
    """capsys: what was printed since it was read last."""

    def __enter__(self) -> Capture:
        self._before = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = io.StringIO(), io.StringIO()
        return self

    def __exit__(self, *error: object) -> None:
        sys.stdout, sys.stderr = self._before

    def readouterr(self) -> Any:
        texts = []
        for stream in (sys.stdout, sys.stderr):
            assert isinstance(stream, io.StringIO)
            texts.append(stream.getvalue())
            stream.seek(0)
            stream.truncate()
        return Captured(*texts)

    def disabled(self) -> Any:
        return contextlib.nullcontext()


class MonkeyPatch(contextlib.AbstractContextManager["MonkeyPatch"]):
    """Changes that are undone: attributes, items, the environment."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()

    def __exit__(self, *error: object) -> None:
        self.undo()

    def undo(self) -> None:
        self._stack.close()

    def setattr(self, target: Any, name: Any, value: Any = MISSING, raising: bool = True) -> None:
        if value is MISSING:
            target, name, value = *_place(target), name
        if raising and not hasattr(target, name):
            raise AttributeError(f"{target!r} has no attribute {name!r}")
        before = getattr(target, name, MISSING)
        setattr(target, name, value)
        self._stack.callback(lambda: delattr(target, name) if before is MISSING else setattr(target, name, before))

    def delattr(self, target: Any, name: Any = MISSING, raising: bool = True) -> None:
        if name is MISSING:
            target, name = _place(target)
        before = getattr(target, name, MISSING)
        if before is MISSING and not raising:
            return
        delattr(target, name)
        self._stack.callback(setattr, target, name, before)

    def setitem(self, mapping: Any, key: Any, value: Any) -> None:
        before = mapping.get(key, MISSING)
        mapping[key] = value
        self._stack.callback(lambda: mapping.pop(key, None) if before is MISSING else mapping.__setitem__(key, before))

    def delitem(self, mapping: Any, key: Any, raising: bool = True) -> None:
        if key in mapping or raising:
            self._stack.callback(mapping.__setitem__, key, mapping.pop(key))

    def setenv(self, name: str, value: Any, prepend: str | None = None) -> None:
        import os

        self.setitem(os.environ, name, str(value))

    def delenv(self, name: str, raising: bool = True) -> None:
        import os

        self.delitem(os.environ, name, raising)

    def syspath_prepend(self, path: str) -> None:
        return None

    chdir = syspath_prepend


BUILT_IN: dict[str, Callable[[], contextlib.AbstractContextManager[Any]]] = {
    "capsys": Capture,
    "capfd": Capture,
    "monkeypatch": MonkeyPatch,
}
"""Besides `request`; `code/discovery.py` takes a test that asks for no others."""


def _place(path: str) -> tuple[Any, str]:
    """(object, attribute) of `module.name`."""
    import importlib

    module, _, name = path.rpartition(".")
    return importlib.import_module(module), name
