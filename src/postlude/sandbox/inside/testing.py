"""Test code in the tester's process: a module of tests is run once, then each of its tests, as pytest and unittest do.

A test passes, fails or is skipped. What the program under test does, it does elsewhere; here are the names it goes by.
"""

from __future__ import annotations

import contextlib
import inspect
import itertools
import sys
from collections.abc import Callable, Iterator
from types import FunctionType, ModuleType
from typing import Any

from . import failures
from . import pytest_standin as standin
from .bodies import Bodies
from .callables import Unnamed
from .failures import FILE, said
from .fixtures import Fixtures, Request
from .remote import RemoteExit, bind_of

Outcome = tuple[str, ...]
"""("passed",), ("failed", kind, text), ("skipped", text), or where a mark says so ("skipped", text, "marked")."""
PASSED: Outcome = ("passed",)
XFAILED: Outcome = ("skipped", "it is expected to fail", "marked")


def outcomes(
    sources: list[dict[str, Any]], items: list[list[Any]], remote: Callable[[str], Any]
) -> Iterator[tuple[Any, ...]]:
    """("loaded", whether anew) and an outcome of each item, (number of a source, test or None).

    A source: {"source": text, "names": of the program, "modules": that stand for it}. Items of one source that follow
    each other share its module. `remote` gives what stands for a name of the program.
    """
    current, module = -1, None
    for number, test in items:
        anew = module is None or number != current
        if module is None or anew:
            current, module = number, TestModule(sources[number], remote, main=test is None)
        yield ("loaded", anew)
        yield module.outcome(test)


class TestModule:
    """A module of tests that was run."""

    def __init__(self, source: dict[str, Any], remote: Callable[[str], Any], main: bool) -> None:
        _register_program(source["modules"], remote)
        _register_frameworks(source["source"])
        failures.remember(source["source"])
        module = ModuleType("__main__" if main else "tests")
        sys.modules["__main__"] = sys.modules["tests"] = module
        self.names = vars(module)
        self._fixtures: Fixtures | None = None
        self.broken: Outcome | None = None
        """Why it could not be run."""
        done = _outcome(lambda: self._run(source, remote), exits=True)
        if done != PASSED:
            self.broken = done

    def _run(self, source: dict[str, Any], remote: Callable[[str], Any]) -> None:
        self._bodies = Bodies(source["source"], FILE, source["names"], source["modules"])
        self.names |= {**{name: remote(name) for name in source["names"]}, **self._bodies.names}
        exec(self._bodies.code, self.names)

    def outcome(self, test: str | None) -> Outcome:
        if self.broken is not None:
            return self.broken
        done: list[Outcome] = []
        failed = _outcome(lambda: done.append(self._done(test)))
        return failed if failed != PASSED else done[0]

    def _done(self, test: str | None) -> Outcome:
        self._fixtures = self._fixtures or Fixtures(self.names)
        marks = standin.marks_of(self.names.get("pytestmark", []))
        runs = [self._of(t, marks) for t in ([test] if test is not None else self._defined())]
        done = [outcome for some in runs for outcome in some]
        left_out = self._bodies.missing(test, done.count(PASSED) if test is not None else 1)
        if left_out is not None:
            done.append(("failed", "", f"{left_out}() did not run: what the program made of it passed in its place"))
        return _worst(done) if runs or done else PASSED

    def _defined(self) -> list[str]:
        """What a script has left undone: tests that it only defined."""
        tests: list[str] = []
        for name, value in list(self.names.items()):
            if inspect.isclass(value) and value.__module__ in ("__main__", "tests") and _is_case(value):
                tests += [f"{name}.{test}" for test in dir(value) if test.startswith("test")]
            elif name.startswith("test") and type(value) is FunctionType and not inspect.signature(value).parameters:
                tests.append(name)
        return tests

    def _of(self, test: str, marks: list[Any]) -> list[Outcome]:
        """An outcome for each set of parameters."""
        *path, name = test.split(".")
        owner: Any = None
        for part in path:
            owner = getattr(owner, part) if owner is not None else self.names[part]
        if owner is not None and _is_case(owner):
            return [_case(owner, name)]
        marks = [*standin.marks_of(getattr(self._function(owner, name), "pytestmark", [])), *marks]
        if owner is not None:
            marks += [m for c in owner.__mro__ for m in standin.marks_of(vars(c).get("pytestmark", []))]
        return [self._with(owner, name, marks, values) for values in standin.parameters(marks)]

    def _with(self, owner: Any, name: str, marks: list[Any], values: standin.Parameters) -> Outcome:
        """One run of a function or method."""
        marks = [*values.marks, *marks]
        reason = standin.reason_to_skip(marks)
        if reason is not None:
            return ("skipped", reason, "marked")
        assert self._fixtures is not None
        done = self._runs(owner, name, values.values, [n for m in marks if m.name == "usefixtures" for n in m.args])
        if any(m.name == "xfail" for m in marks):
            strict = any(m.kwargs.get("strict") for m in marks if m.name == "xfail")
            return ("failed", "XPASS", "it was expected to fail") if done == PASSED and strict else XFAILED
        return done

    def _runs(self, owner: Any, name: str, values: dict[str, Any], used: list[str]) -> Outcome:
        fixtures = self._fixtures
        assert fixtures is not None
        outcomes: list[Outcome] = []
        asked = [*fixtures.automatic(owner), *used]
        for choice in itertools.product(*fixtures.choices(self._function(owner, name), owner, asked)):

            def once(choice: tuple[Any, ...] = choice) -> None:
                with contextlib.ExitStack() as stack:
                    instance = owner() if owner is not None else None
                    fixtures.set_up(stack, self.names, owner, instance, name)
                    function = self._function(instance, name)
                    request = Request(fixtures, stack, instance, {**values}, dict(choice))
                    for fixture in asked:
                        request.getfixturevalue(fixture)
                    result = function(**request.arguments(function))
                    if inspect.iscoroutine(result):
                        _waited_for(result)

            outcomes.append(_outcome(once))
        return _worst(outcomes)

    def _function(self, owner: Any, name: str) -> Any:
        """The test, of a class, an instance or the module."""
        return getattr(owner, name) if owner is not None else self.names[name]


def _waited_for(coroutine: Any) -> Any:
    import asyncio

    return asyncio.run(coroutine)


def _worst(outcomes: list[Outcome]) -> Outcome:
    """A failure, else a pass, else that all were skipped."""
    order = {"failed": 0, "passed": 1, "skipped": 2}
    return min(outcomes, key=lambda o: order[o[0]], default=("skipped", "it has no parameters", "marked"))


def _outcome(run: Callable[[], object], exits: bool = False) -> Outcome:
    """`exits`: a script may end itself, with 0."""
    try:
        run()
    except SystemExit as error:
        fine = exits and error.code in (None, 0, False) and not isinstance(error, RemoteExit)
        return PASSED if fine else ("failed", "SystemExit", f"SystemExit: {error.code}"[:300])
    except standin.ExpectedToFail:
        return XFAILED
    except (standin.Skipped, failures.skip_test()) as error:
        return ("skipped", str(error)[:300])
    except BaseException as error:  # pytest.fail, and what a program may raise
        return ("failed", type(error).__name__[:80], said(error))
    return PASSED


# ----------------------------------------------------------------------------------------------------------- unittest


def _is_case(owner: Any) -> bool:
    unittest = sys.modules.get("unittest")
    return unittest is not None and inspect.isclass(owner) and issubclass(owner, unittest.TestCase)


def _case(owner: Any, name: str) -> Outcome:
    """A method of a unittest.TestCase, with what its class sets up."""
    import unittest

    result = unittest.TestResult()
    done = _outcome(lambda: unittest.TestSuite([owner(name)]).run(result))
    if done != PASSED:
        return done
    bad = [*result.errors, *result.failures]
    if bad:
        last = bad[0][1].strip().splitlines()[-1]
        return ("failed", last.partition(":")[0].rpartition(".")[2][:80], last[:300])
    if result.unexpectedSuccesses:
        return ("failed", "XPASS", "it was expected to fail")
    if result.skipped or result.expectedFailures or not result.testsRun:
        return ("skipped", result.skipped[0][1][:300]) if result.skipped else XFAILED
    return PASSED


# --------------------------------------------------------------------------------------------------- modules it imports


class ProgramModule(ModuleType):
    """What the code imports as `solution`: every name of it is one of the program, also where a test patches it."""

    def __init__(self, name: str, remote: Callable[[str], Any]) -> None:
        super().__init__(name)
        vars(self).update(_remote=remote, _patched={}, __path__=[])

    def __setattr__(self, name: str, value: Any) -> None:
        vars(self)["_patched"].setdefault(name, getattr(self, name, None))
        bind_of(vars(self)["_remote"])(name, value)

    def __delattr__(self, name: str) -> None:
        bind_of(vars(self)["_remote"])(name, vars(self)["_patched"].pop(name, None))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        value = self.__dict__["_remote"](name)
        try:
            return value() if type(value) is Unnamed else value  # any use of it is an error
        except NameError as error:
            raise AttributeError(f"the program has no {name}") from error


def _register_program(modules: list[str], remote: Callable[[str], Any]) -> None:
    """A part of a package stands for the program as the package does."""
    for name in modules:
        parts = name.split(".")
        for length in range(1, len(parts) + 1):
            whole = ".".join(parts[:length])
            sys.modules[whole] = ProgramModule(whole, remote)
            if length > 1:
                vars(sys.modules[".".join(parts[: length - 1])])[parts[length - 1]] = sys.modules[whole]


def _register_frameworks(source: str) -> None:
    """`pytest` is the stand-in; `main()` of both does nothing, since what they would run is run anyway."""
    sys.modules["pytest"] = standin.module()
    if "unittest" in source:
        import unittest

        unittest.main = unittest.TestProgram = _no_main  # type: ignore[assignment,misc]


def _no_main(*args: Any, **kwargs: Any) -> None:
    return None
